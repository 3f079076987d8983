"""Which events are worth a line, and what it says.

A listener of telemetry like any other; checkpoints and heartbeats are for metrics, not for logs.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any, Final, get_args

from outlast.domain.run_summary import RunContent, RunSummary
from outlast.monitoring.logs.line import Line
from outlast.policies.detectors import found_in, masked
from outlast.settings_logs import LogSettings
from outlast.settings_policies import PersonalKind

DEBUG, INFO, WARNING, ERROR = logging.DEBUG, logging.INFO, logging.WARNING, logging.ERROR
_SHOWN: Final[Mapping[str, tuple[int, str]]] = {
    "worker.started": (INFO, "worker started"),
    "worker.draining": (INFO, "worker stops: steps in progress may end"),
    "worker.stopped": (INFO, "worker stopped, its runs are handed back"),
    "worker.fenced": (ERROR, "worker could not renew its lease in time and gives up its runs"),
    "recovery.reaped": (WARNING, "runs of a dead worker go on"),
    "alert.fired": (WARNING, "an alert fires; `outlast alerts list` says what it is about"),
    "alert.resolved": (INFO, "an alert is over"),
    "run.lease_lost": (WARNING, "a run has another owner by now; what this attempt would write is refused"),
    "cron.skipped": (WARNING, "a tick of a cron has no run"),
    "breaker.opened": (WARNING, "a model fails too often and is left alone for now"),
    "breaker.closed": (INFO, "a model answers again"),
    "call.failed": (WARNING, "a model call failed for good"),
    "call.fell_back": (INFO, "another model is asked instead"),
    "call.unauthorized": (ERROR, "a provider does not accept the API key, or its account has no credit"),
    "call.unpriced": (WARNING, "nobody knows what this model costs; name its price in [calls.prices]"),
    "call.capped": (WARNING, "a run was stopped because it ran away"),
    "budget.exceeded": (WARNING, "a call was not made: it may take more than a budget has left"),
    "effect.unknown": (WARNING, "nobody knows whether an effect was applied; see `outlast effects show KEY`"),
    "review.escalated": (INFO, "a person is to look at an output"),
    "encryption.row_refused": (ERROR, "a row cannot be decrypted; it stays as it is"),
    "audit.head": (INFO, "the audit log ends here; `outlast audit verify` takes it with --head"),
    "audit.lost": (ERROR, "an entry of the audit log could not be written"),
    "webhook.failed": (WARNING, "a report was given up: its receiver never took it"),
    "notification.failed": (WARNING, "a message was given up: its receiver never took it"),
    "telemetry.lost": (WARNING, "something that was observed could not be kept"),
    "loop.failed": (WARNING, "a background loop failed and goes on"),
}
_ENDS: Final[Mapping[str, tuple[int, str]]] = {
    "success": (INFO, "run succeeded"),
    "interrupt": (INFO, "run waits for a person"),
    "cancelled": (INFO, "run cancelled"),
    "drained": (INFO, "run handed back; it goes on elsewhere"),
    "retry": (WARNING, "attempt failed; the run is tried again"),
    "error": (WARNING, "run failed; `outlast runs show ID` says why"),
}
_REPEAT_SECONDS: Final = 10.0
_MOST_CONTENT: Final = 4_000
_KINDS: Final[tuple[PersonalKind, ...]] = get_args(PersonalKind)

Put = Callable[[Line], None]


class Lines:
    """Makes lines of events; called from any thread, and never raises."""

    def __init__(self, put: Put, settings: LogSettings) -> None:
        self._put = put
        self._settings = settings
        self._level: int = logging.getLevelNamesMapping()[settings.level.upper()]
        # loop -> when it was last shown, and how often it failed since
        self._repeats: dict[str, tuple[float, int]] = {}
        self._special: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "loop.failed": self._loop,
            # Metrics count each call; a line for the first one of a model is enough.
            "call.unpriced": lambda fields: self._plain("call.unpriced", fields) if fields["first"] else None,
        }
        if settings.runs:
            self._special["run.ended"] = self._run
        if settings.nodes:
            self._special |= {"node.started": self._node_started, "node.ended": self._node_ended}
        if settings.requests:
            self._special["http.answered"] = self._request

    def __call__(self, point: str, fields: Mapping[str, Any]) -> None:
        """Hear of an event."""
        special = self._special.get(point)
        if special is not None:
            special(fields)
        elif point in _SHOWN:
            self._plain(point, fields)

    def _plain(self, point: str, fields: Mapping[str, Any]) -> None:
        level, text = _SHOWN[point]
        self._say(level, text, {"point": point, **fields})

    def _say(self, level: int, text: str, fields: Mapping[str, Any]) -> None:
        if level >= self._level:
            self._put(Line(level, text, fields))

    def _node_started(self, fields: Mapping[str, Any]) -> None:
        self._say(DEBUG, "node begins", {"point": "node.started", **fields})

    def _node_ended(self, fields: Mapping[str, Any]) -> None:
        outcome = fields["outcome"]
        shown: dict[str, Any] = {
            "point": "node.ended", "node": fields["node"], "step": fields["step"], "outcome": outcome,
            "duration_ms": _ms(fields["seconds"]),
        }  # fmt: skip
        if fields["error"] is not None:
            shown["error_class"] = fields["error"]
        if fields["within"] is not None:
            shown["within"] = fields["within"]
        self._say(WARNING if outcome == "error" else INFO, f"node {_NODE_ENDS[outcome]}", shown)

    def _request(self, fields: Mapping[str, Any]) -> None:
        shown = {name: value for name, value in fields.items() if name != "seconds"}
        self._say(INFO, "request answered", {"point": "http.answered", **shown, "duration_ms": _ms(fields["seconds"])})

    def _run(self, fields: Mapping[str, Any]) -> None:
        summary: RunSummary = fields["summary"]
        level, text = _ENDS[summary.outcome]
        if level < self._level:
            return
        shown = {"point": "run.ended", **_figures(summary)}
        if summary.error_class is not None:
            shown["error_message"] = self._error(summary.error_message or "")
        if self._settings.content:
            content: RunContent = fields["content"]
            shown |= {"input": _cut(content.given), "output": _cut(content.said)}
        self._put(Line(level, text, shown))

    def _error(self, message: str) -> str:
        return message if self._settings.content else masked(message, found_in(message, _KINDS))

    def _loop(self, fields: Mapping[str, Any]) -> None:
        repeated = self._repeated(str(fields.get("loop")))
        if repeated is not None:
            self._plain("loop.failed", {**fields, "more_since_last_line": repeated} if repeated else fields)

    def _repeated(self, loop: str) -> int | None:
        """Return how often it failed unseen since its last line; None while the last line is still fresh."""
        now = time.monotonic()
        last, unseen = self._repeats.get(loop, (0.0, 0))
        if last and now - last < _REPEAT_SECONDS:
            self._repeats[loop] = last, unseen + 1
            return None
        self._repeats[loop] = now, 0
        return unseen


_NODE_ENDS: Final[Mapping[str, str]] = {
    "success": "ended", "error": "failed", "interrupt": "asks a person", "cancelled": "was stopped"
}  # fmt: skip


def _figures(summary: RunSummary) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "outcome": summary.outcome, "status": summary.status.value, "duration_ms": _ms(summary.seconds),
        "queued_ms": _ms(summary.queued_seconds), "total_ms": _ms(summary.total_seconds), "nodes": summary.nodes,
        "tool_calls": summary.tool_calls, "tool_errors": summary.tool_errors, "model": summary.model,
        "provider": summary.provider, "prompt_tokens": summary.prompt_tokens,
        "completion_tokens": summary.completion_tokens, "cost_usd": float(summary.cost_usd),
        "retries": summary.retries, "fallbacks": summary.fallbacks, "error_class": summary.error_class,
    }  # fmt: skip
    # What the run is, for a listener that is called elsewhere.
    shown |= {
        "thread_id": summary.thread_id, "run_id": summary.run_id, "tenant": summary.tenant, "user": summary.user_id,
        "agent": summary.agent, "epoch": summary.epoch, "trace_id": summary.trace_id,
    }  # fmt: skip
    if summary.first_byte_seconds is not None:
        shown["first_byte_ms"] = _ms(summary.first_byte_seconds)
    if summary.confidence is not None:
        shown["confidence"] = summary.confidence
    return shown | {name: True for name in ("invalid", "refused", "empty") if getattr(summary, name)}


def _cut(value: Any) -> Any:
    text = str(value)
    return value if len(text) <= _MOST_CONTENT else f"{text[:_MOST_CONTENT]}... ({len(text):,} characters)"


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 1)
