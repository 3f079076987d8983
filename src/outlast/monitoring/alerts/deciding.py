"""What becomes of alerts in one round: a function of what is not as it should be, and of what is known.

    (nothing) --seen--> pending --for `after`--> firing --well for `keep`--> resolved
                           `--not seen--> (nothing)

An alert that comes and goes has its `keep` doubled for each time that it did lately, up to 16 times: so it becomes one
that lasts, and people are told once. What nobody could look at in a round stays as it is. The severity of an alert that
is open only rises, and one that has become worse than what was told is told at once.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID, uuid4

from outlast.domain.alert import Alert, AlertNotice, Breach, Decision, Standing, subject_of, worse
from outlast.domain.notification import SEVERITIES, Event, Severity
from outlast.settings_alerts import Rule

_MOST_DOUBLINGS: Final = 4
#: Of rules that this process does not know: they were switched off, or another process has other settings just now.
_KEEP_UNKNOWN: Final = timedelta(minutes=10)
#: Of alerts about no agent, or about several.
_NOBODYS: Final = "outlast"


@dataclass(slots=True)
class _Outcome:
    """What is gathered while alerts are gone through."""

    changed: dict[UUID, Alert] = field(default_factory=dict[UUID, Alert])
    gone: list[UUID] = field(default_factory=list[UUID])
    fired: list[Alert] = field(default_factory=list[Alert])
    resolved: list[Alert] = field(default_factory=list[Alert])


def decide(
    standing: Standing,
    breaches: Sequence[Breach],
    rules: Mapping[str, Rule],
    *,
    unseen: Collection[str] = (),
    new_id: Callable[[], UUID] = uuid4,
) -> Decision:
    """Return what becomes of alerts. `unseen`: rules whose figures could not be read."""
    outcome = _Outcome()
    seen = {breach.key: breach for breach in breaches}
    known = {alert.key: alert for alert in standing.open}
    for key, breach in seen.items():
        alert = known.get(key) or _new(breach, new_id(), standing.now)
        _is_seen(outcome, alert, breach, rules[breach.rule], standing.now)
    for key, alert in known.items():
        if key not in seen and alert.rule not in unseen:
            _is_well(outcome, alert, rules.get(alert.rule), standing)
    notices = [
        *_told(outcome, standing, known.values(), rules, new_id),
        *_told_over(outcome, standing),
    ]
    return Decision(
        changed=list(outcome.changed.values()), gone=outcome.gone, notices=notices, fired=outcome.fired,
        resolved=outcome.resolved,
    )  # fmt: skip


def _new(breach: Breach, id_: UUID, now: datetime) -> Alert:
    return Alert(
        id=id_, tenant=breach.tenant, rule=breach.rule, subject=subject_of(breach.labels), labels=breach.labels,
        severity=breach.severity, state="pending", value=breach.value, text=breach.text, started_at=now,
    )  # fmt: skip


def _is_seen(outcome: _Outcome, alert: Alert, breach: Breach, rule: Rule, now: datetime) -> None:
    severity = worse(alert.severity, breach.severity)
    alert = replace(alert, severity=severity, value=breach.value, text=breach.text, clear_since=None)
    if alert.state == "pending" and now - alert.started_at >= rule.after:
        alert = replace(alert, state="firing", fired_at=now)
        outcome.fired.append(alert)
    outcome.changed[alert.id] = alert


def _is_well(outcome: _Outcome, alert: Alert, rule: Rule | None, standing: Standing) -> None:
    if alert.state == "pending":
        outcome.gone.append(alert.id)
        return
    keep = rule.keep if rule is not None else _KEEP_UNKNOWN
    keep *= 2 ** min(standing.flaps.get(alert.key, 0), _MOST_DOUBLINGS)
    since = alert.clear_since or standing.now
    if standing.now - since < keep:
        outcome.changed[alert.id] = replace(alert, clear_since=since)
        return
    over = replace(alert, clear_since=since, state="resolved", resolved_at=standing.now)
    outcome.changed[over.id] = over
    outcome.resolved.append(over)


def _told(
    outcome: _Outcome,
    standing: Standing,
    known: Iterable[Alert],
    rules: Mapping[str, Rule],
    new_id: Callable[[], UUID],
) -> Iterable[AlertNotice]:
    """Tell of what fires: together what belongs to one rule, and then always together."""
    groups: dict[tuple[str, str, UUID | None], list[Alert]] = defaultdict(list)
    for alert in {**{alert.id: alert for alert in known}, **outcome.changed}.values():
        if _is_to_be_told(alert, rules.get(alert.rule), standing):
            groups[alert.tenant, alert.rule, alert.told_as].append(alert)
    for (_, _, told_as), alerts in groups.items():
        group = told_as or new_id()
        told = [
            replace(
                alert, told_as=group, notices=alert.notices + 1, notified_at=standing.now, told_severity=alert.severity
            )
            for alert in alerts
        ]
        outcome.changed.update({alert.id: alert for alert in told})
        yield _notice("alert", told, group)


def _is_to_be_told(alert: Alert, rule: Rule | None, standing: Standing) -> bool:
    if alert.state != "firing" or rule is None or _is_silent(alert, standing):
        return False
    if alert.notified_at is None or _is_worse(alert.severity, alert.told_severity):
        return True
    # What is about to be over is not told again.
    waits = alert.acknowledged_at is not None or alert.clear_since is not None
    return not waits and standing.now - alert.notified_at >= rule.repeat


def _told_over(outcome: _Outcome, standing: Standing) -> Iterable[AlertNotice]:
    """Tell of what is over to whoever was told of it."""
    groups: dict[UUID, list[Alert]] = defaultdict(list)
    for alert in outcome.resolved:
        if alert.told_as is not None and not _is_silent(alert, standing):
            groups[alert.told_as].append(alert)
    for group, alerts in groups.items():
        yield _notice("recovered", alerts, group)


def _notice(event: Event, alerts: Sequence[Alert], group: UUID) -> AlertNotice:
    first = alerts[0]
    agents = {alert.labels.get("agent", _NOBODYS) for alert in alerts}
    severity: Severity = "info"
    for alert in alerts:
        severity = worse(severity, alert.severity)
    return AlertNotice(
        event=event,
        tenant=first.tenant,
        # An alert is in one notice for each time that it was told.
        key=f"{event}:{first.id}:{first.notices}",
        rule=first.rule,
        agent=agents.pop() if len(agents) == 1 else _NOBODYS,
        severity=severity,
        group=group,
        alerts=[alert.id for alert in alerts],
    )


def _is_silent(alert: Alert, standing: Standing) -> bool:
    return any(silence.covers(alert) for silence in standing.silences)


def _is_worse(severity: Severity, than: Severity | None) -> bool:
    return than is not None and SEVERITIES.index(severity) > SEVERITIES.index(than)
