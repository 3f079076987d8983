"""A graph's output as JSON, for the run's row and for clients; the state itself is kept exactly, in checkpoints."""

from collections.abc import Callable, Mapping
from dataclasses import fields, is_dataclass
from datetime import timedelta
from typing import Any, cast

import orjson
from langgraph.types import Command

_CONVERSIONS: tuple[tuple[tuple[type, ...], Callable[[Any], object]], ...] = (
    ((Mapping,), dict),
    ((set, frozenset, tuple), list),
    ((timedelta,), timedelta.total_seconds),
    ((bytes, bytearray), lambda value: value.decode("utf-8", "replace")),
    ((BaseException,), repr),
)
# Data classes come to `_default`, because one of them is told in a form of its own.
_OPTIONS = orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_PASSTHROUGH_DATACLASS
_DEEPEST = 100
_ELLIPSIS = "..."
_SCALARS = (bool, int, float, str, type(None))


def jsonable(value: object) -> Any:
    """Return the value as plain JSON data; what has no JSON form becomes its text. Raises nothing."""
    return orjson.loads(encoded(value))


def encoded(value: object) -> bytes:
    """Return the value as JSON, as `jsonable` would tell it. Raises nothing."""
    try:
        return orjson.dumps(value, default=_default, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        # A lone surrogate or an int over 64 bits somewhere inside, a list in itself, a method that raises.
        return orjson.dumps(_plain(value, depth=0))


def _default(value: object) -> object:
    dump = None if isinstance(value, type) else getattr(value, "model_dump", None)
    if callable(dump):
        return dump()
    if is_dataclass(value) and not isinstance(value, type):
        return _fields_of(value)
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value)
    return str(cast("object", value))


def _fields_of(value: Any) -> dict[str, Any]:
    told = {item.name: getattr(value, item.name) for item in fields(value) if not item.name.startswith("_")}
    # The JS SDK knows the command that a tool returned by this key.
    return {"lg_name": "Command", **told} if isinstance(value, Command) else told


def _plain(value: object, *, depth: int) -> Any:
    if depth > _DEEPEST:
        return _ELLIPSIS
    try:
        if isinstance(value, Mapping):
            entries = cast("Mapping[object, object]", value).items()
            return {_text(key): _plain(item, depth=depth + 1) for key, item in entries}
        if isinstance(value, list | tuple | set | frozenset):
            return [_plain(item, depth=depth + 1) for item in cast("list[object]", value)]
        return _scalar(value) if isinstance(value, _SCALARS) else _plain(_default(value), depth=depth + 1)
    # It is the value's own method that failed.
    except Exception:  # noqa: BLE001
        return f"<{type(cast('object', value)).__qualname__}>"


def _scalar(value: object) -> Any:
    if isinstance(value, str):
        return str.encode(value, "utf-8", "replace").decode()
    if isinstance(value, float):
        return float(value)
    if value is None or isinstance(value, bool):
        return value
    number = int(cast("int", value))
    return number if -(2**63) <= number < 2**64 else str(number)


def _text(key: object) -> str:
    return str.encode(key if isinstance(key, str) else str(key), "utf-8", "replace").decode()
