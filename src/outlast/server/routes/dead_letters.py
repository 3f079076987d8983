"""Dead letters of the caller's tenant: look, replay, run again as new, discard."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Path, Query
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from outlast.domain.budget import usd
from outlast.domain.dead_letter import Attempt, AttemptKind, DeadLetter, DeadLetterQuery
from outlast.domain.run import RunStatus
from outlast.recovery.dead_letters import Opened
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentGate, CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.dead_letters import ErrorClass

router = APIRouter(prefix="/dlq", tags=["dead letters"], route_class=PlainRoute, responses=DOCUMENTED)

# PostgreSQL's text holds no NUL.
Text = Annotated[str, Field(max_length=500, pattern=r"^[^\x00]*$")]
Asked = Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")]
LetterId = Annotated[UUID, Path(description="the run's id")]
Moment = Annotated[AwareDatetime | None, Query(description="with a time zone")]


class DiscardBody(BaseModel):
    """Why nobody wants it replayed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Annotated[str | None, Field(max_length=1000, pattern=r"^[^\x00]*$")] = None


class AgainBody(BaseModel):
    """Where the new run begins."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    same_thread: Annotated[bool, Field(description="on the old thread, behind what it holds; else a new one")] = False


class ReplayBody(BaseModel):
    """Which dead letters are replayed; what is left out does not filter."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    agent: Text | None = None
    error: Annotated[Text | None, Field(description="the code of their error")] = None
    thread_id: Text | None = None
    since: Annotated[AwareDatetime | None, Field(description="failed at or after; with a time zone")] = None
    until: Annotated[AwareDatetime | None, Field(description="failed before")] = None
    rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False, description="runs per second")] = 10.0
    limit: Annotated[int, Field(ge=1, le=1000, description="at most this many; ask again for the rest")] = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterBody:
    """A failed run."""

    run_id: UUID
    thread_id: str
    agent: str
    error: str
    message: str | None
    attempts: int
    created_at: datetime
    failed_at: datetime
    user: str | None
    #: How often recovery has replayed it by itself.
    replays: int
    discarded_at: datetime | None
    discarded_by: str | None
    discard_reason: str | None

    @classmethod
    def of(cls, letter: DeadLetter) -> Self:
        """Render it."""
        return cls(
            run_id=letter.run_id, thread_id=letter.thread_id, agent=letter.agent, error=letter.code,
            message=letter.message, attempts=letter.attempts, created_at=letter.created_at,
            failed_at=letter.failed_at, user=letter.user, replays=letter.replays, discarded_at=letter.discarded_at,
            discarded_by=letter.discarded_by, discard_reason=letter.discard_reason,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class LettersBody:
    """One page, newest first, and how many there are in all."""

    dead_letters: list[LetterBody]
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassBody:
    """Dead letters of one agent with one error."""

    agent: str
    error: str
    count: int
    oldest_at: datetime
    newest_at: datetime

    @classmethod
    def of(cls, found: ErrorClass) -> Self:
        """Render it."""
        return cls(
            agent=found.agent, error=found.code, count=found.count, oldest_at=found.oldest_at, newest_at=found.newest_at
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptBody:
    """An attempt that ended badly: `error` it raised, `crash` its worker died, `taken` recovery took it away."""

    epoch: int
    kind: AttemptKind
    error: str
    message: str | None
    worker: str | None
    began_at: datetime | None
    ended_at: datetime

    @classmethod
    def of(cls, attempt: Attempt) -> Self:
        """Render it."""
        return cls(
            epoch=attempt.epoch, kind=attempt.kind, error=attempt.code, message=attempt.message, worker=attempt.worker,
            began_at=attempt.began_at, ended_at=attempt.ended_at,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointBody:
    """Where a replay goes on. `of_run` false: the run failed before its first step had ended."""

    checkpoint_id: UUID
    step: int | None
    of_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedBody:
    """What its model calls took."""

    calls: int
    tokens: int
    cost_usd: str


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedBody:
    """A failed run with its input, the errors of all its attempts, where it stands and what it has used."""

    dead_letter: LetterBody
    input: Any
    metadata: dict[str, Any]
    attempts: list[AttemptBody]
    checkpoint: CheckpointBody | None
    usage: UsedBody
    effects: dict[str, int] = field(default_factory=dict[str, int])

    @classmethod
    def of(cls, opened: Opened) -> Self:
        """Render it."""
        at, usage = opened.checkpoint, opened.usage
        return cls(
            dead_letter=LetterBody.of(opened.letter), input=opened.input, metadata=dict(opened.metadata),
            attempts=[AttemptBody.of(attempt) for attempt in opened.attempts],
            checkpoint=None if at is None else CheckpointBody(
                checkpoint_id=at.checkpoint_id, step=at.step, of_run=at.of_run
            ),
            usage=UsedBody(calls=usage.calls, tokens=usage.tokens, cost_usd=usd(usage.cost_micros)),
            effects=dict(opened.effects),
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedBody:
    """A run that goes on, or a new one."""

    run_id: UUID
    thread_id: str
    status: RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplayedBody:
    """The runs that were replayed, and how many more match; the last one is due `seconds` from now."""

    run_ids: list[UUID]
    remaining: int
    seconds: float


@router.get("", response_model=LettersBody)
async def dead_letters(
    *,
    runtime: CurrentRuntime,
    agent: Asked = None,
    error: Asked = None,
    thread_id: Asked = None,
    since: Moment = None,
    until: Moment = None,
    discarded: Annotated[bool, Query(description="those that were discarded, in the place of the others")] = False,
    limit: Annotated[int, Query(ge=1, le=1000)] = 50,
    offset: Annotated[int, Query(ge=0, le=2**31 - 1)] = 0,
) -> Json:
    """List failed runs, newest first."""
    query = DeadLetterQuery(
        agent=agent, code=error, thread_id=thread_id, since=since, until=until, discarded=discarded
    )  # fmt: skip
    found, total = await runtime.recovery_desk().dead_letters.find(query, limit=limit, offset=offset)
    return Json(LettersBody(dead_letters=[LetterBody.of(letter) for letter in found], total=total))


@router.get("/classes", response_model=list[ClassBody])
async def classes(
    runtime: CurrentRuntime, agent: Asked = None, limit: Annotated[int, Query(ge=1, le=1000)] = 50
) -> Json:
    """Count failed runs by agent and error, most first."""
    found = await runtime.recovery_desk().dead_letters.classes(DeadLetterQuery(agent=agent), limit=limit)
    return Json([ClassBody.of(each) for each in found])


@router.post("/replay", response_model=ReplayedBody)
async def replay_all(body: ReplayBody, runtime: CurrentRuntime) -> Json:
    """Replay what matches, oldest first. They become due one after the other, at the rate that is asked for."""
    query = DeadLetterQuery(
        agent=body.agent, code=body.error, thread_id=body.thread_id, since=body.since, until=body.until
    )  # fmt: skip
    done = await runtime.recovery_desk().dead_letters.replay_all(query, rate=body.rate, limit=body.limit)
    seconds = max(0, len(done.run_ids) - 1) / body.rate
    return Json(ReplayedBody(run_ids=done.run_ids, remaining=done.remaining, seconds=round(seconds, 3)))


@router.get("/{letter_id}", response_model=OpenedBody)
async def dead_letter(letter_id: LetterId, runtime: CurrentRuntime) -> Json:
    """Return everything about a failed run; 404 when it has not failed."""
    return Json(OpenedBody.of(await runtime.recovery_desk().dead_letters.open(letter_id)))


@router.post("/{letter_id}/replay", status_code=202, response_model=StartedBody)
async def replay(letter_id: LetterId, runtime: CurrentRuntime) -> Json:
    """Let the run go on from its last checkpoint, under the same id; 409 when it has not failed."""
    status = await runtime.recovery_desk().dead_letters.replay(letter_id)
    view = await runtime.queue.store.get(letter_id)
    return Json(StartedBody(run_id=letter_id, thread_id=view.thread_id, status=status), 202)


@router.post("/{letter_id}/again", status_code=202, response_model=StartedBody)
async def again(letter_id: LetterId, body: AgainBody, runtime: CurrentRuntime, gate: CurrentGate) -> Json:
    """Start a new run with the same input; what the failed one did outside may be done a second time."""
    letters = runtime.recovery_desk().dead_letters
    view = await letters.again(letter_id, same_thread=body.same_thread, decide=gate.decide)
    return Json(StartedBody(run_id=view.id, thread_id=view.thread_id, status=view.status), 202)


@router.post("/{letter_id}/discard", response_model=LetterBody)
async def discard(letter_id: LetterId, body: DiscardBody, runtime: CurrentRuntime) -> Json:
    """Mark the run as not to be replayed: it stays failed, and is listed and counted no more; 409 the second time."""
    return Json(LetterBody.of(await runtime.recovery_desk().dead_letters.discard(letter_id, reason=body.reason)))
