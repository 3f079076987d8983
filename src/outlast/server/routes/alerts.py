"""Alerts of the caller's tenant: what is not as it should be, and who wants to hear no more of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query

from outlast.domain.alert import Alert, AlertState, Silence
from outlast.domain.notification import Severity
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.alerts import AlertStore

router = APIRouter(prefix="/alerts", tags=["alerts"], route_class=PlainRoute, responses=DOCUMENTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertBody:
    """An alert. `pending`: seen, not for long enough yet; `firing`; `resolved`: over."""

    id: UUID
    rule: str
    #: What of it: the agent, the model, the budget.
    labels: Mapping[str, str]
    severity: Severity
    state: AlertState
    value: float | None
    text: str
    started_at: datetime
    fired_at: datetime | None
    resolved_at: datetime | None
    #: When people were last told; none: not yet, or a silence keeps it from them.
    notified_at: datetime | None
    notices: int
    acknowledged_at: datetime | None
    acknowledged_by: str | None

    @classmethod
    def of(cls, alert: Alert) -> Self:
        """Render it."""
        return cls(
            id=alert.id, rule=alert.rule, labels=alert.labels, severity=alert.severity, state=alert.state,
            value=alert.value, text=alert.text, started_at=alert.started_at, fired_at=alert.fired_at,
            resolved_at=alert.resolved_at, notified_at=alert.notified_at, notices=alert.notices,
            acknowledged_at=alert.acknowledged_at, acknowledged_by=alert.acknowledged_by,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class SilenceBody:
    """Nobody is told of the rule until then. `subject` none: of all of it; rule `*`: of whatever rule."""

    id: UUID
    rule: str
    subject: str | None
    why: str
    silenced_by: str | None
    began_at: datetime
    until_at: datetime

    @classmethod
    def of(cls, silence: Silence) -> Self:
        """Render it."""
        return cls(
            id=silence.id, rule=silence.rule, subject=silence.subject, why=silence.why,
            silenced_by=silence.silenced_by, began_at=silence.began_at, until_at=silence.until_at,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertsBody:
    """Alerts, silences, and when the rules were last looked at: when that is long ago, nobody would be told."""

    evaluated_at: datetime | None
    alerts: list[AlertBody]
    silences: list[SilenceBody]


@router.get("", response_model=AlertsBody)
async def alerts(
    *,
    runtime: CurrentRuntime,
    state: Annotated[list[AlertState] | None, Query(description="only these; none: all")] = None,
    rule: Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """List alerts, open ones first, then the newest."""
    store = AlertStore(runtime.pool)
    found = await store.find(states=state, rule=rule, limit=limit)
    watch = await store.standing()
    return Json(AlertsBody(
        evaluated_at=watch.evaluated_at, alerts=[AlertBody.of(alert) for alert in found],
        silences=[SilenceBody.of(silence) for silence in await store.silences()],
    ))  # fmt: skip
