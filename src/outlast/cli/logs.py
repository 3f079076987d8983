"""What an operator should know, as log lines on stderr: JSON, or short lines when a person reads along.

A listener of telemetry like any other; checkpoints and heartbeats are for metrics, not for logs.
"""

import sys
import time
from collections.abc import Mapping
from typing import Any, Final

import structlog

from outlast import telemetry

_SHOWN: Final[Mapping[str, tuple[str, str]]] = {
    "worker.started": ("info", "worker started"),
    "worker.draining": ("info", "worker stops: steps in progress may end"),
    "worker.stopped": ("info", "worker stopped, its runs are handed back"),
    "worker.fenced": ("error", "worker could not renew its lease in time and gives up its runs"),
    "recovery.reaped": ("warning", "runs of a dead worker go on"),
    "run.settled": ("warning", "run failed; `outlast runs show ID` says why"),
    "loop.failed": ("warning", "a background loop failed and goes on"),
}
_REPEAT_SECONDS: Final = 10.0


def configure() -> None:
    """Log from now on."""
    person = sys.stderr.isatty()
    renderer = (
        structlog.dev.ConsoleRenderer(pad_event_to=0, pad_level=False) if person else structlog.processors.JSONRenderer()
    )
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="%H:%M:%S" if person else "iso", utc=not person),
            renderer,
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    telemetry.subscribe(_Log())


class _Log:
    """Writes what matters; called from any thread."""

    def __init__(self) -> None:
        self._logger: Any = structlog.get_logger()
        # loop -> when it was last shown, and how often it failed since
        self._repeats: dict[str, tuple[float, int]] = {}

    def __call__(self, point: str, fields: Mapping[str, Any]) -> None:
        if point not in _SHOWN or (point == "run.settled" and fields["status"] != "failed"):
            return
        shown = {name: _plain(value) for name, value in fields.items()}
        if point == "loop.failed":
            repeated = self._repeated(str(fields.get("loop")))
            if repeated is None:
                return
            if repeated:
                shown["more_since_last_line"] = repeated
        level, text = _SHOWN[point]
        self._logger.log(_LEVELS[level], text, event_name=point, **shown)

    def _repeated(self, loop: str) -> int | None:
        """Return how often it failed unseen since its last line; None while the last line is still fresh."""
        now = time.monotonic()
        last, unseen = self._repeats.get(loop, (0.0, 0))
        if last and now - last < _REPEAT_SECONDS:
            self._repeats[loop] = last, unseen + 1
            return None
        self._repeats[loop] = now, 0
        return unseen


_LEVELS: Final = {"info": 20, "warning": 30, "error": 40}


def _plain(value: object) -> object:
    return value if isinstance(value, int | float | str | list | None) else str(value)
