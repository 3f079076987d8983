"""The check that what was sent can be stored, and is of a reasonable size.

The input goes to the graph as it came, NUL included: it is stored as bytes. Metadata and config lose NUL where they are
stored, as PostgreSQL's JSON holds none.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import orjson

from outlast.admission.request import Check, RunRequest
from outlast.errors import InvalidInput

_LONGEST_PATH = 200
_MOST_LOOKED_AT = 10_000
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"')
_SQUARE = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

#: A value's place in its parent's: spelled out only when it is refused.
_Place = tuple["_Place | None", str]


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadLimits:
    """What a value that a client sends may measure."""

    max_bytes: int
    max_depth: int


def storable_payload(limits: PayloadLimits) -> Check:
    """Return the check of a request's values."""

    def check(request: RunRequest) -> RunRequest:
        check_value(request.input, limits, field="input")
        check_value(request.config, limits, field="config")
        check_value(request.metadata, limits, field="metadata")
        return request

    return check


def check_value(value: Any, limits: PayloadLimits, *, field: str) -> None:
    """Raise InvalidInput naming the place, when the value is too deep, too large or not JSON."""
    try:
        encoded = orjson.dumps(value)
    except orjson.JSONEncodeError as error:
        # orjson's own limit of depth is 254 when it writes, 1024 when it reads.
        deep = "recursion" in str(error).lower()
        msg = _too_deep_at(value, limits.max_depth, field) if deep else f"{field} is not JSON: {error}"
        raise InvalidInput(msg, field=field) from error
    if len(encoded) > limits.max_bytes:
        msg = (
            f"{field} has {len(encoded):,} bytes; at most {limits.max_bytes:,} are allowed. "
            "Keep large data elsewhere and send its address."
        )
        raise InvalidInput(msg, field=field)
    if _too_deep(encoded, limits.max_depth):
        raise InvalidInput(_too_deep_at(value, limits.max_depth, field), field=field)


def check_depth(encoded: bytes, value: Any, max_depth: int) -> None:
    """Raise InvalidInput when a whole body, as it came and as it was read, has more levels; its `field` is the first.

    Nothing may walk through a value before this: Python's own recursion ends at about 1000 levels.
    """
    if _too_deep(encoded, max_depth):
        detail = _too_deep_at(value, max_depth, "").lstrip(".")
        field = re.split(r"[.\[ ]", detail, maxsplit=1)[0] if isinstance(value, dict) else ""
        raise InvalidInput(detail, field=field or "body")


def _too_deep(encoded: bytes, max_depth: int) -> bool:
    """Count levels without a Python loop over the value: it may have millions of containers."""
    # Too few brackets to be deep: nearly every request stops here.
    if encoded.count(b"[") + encoded.count(b"{") <= max_depth:
        return False
    brackets = _STRING.sub(b"", encoded).translate(_SQUARE, _NO_BRACKETS)
    for _ in range(max_depth):
        # Each round takes the innermost pairs away: one level.
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def _too_deep_at(value: Any, max_depth: int, field: str) -> str:
    """Find a place to name, if that does not take long. Not recursive: the value may be too deep for that."""
    waiting: list[tuple[Any, int, _Place]] = [(value, 1, (None, field))]
    for _ in range(_MOST_LOOKED_AT):
        if not waiting:
            break
        outer, depth, place = waiting.pop()
        if depth > max_depth:
            return f"{_spelled(place)} is nested deeper than {max_depth} levels"
        waiting += [(inner, depth + 1, (place, key)) for key, inner in _containers(outer)]
    return f"{field or 'body'} is nested deeper than {max_depth} levels"


def _spelled(place: "_Place | None") -> str:
    parts: list[str] = []
    while place is not None:
        place, part = place
        parts.append(part)
    path = "".join(reversed(parts))
    return path if len(path) <= _LONGEST_PATH else f"{path[:_LONGEST_PATH]}..."


def _containers(value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, inner in cast("dict[str, Any]", value).items():
            if isinstance(inner, dict | list):
                yield f".{key}", inner
    elif isinstance(value, list):
        for index, inner in enumerate(cast("list[Any]", value)):
            if isinstance(inner, dict | list):
                yield f"[{index}]", inner
