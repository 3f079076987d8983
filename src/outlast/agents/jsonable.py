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
_DEEPEST = 100
_ELLIPSIS = "..."
_SCALARS = (bool, int, float, str, type(None))


def jsonable(value: object) -> Any:
    """Return the value as plain JSON data; what has no JSON form becomes its text. Raises nothing."""
    try:
        encoded = orjson.dumps(value, default=_default, option=_OPTIONS)
    except (TypeError, ValueError, RecursionError):
        # A lone surrogate or an int over 64 bits somewhere inside, a list in itself, a method that raises.
        encoded = orjson.dumps(_plain(value, depth=0))
    return orjson.loads(encoded)


def _default(value: object) -> object:
    dump = None if isinstance(value, type) else getattr(value, "model_dump", None)
    if callable(dump):
        return dump()
    for kinds, convert in _CONVERSIONS:
        if isinstance(value, kinds):
            return convert(value)
    return str(value)


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
