"""What people have to decide, and what they are told."""

from collections.abc import Mapping
from typing import Any, Final

from outlast.domain.notification import SEVERITIES
from outlast.domain.question import KINDS
from outlast.monitoring.metrics.figure import LONG, NAMES, OTHER, counter, histogram, stored
from outlast.monitoring.metrics.meter import Handler, Meter

#: As `domain.question.kind_of` says it.
_KINDS: Final = (*sorted({*KINDS.values(), "hitl", "agent_inbox", "interrupt"}), OTHER)

OPEN = stored(
    "outlast_inbox_open", "Questions that nobody has answered.", kind=_KINDS
)  # fmt: skip
OLDEST = stored("outlast_inbox_oldest_seconds", "Age of the oldest of them.")
ANSWERS = histogram("outlast_inbox_answer_seconds", "From a question to its answer.", LONG)
ESCALATIONS = counter("outlast_escalations_total", "Reasons for which outputs were given to a person.", reason=NAMES)
NOTIFICATIONS = counter(
    "outlast_notifications_total", "Messages to people, by what became of them.", channel=NAMES,
    outcome=("delivered", "failed"),
)  # fmt: skip
PENDING = stored("outlast_notifications_pending", "Messages to people that are still to be sent.")
OLDEST_PENDING = stored("outlast_oldest_notification_seconds", "Age of the oldest of them.")
ANOMALIES = counter(
    "outlast_anomalies_total", "Findings about agents that behave unlike before.", agent_name=NAMES, kind=NAMES
)
ALERTS = stored("outlast_alerts_firing", "Alerts that fire.", severity=tuple(SEVERITIES))
EVALUATED = stored(
    "outlast_alerts_evaluated_timestamp_seconds", "When the rules of alerts were last looked at, as a Unix time."
)
OBJECTIVES = stored("outlast_slo_objective", "Share of events that is to be good, 0 to 1.", slo=NAMES)
GOOD = stored("outlast_slo_good_total", "Events that were good.", "counter", slo=NAMES)
EVENTS = stored("outlast_slo_events_total", "All events of an objective.", "counter", slo=NAMES)

FIGURES = (
    OPEN, OLDEST, ANSWERS, ESCALATIONS, NOTIFICATIONS, PENDING, OLDEST_PENDING, ANOMALIES, ALERTS, EVALUATED,
    OBJECTIVES, GOOD, EVENTS,
)  # fmt: skip


def _answered(meter: Meter, fields: Mapping[str, Any]) -> None:
    if (seconds := fields.get("seconds")) is not None:
        meter.observe(ANSWERS, seconds)


def _escalated(meter: Meter, fields: Mapping[str, Any]) -> None:
    for reason in fields["reasons"]:
        meter.add(ESCALATIONS, reason)


HEARD: Final[Mapping[str, Handler]] = {
    "inbox.answered": _answered,
    "inbox.resumed": _answered,
    "review.escalated": _escalated,
    "notification.delivered": lambda meter, fields: meter.add(NOTIFICATIONS, fields["channel"], "delivered"),
    "notification.failed": lambda meter, fields: meter.add(NOTIFICATIONS, fields["channel"], "failed"),
    "anomaly.found": lambda meter, fields: meter.add(ANOMALIES, fields["agent"], fields["kind"]),
}
