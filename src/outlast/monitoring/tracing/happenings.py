"""What is emitted inside of a run, as events of the span in which it happens."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from outlast.monitoring.tracing.tracer import OtelTracer
from outlast.telemetry import subscribe

# What explains a span that took long, or ended otherwise than somebody expected.
_TOLD: Final = frozenset(
    {
        "call.try_failed", "call.fell_back", "call.restarted", "call.retry_denied", "call.limited", "call.cached",
        "call.replayed", "call.mismatch", "call.capped", "call.context_trimmed", "breaker.opened", "breaker.probing",
        "breaker.closed", "budget.exceeded", "budget.soft_limit", "effect.replayed", "effect.unknown", "tool.failed",
        "tool.cut", "tool.refused", "tool.approved", "tool.disapproved", "policy.objected", "switch.stopped",
        "review.escalated", "review.accepted", "review.failed", "run.drained", "run.lease_lost",
    }
)  # fmt: skip
# Reasons and messages may repeat what users said.
_FIELDS: Final = ("model", "kind", "attempt", "tool", "effect", "policy", "state", "seconds")


def telling_events(tracer: OtelTracer) -> Callable[[], None]:
    """Listen; returns what ends it."""

    def hear(point: str, fields: Mapping[str, Any]) -> None:
        if point in _TOLD:
            tracer.event(point, {name: fields[name] for name in _FIELDS if name in fields})

    return subscribe(hear)
