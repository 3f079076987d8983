"""What an operator should know, as log lines on stderr: JSON, or short lines when a person reads along.

A listener of telemetry like any other; checkpoints and heartbeats are for metrics, not for logs.
"""

import logging
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any, Final
from uuid import UUID

import structlog

from outlast import telemetry
from outlast.domain.redaction import redacted, redacted_value

_SHOWN: Final[Mapping[str, tuple[int, str]]] = {
    "worker.started": (logging.INFO, "worker started"),
    "worker.draining": (logging.INFO, "worker stops: steps in progress may end"),
    "worker.stopped": (logging.INFO, "worker stopped, its runs are handed back"),
    "worker.fenced": (logging.ERROR, "worker could not renew its lease in time and gives up its runs"),
    "recovery.reaped": (logging.WARNING, "runs of a dead worker go on"),
    "run.settled": (logging.WARNING, "run failed; `outlast runs show ID` says why"),
    "cron.skipped": (logging.WARNING, "a tick of a cron has no run"),
    "breaker.opened": (logging.WARNING, "a model fails too often and is left alone for now"),
    "breaker.closed": (logging.INFO, "a model answers again"),
    "call.unauthorized": (logging.ERROR, "a provider does not accept the API key, or its account has no credit"),
    "call.unpriced": (logging.WARNING, "nobody knows what this model costs; name its price in [calls.prices]"),
    "call.capped": (logging.WARNING, "a run was stopped because it ran away"),
    "effect.unknown": (logging.WARNING, "nobody knows whether an effect was applied; see `outlast effects show KEY`"),
    "encryption.row_refused": (logging.ERROR, "a row cannot be decrypted; it stays as it is"),
    "audit.head": (logging.INFO, "the audit log ends here; `outlast audit verify` takes it with --head"),
    "audit.lost": (logging.ERROR, "an entry of the audit log could not be written"),
    "loop.failed": (logging.WARNING, "a background loop failed and goes on"),
}
_REPEAT_SECONDS: Final = 10.0


def configure() -> None:
    """Log from now on, what libraries have to say included."""
    person = sys.stderr.isatty()
    stamped: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="%H:%M:%S" if person else "iso", utc=not person),
    ]
    formatter = (_ForPeople if person else structlog.stdlib.ProcessorFormatter)(
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            *([] if person else [structlog.processors.format_exc_info]),
            _without_secrets,
            structlog.dev.ConsoleRenderer(pad_event_to=0, pad_level=False)
            if person
            else structlog.processors.JSONRenderer(default=str),
        ],
        foreign_pre_chain=stamped,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(formatter)
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("outlast").setLevel(logging.INFO)
    structlog.configure(
        processors=[*stamped, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    telemetry.subscribe(_Log())


class _ForPeople(structlog.stdlib.ProcessorFormatter):
    """Renders tracebacks by itself, so that only the whole line can be looked through."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))


def _without_secrets(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Take secrets out of whatever is logged, by us or by a library; see `domain.redaction`."""
    for name, value in event.items():
        # A traceback is rendered later.
        if name != "exc_info":
            event[name] = redacted_value(value, name=name)
    return event


class _Log:
    """Writes what matters; called from any thread."""

    def __init__(self) -> None:
        self._logger: Any = structlog.stdlib.get_logger("outlast")
        # loop -> when it was last shown, and how often it failed since
        self._repeats: dict[str, tuple[float, int]] = {}

    def __call__(self, point: str, fields: Mapping[str, Any]) -> None:
        if point not in _SHOWN or (point == "run.settled" and fields["status"] != "failed"):
            return
        # Metrics count each call; a line for the first one of a model is enough.
        if point == "call.unpriced" and not fields["first"]:
            return
        shown: dict[str, object] = {name: _plain(value) for name, value in fields.items()}
        if point == "loop.failed":
            repeated = self._repeated(str(fields.get("loop")))
            if repeated is None:
                return
            if repeated:
                shown["more_since_last_line"] = repeated
        level, text = _SHOWN[point]
        self._logger.log(level, text, point=point, **shown)

    def _repeated(self, loop: str) -> int | None:
        """Return how often it failed unseen since its last line; None while the last line is still fresh."""
        now = time.monotonic()
        last, unseen = self._repeats.get(loop, (0.0, 0))
        if last and now - last < _REPEAT_SECONDS:
            self._repeats[loop] = last, unseen + 1
            return None
        self._repeats[loop] = now, 0
        return unseen


def _plain(value: object) -> object:
    return str(value) if isinstance(value, UUID) else value
