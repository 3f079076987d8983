"""What is not as usual about the agents of the caller's tenant."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import AwareDatetime

from outlast.domain.anomaly import Anomaly, AnomalyQuery, EndedAs, Severity
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.settings_anomalies import AnomalyKind
from outlast.storage.postgres.anomalies import AnomalyStore
from outlast.storage.postgres.listing import Page

router = APIRouter(prefix="/anomalies", tags=["monitoring"], route_class=PlainRoute, responses=DOCUMENTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyBody:
    """One fault of an agent with a model, however many runs have shown it.

    `ended_as`: normal, it is as usual again; usual, it went on for so long that it is what is usual now; silent, the
    agent runs no more.
    """

    id: UUID
    agent: str
    #: Empty: runs that used none.
    model: str
    kind: str
    #: The run that showed it first; null: it was erased.
    run_id: UUID | None
    found_at: datetime
    ended_at: datetime | None
    ended_as: EndedAs | None
    severity: Severity
    #: In plain words.
    text: str
    value: float | None
    expected: float | None
    #: Runs that were unlike the usual since.
    runs: int

    @classmethod
    def of(cls, found: Anomaly) -> Self:
        """Render it."""
        return cls(
            id=found.id, agent=found.agent, model=found.model, kind=found.kind, run_id=found.run_id,
            found_at=found.found_at, ended_at=found.ended_at, ended_as=found.ended_as, severity=found.severity,
            text=found.text, value=found.value, expected=found.expected, runs=found.seen_runs,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomaliesBody:
    """One page, newest first, and how many there are in all."""

    anomalies: list[AnomalyBody]
    total: int


@router.get("", response_model=AnomaliesBody)
async def anomalies(
    *,
    runtime: CurrentRuntime,
    agent: Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")] = None,
    kind: Annotated[AnomalyKind | None, Query()] = None,
    open: Annotated[bool, Query(description="only those that are not over")] = False,  # noqa: A002 - the parameter's name
    since: Annotated[AwareDatetime | None, Query(description="found at or after; with a time zone")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Json:
    """List what is not as usual, newest first."""
    query = AnomalyQuery(agent=agent, kind=kind, open=open, since=since)
    found, total = await AnomalyStore(runtime.pool).find(query, page=Page(limit, offset))
    return Json(AnomaliesBody(anomalies=[AnomalyBody.of(each) for each in found], total=total))
