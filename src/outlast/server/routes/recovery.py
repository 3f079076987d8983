"""What stands still in the caller's tenant, and how many checkpoints there are."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from outlast.admission.names import check_name
from outlast.domain.dead_letter import DeadLetterQuery
from outlast.domain.stuck import HOPELESS, Place, Standstill, Why
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.checkpoint_stats import AgentCheckpoints, CheckpointStats

router = APIRouter(prefix="/recovery", tags=["recovery"], route_class=PlainRoute, responses=DOCUMENTED)

Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
_10_YEARS_DAYS = 3650


class RecoverBody(BaseModel):
    """Which failed runs are replayed; what is left out does not filter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: Text | None = None
    error: Annotated[Text | None, Field(description="the code of their error")] = None
    rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False, description="runs per second")] = 10.0
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


class CleanupBody(BaseModel):
    """Whose history goes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    older_than_days: Annotated[float, Field(gt=0, le=_10_YEARS_DAYS, allow_inf_nan=False, description="untouched for")]
    strategy: Annotated[
        Literal["keep_latest", "delete"], Field(description="keep what the thread holds now, or delete the thread")
    ] = "keep_latest"
    limit: Annotated[int, Field(ge=1, le=1000, description="at most this many threads")] = 100
    dry_run: Annotated[bool, Field(description="only say which")] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CallBody:
    """A tool call that has no result yet."""

    id: str | None
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class PlaceBody:
    """The checkpoint at which a thread stands."""

    checkpoint_id: UUID
    step: int | None
    saved_at: datetime | None
    last_nodes: list[str]
    next_nodes: list[str]
    pending_tool_calls: list[CallBody]
    errors: list[str]

    @classmethod
    def of(cls, place: Place) -> Self:
        """Render it."""
        return cls(
            checkpoint_id=place.checkpoint_id, step=place.step, saved_at=place.saved_at, last_nodes=list(place.last),
            next_nodes=list(place.next), errors=list(place.errors),
            pending_tool_calls=[
                CallBody(id=call.id, name=call.name, arguments=call.arguments) for call in place.pending_calls
            ],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StuckBody:
    """A thread that does not go on by itself. `recoverable`: recovery can help, with nothing repaired first."""

    thread_id: str
    why: Why
    since: datetime | None
    run_id: UUID | None
    agent: str | None
    error: str | None
    detail: str | None
    recoverable: bool
    advice: str
    place: PlaceBody | None

    @classmethod
    def of(cls, found: Standstill) -> Self:
        """Render it."""
        return cls(
            thread_id=found.thread_id, why=found.why, since=found.since, run_id=found.run_id, agent=found.agent,
            error=found.error_code, detail=found.detail, recoverable=found.recoverable, advice=found.advice,
            place=None if found.place is None else PlaceBody.of(found.place),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadStandingBody:
    """Whether a thread is stuck; false for one that goes on, or has nothing left to do."""

    thread_id: str
    stuck: bool
    standstill: StuckBody | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecoveredBody:
    """The runs that were replayed, and how many more match."""

    run_ids: list[UUID]
    remaining: int


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCheckpointsBody:
    """Checkpoints of one agent; `agent` is null for graphs that were run outside of Outlast."""

    agent: str | None
    count: int
    threads: int
    oldest_at: datetime | None
    newest_at: datetime | None
    bytes: int

    @classmethod
    def of(cls, found: AgentCheckpoints) -> Self:
        """Render it."""
        return cls(
            agent=found.agent or None, count=found.count, threads=found.threads, oldest_at=found.oldest_at,
            newest_at=found.newest_at, bytes=found.size_bytes,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointsBody:
    """All checkpoints. `shared_bytes`: values that checkpoints of a thread share; in `bytes`, too."""

    count: int
    bytes: int
    shared_bytes: int
    writes_bytes: int
    agents: list[AgentCheckpointsBody]

    @classmethod
    def of(cls, stats: CheckpointStats) -> Self:
        """Render it."""
        return cls(
            count=stats.count, bytes=stats.size_bytes, shared_bytes=stats.shared_bytes, writes_bytes=stats.writes_bytes,
            agents=[AgentCheckpointsBody.of(agent) for agent in stats.agents],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CleanedBody:
    """The threads whose history is gone, or with `dry_run` would be."""

    threads: list[str]


@router.get("/stuck", response_model=list[StuckBody])
async def stuck(
    runtime: CurrentRuntime,
    agent: Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> Json:
    """List threads that do not go on, oldest first; those that wait for a person are in the inbox."""
    found = await runtime.recovery_desk().standstills.scan(agent=agent, limit=limit)
    return Json([StuckBody.of(each) for each in found])


@router.get("/stuck/{thread_id:path}", response_model=ThreadStandingBody)
async def is_stuck(thread_id: str, runtime: CurrentRuntime) -> Json:
    """Say whether a thread goes on by itself, where it stands, and what would help."""
    found = await runtime.recovery_desk().standstills.is_stuck(check_name(thread_id, field="thread_id"))
    standstill = None if found is None else StuckBody.of(found)
    return Json(ThreadStandingBody(thread_id=thread_id, stuck=found is not None, standstill=standstill))


@router.post("/run", response_model=RecoveredBody)
async def recover(body: RecoverBody, runtime: CurrentRuntime) -> Json:
    """Replay failed runs, oldest first; not those whose error comes again until somebody has repaired something."""
    query = DeadLetterQuery(agent=body.agent, code=body.error, without=tuple(HOPELESS))
    done = await runtime.recovery_desk().dead_letters.replay_all(query, rate=body.rate, limit=body.limit)
    return Json(RecoveredBody(run_ids=done.run_ids, remaining=done.remaining))


@router.get("/checkpoints", response_model=CheckpointsBody)
async def checkpoints(runtime: CurrentRuntime) -> Json:
    """Count and weigh all checkpoints, by agent; reads each of them once."""
    return Json(CheckpointsBody.of(await runtime.recovery_desk().checkpoints.stats()))


@router.post("/checkpoints/cleanup", response_model=CleanedBody)
async def cleanup(body: CleanupBody, runtime: CurrentRuntime) -> Json:
    """Delete histories of threads on which nothing has happened for long; what they hold now stays."""
    threads = await runtime.recovery_desk().checkpoints.cleanup(
        age=timedelta(days=body.older_than_days), strategy=body.strategy, limit=body.limit, dry_run=body.dry_run
    )
    return Json(CleanedBody(threads=threads))
