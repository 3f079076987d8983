"""A line before it is rendered: taken where something happens, with where that is."""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, cast

from outlast.telemetry import surroundings

_NOTHING: Final[Mapping[str, Any]] = {}


# Not frozen: that doubles what it takes to make one.
@dataclass(slots=True)
class Line:
    """What is to be written. Fields of its own go before those of where it happened."""

    level: int
    event: str
    fields: Mapping[str, Any] = field(default_factory=dict[str, Any])
    where: Mapping[str, Any] = field(default_factory=surroundings)
    #: Seconds since the epoch.
    at: float = field(default_factory=time.time)
    #: A traceback, which may have several lines of text.
    exception: str = ""


_FORMATTER: Final = logging.Formatter()
# What structlog puts into an event for its own renderers.
_OF_STRUCTLOG: Final = frozenset({"level", "timestamp", "exc_info", "stack_info", "_record", "_from_structlog"})


def line_of(record: logging.LogRecord) -> Line:
    """Return a record of `logging`, ours or a library's or of structlog, as a line. Where it was made, not later."""
    exception = _FORMATTER.formatException(record.exc_info) if record.exc_info else ""
    given: Any = record.msg
    if isinstance(given, dict):
        event = dict(cast("dict[str, Any]", given))
        text = str(event.pop("event", ""))
        exception = str(event.pop("exception", exception))
        fields = {name: value for name, value in event.items() if name not in _OF_STRUCTLOG}
        return Line(record.levelno, text, {"logger": record.name, **fields}, exception=exception)
    return Line(record.levelno, record.getMessage(), {"logger": record.name}, exception=exception)
