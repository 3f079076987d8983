"""When a provider says that it may be asked again."""

import math
import time
from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import Any, Final, cast

#: In the order in which they are believed: the finer unit first.
_MILLISECONDS: Final = ("retry-after-ms", "x-ms-retry-after-ms")


def retry_after(error: BaseException) -> float | None:
    """Return the seconds that the provider's answer asks to wait; None: it does not say, or not in words we know.

    Understands `Retry-After` in seconds and as a date, the headers in milliseconds, and Google's `retryDelay`.
    """
    headers = _headers_of(error)
    for name in _MILLISECONDS:
        milliseconds = _number(headers.get(name))
        if milliseconds is not None:
            return milliseconds / 1000
    stated = headers.get("retry-after")
    if stated is not None:
        seconds = _number(stated)
        return seconds if seconds is not None else _until(str(stated), headers.get("date"))
    return _retry_delay(getattr(error, "details", None)) or _retry_delay(getattr(error, "body", None))


def _headers_of(error: BaseException) -> Mapping[str, Any]:
    response = getattr(error, "response", None)
    found = getattr(response, "headers", None) or getattr(error, "headers", None)
    if found is None and isinstance(response, Mapping):
        # botocore
        answer = cast("Mapping[str, Any]", response)
        found = cast("Mapping[str, Any]", answer.get("ResponseMetadata") or {}).get("HTTPHeaders")
    try:
        return {str(name).lower(): value for name, value in dict(found or {}).items()}
    except (TypeError, ValueError):
        return {}


def _number(text: object) -> float | None:
    """Return a wait; what is not a finite number says nothing, and nobody waits for a negative time."""
    try:
        number = float(str(text).strip())
    except ValueError:
        return None
    return max(0.0, number) if math.isfinite(number) else None


def _until(date: str, sent: object) -> float | None:
    """Return the seconds from the answer to the date, both by the provider's clock where it tells the time."""
    try:
        at = parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None
    try:
        now = parsedate_to_datetime(str(sent)).timestamp()
    except (TypeError, ValueError, OverflowError):
        now = time.time()
    return max(0.0, at - now)


def _retry_delay(value: object, depth: int = 4) -> float | None:
    """Find `"retryDelay": "34s"` in the details of an error."""
    if depth == 0:
        return None
    if isinstance(value, Mapping):
        fields = cast("Mapping[str, Any]", value)
        if isinstance(delay := fields.get("retryDelay"), str):
            return _number(delay.removesuffix("s"))
        inner = list(fields.values())
    elif isinstance(value, list):
        inner = cast("list[Any]", value)
    else:
        return None
    found = (_retry_delay(item, depth - 1) for item in inner)
    return next((delay for delay in found if delay is not None), None)
