"""Values for `jsonb` columns, which hold everything that JSON holds but NUL."""

from collections.abc import Mapping
from typing import Any, cast

import orjson
from psycopg.abc import AdaptContext
from psycopg.types.json import Jsonb, set_json_loads

_NUL = b"\\u0000"


def register(context: AdaptContext) -> None:
    """Read jsonb with orjson: PostgreSQL writes 1e30 out as an integer, which no other part of us could store again."""
    set_json_loads(orjson.loads, context)


def jsonb(value: Any) -> Jsonb:
    """Return the parameter for a jsonb column; NUL is taken out, as PostgreSQL refuses the whole value for one."""
    return Jsonb(value, dumps=_dumps)


def encoded_jsonb(encoded: bytes) -> Jsonb:
    """Return the parameter for a value that is JSON already."""
    return Jsonb(encoded, dumps=_encoded)


def _encoded(encoded: bytes) -> bytes:
    return _dumps(orjson.loads(encoded)) if _NUL in encoded else encoded


def _dumps(value: Any) -> bytes:
    encoded = orjson.dumps(value)
    return orjson.dumps(_without_nul(value)) if _NUL in encoded else encoded


def _without_nul(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, Mapping):
        entries = cast("Mapping[str, Any]", value).items()
        return {key.replace("\0", ""): _without_nul(inner) for key, inner in entries}
    if isinstance(value, list | tuple):
        return [_without_nul(inner) for inner in cast("list[Any]", value)]
    return value
