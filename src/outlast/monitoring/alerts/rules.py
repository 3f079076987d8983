"""What rules make of figures and of findings: the breaches of one moment."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from outlast.domain.alert import Breach, Figure
from outlast.domain.notification import Severity
from outlast.monitoring.alerts.wording import text_of
from outlast.monitoring.slo.burning import Burn
from outlast.settings_alerts import Rule
from outlast.storage.postgres.alert_figures import Anomaly

#: What finders call how bad it is, in the words of notifications.
_AS_NOTIFIED: Final[Mapping[str, Severity]] = {
    "info": "info", "warning": "warning", "error": "error", "critical": "error",
}  # fmt: skip
#: Whose service levels are.
_OPERATOR: Final = "default"


def of_figures(rule: Rule, figures: Iterable[Figure]) -> Iterator[Breach]:
    """Yield what is too much or too little, of the agents that the rule is for."""
    for figure in figures:
        if figure.name == rule.metric and _is_for(rule, figure) and _is_breached(rule, figure.value):
            yield Breach(
                rule=rule.name,
                tenant=figure.tenant,
                labels={figure.label: figure.of} if figure.label else {},
                severity=rule.severity or "warning",
                value=figure.value,
                text=text_of(rule, figure),
            )


def of_anomalies(rule: Rule, found: Iterable[Anomaly]) -> Iterator[Breach]:
    """Yield what was found to be unlike the usual, and still is."""
    for anomaly in found:
        if rule.agents and anomaly.agent not in rule.agents:
            continue
        labels = {"agent": anomaly.agent, "model": anomaly.model, "kind": anomaly.kind}
        yield Breach(
            rule=rule.name,
            tenant=anomaly.tenant,
            labels={name: value for name, value in labels.items() if value},
            severity=rule.severity or _AS_NOTIFIED[anomaly.severity],
            value=anomaly.value,
            text=f"{anomaly.text}; see `outlast anomalies list`",
        )


def of_burns(rule: Rule, found: Iterable[Burn]) -> Iterator[Breach]:
    """Yield the service levels whose error budget is spent too fast."""
    for burn in found:
        if rule.agents and burn.agent not in rule.agents:
            continue
        yield Breach(
            rule=rule.name,
            tenant=_OPERATOR,
            labels={"slo": burn.slo, **({"agent": burn.agent} if burn.agent else {})},
            severity=rule.severity or _AS_NOTIFIED[burn.severity],
            value=burn.rate,
            text=f"{burn.text}; see `outlast slo`",
        )


def _is_for(rule: Rule, figure: Figure) -> bool:
    return not rule.agents or (figure.label == "agent" and figure.of in rule.agents)


def _is_breached(rule: Rule, value: float) -> bool:
    return (rule.above is not None and value > rule.above) or (rule.below is not None and value < rule.below)
