"""A graph's output as JSON, for the run's row and for clients; the state itself is kept exactly, in checkpoints."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, cast

import orjson

_CONVERSIONS: tuple[tuple[tuple[type, ...], Callable[[Any], object]], ...] = (
    ((Mapping,), dict),
    ((set, frozenset, tuple), list),
    ((timedelta,), timedelta.total_seconds),
    ((bytes, bytearray), lambda value: value.decode("utf-8", "replace")),
    ((BaseException,), repr),
)
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY


def jsonable(value: object) -> Any:
    """Return the value as plain JSON data; what has no JSON form becomes its text."""
    try:
        encoded = orjson.dumps(value, default=_default, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        # A lone surrogate or an int over 64 bits somewhere inside.
        encoded = orjson.dumps(_plain(value, depth=0), default=_default, option=_OPTIONS)
    return orjson.loads(encoded)


def _default(value: object) -> object:
    dump = getattr(value, "model_dump", None)
    if callable(dump):
        return dump()
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value)
    return str(value)


def _plain(value: object, *, depth: int) -> Any:
    if depth > 100:  # noqa: PLR2004 - deeper than any state a person could read
        return "..."
    if isinstance(value, str):
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, int) and not isinstance(value, bool) and not -(2**63) <= value < 2**63:
        return str(value)
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value).items()
        return {_plain(str(key), depth=depth + 1): _plain(item, depth=depth + 1) for key, item in entries}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item, depth=depth + 1) for item in cast("list[object]", value)]
    return value if isinstance(value, float) or value is None else _plain(_default(value), depth=depth + 1)
