"""The check that what was sent can be stored, and is of a reasonable size.

The input goes to the graph as it came, NUL included: it is stored as bytes. Metadata and config lose NUL where they are
stored, as PostgreSQL's JSON holds none.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

import orjson

from outlast.admission.request import Check, RunRequest
from outlast.errors import InvalidInput

_LONGEST_PATH = 200

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
        _check_depth(value, limits, field)
        msg = f"{field} is not JSON: {error}"
        raise InvalidInput(msg, field=field) from error
    if len(encoded) > limits.max_bytes:
        msg = (
            f"{field} has {len(encoded):,} bytes; at most {limits.max_bytes:,} are allowed. "
            "Keep large data elsewhere and send its address."
        )
        raise InvalidInput(msg, field=field)
    # Too few brackets to be deep: nearly every request stops here.
    if encoded.count(b"[") + encoded.count(b"{") > limits.max_depth:
        _check_depth(value, limits, field)


def _check_depth(value: Any, limits: PayloadLimits, field: str) -> None:
    # Not recursive: what is too deep to store may be too deep to call into as well.
    waiting: list[tuple[Any, int, _Place]] = [(value, 1, (None, field))]
    while waiting:
        outer, depth, place = waiting.pop()
        if depth > limits.max_depth:
            msg = f"{_spelled(place)} is nested deeper than {limits.max_depth} levels"
            raise InvalidInput(msg, field=field)
        waiting += [(inner, depth + 1, (place, key)) for key, inner in _containers(outer)]


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
