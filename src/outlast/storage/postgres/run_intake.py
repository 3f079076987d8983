"""How a run is taken in: where it stands in its thread, what makes way for it, which question it answers.

The usual run, which is put behind what is there, costs one round trip. For every other the thread's row is locked, the
unfinished runs are read, `domain.intake` decides, and the decision is carried out: all in one transaction.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast
from uuid import UUID, uuid4

import orjson

from outlast.domain.acting import principal
from outlast.domain.intake import Asked, Intake, Resume, Standing, check_resume, decide
from outlast.domain.limits import Taken, Takes
from outlast.domain.question import TermsOf, no_terms
from outlast.domain.run import NewRun, RunStatus
from outlast.domain.thread import ThreadState
from outlast.errors import Conflict, NotFound, ThreadQuarantined
from outlast.storage.postgres import questions, writes_before
from outlast.storage.postgres.admission import decision_parameters, taken_of, taking
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.pipelining import Rows
from outlast.storage.postgres.pool import Pool, as_unavailable
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.run_ends import RunEnds, Tx
from outlast.storage.postgres.run_sealing import sealed_new_run, sealed_steps
from outlast.storage.postgres.together import Step
from outlast.telemetry import emit

_SQL = Queries("run_intake")
_ADMISSION_SQL = Queries("admission")
_ENDS_SQL = Queries("run_ends")
#: Route, Idempotency-Key, hash of the body.
Key = tuple[str, str, bytes]


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """A run that is stored, and what made way for it; the hints about that are the caller's, after the commit."""

    run_id: UUID
    #: None when the idempotency key was known: `run_id` is then the run of its first request.
    status: RunStatus | None
    #: Runs that still run and were asked to stop.
    cancelled: tuple[UUID, ...] = ()
    #: Runs that ended here and now.
    ended: tuple[UUID, ...] = ()


class NotTaken(Exception):
    """What the run takes of limits is not there at once; nothing was stored. Never seen outside of admission."""

    def __init__(self, taken: Taken) -> None:
        super().__init__("a limit was reached")
        self.taken = taken


@dataclass(frozen=True, slots=True)
class _Answer:
    """A checked answer, and the place it is for."""

    value: Any
    questions: tuple[str, ...]
    waiting_at: UUID | None


class RunIntake:
    """Takes runs in."""

    def __init__(self, pool: Pool, ends: RunEnds, *, terms_of: TermsOf = no_terms) -> None:
        self._pool = pool
        self._terms_of = terms_of
        self._ends = ends

    async def admit(self, run: NewRun, intake: Intake, *, key: Key | None = None) -> Admission:
        """Store a run durably; it is queued, or blocked behind the run at the front of its thread.

        Raises NotFound (thread) when there is none that this caller may use, ThreadBusy, NothingToResume,
        AlreadyAnswered, InvalidInput (an answer that names no question where several are open), ThreadQuarantined, and
        Conflict when the key came with another body; NotTaken. Whatever is raised, nothing was stored or changed.
        """
        if key is None and _is_usual(run, intake):
            return await self._put_behind(run, intake)
        await _take(run.takes)
        async with self._pool.transaction() as connection:
            if key is not None and (known := await _remember(connection, run.id, key)) is not None:
                return Admission(run_id=known, status=None)
            admission = await self.admit_in(connection, run, intake)
            emit("run.enqueue.before_commit", run_id=run.id)
        with as_unavailable():
            emit("run.enqueued", run_id=run.id)
        return admission

    async def admit_all(self, runs: Sequence[tuple[NewRun, Intake]], *, key: Key | None = None) -> list[Admission]:
        """Store runs of new threads, all or none; with a known key, return its first run alone. Raises as `admit`."""
        admissions: list[Admission] = []
        async with self._pool.transaction() as connection:
            first = runs[0][0].id
            if key is not None and (known := await _remember(connection, first, key)) is not None:
                return [Admission(run_id=known, status=None)]
            for run, intake in runs:
                admissions.append(await self.admit_in(connection, run, intake))
                emit("run.enqueue.before_commit", run_id=run.id)
        with as_unavailable():
            emit("run.enqueued", run_id=first)
        return admissions

    async def known(self, key: Key | None) -> Admission | None:
        """Return the run of the first request with this key and this body, if there was one."""
        if key is None:
            return None
        async with self._pool.connection() as connection:
            parameters = {"route": key[0], "key": key[1]}
            row = await (await connection.execute(_SQL.find_key, parameters)).fetchone()
        return Admission(run_id=row[0], status=None) if row is not None and row[1] == key[2] else None

    async def admit_in(self, connection: Tx, run: NewRun, intake: Intake) -> Admission:
        """Store a run as part of an open transaction; raises as `admit`, and the caller then rolls back."""
        thread = thread_key(run.thread_id)
        await _enter(connection, run, thread, intake)
        standing = await _standing(connection, thread)
        answer = None
        if intake.resume is not None:
            answer = await _checked(connection, thread, _resume(run, intake.resume), standing)
            told = await questions.told_in(connection, self._pool.sealing, thread, answer.value)
            answer = replace(answer, value=told)
        plan = decide(standing, multitask=intake.multitask, later=run.delay_seconds > 0, plain=run.options.plain)
        ended: list[UUID] = []
        if plan.supersede:
            cursor = await connection.execute(_SQL.supersede, {"thread_key": UUID(bytes=thread)})
            ended += [row[0] for row in await cursor.fetchall()]
        if plan.demote:
            await connection.execute(_SQL.step_back, _front_parameters(run, thread))
        reason = f"{'rolled back' if plan.discard else 'interrupted'} by run {run.id}"
        cancelled: list[UUID] = []
        for run_id in (*plan.cancel, *plan.discard):
            action = "rollback" if plan.discard else "interrupt"
            status = await self._ends.cancel_in(connection, thread, run_id, action=action, reason=reason)
            (cancelled if status is RunStatus.RUNNING else ended).append(run_id)
        status = await self._stored(connection, run, thread, intake, answer)
        if run.decision is not None:
            await connection.execute(_ADMISSION_SQL.admitted, decision_parameters(run.id, run.decision))
        if status in {RunStatus.QUEUED, RunStatus.WAITING} and _goes_on(run):
            # Behind another run, where it will go on from is not known yet.
            await writes_before.keep_in(connection, thread, run.id)
            await connection.execute(_SQL.inherit, _inheriting(run, thread))
        return Admission(run_id=run.id, status=status, cancelled=tuple(cancelled), ended=tuple(ended))

    async def _stored_with(self, run: NewRun, steps: Sequence[Step]) -> list[Rows]:
        """Execute the steps, and what they are provided with, in one round trip; raises NotTaken."""

        def before_commit() -> None:
            emit("run.enqueue.before_commit", run_id=run.id)

        takes = run.takes
        if takes is not None and not self._pool.settings.pooler:
            # A name of its own for each try, so that an answer to an earlier one is not taken for the one to this.
            provides = uuid4().hex
            first = taking(takes.wanted, provides=provides)
            taken, rows = await self._pool.provided(first, provides, steps, before_commit=before_commit)
            if rows is not None:
                return rows
            if (refused := taken_of(taken, takes.wanted)) is not None:
                raise NotTaken(refused)
        # A pooler gives each transaction another session, and a window that is new has to be made first.
        await _take(takes)
        return await self._pool.together(steps, before_commit=before_commit)

    async def _stored(
        self, connection: Tx, run: NewRun, thread: bytes, intake: Intake, answer: _Answer | None
    ) -> RunStatus:
        given = _run_parameters(run, thread, intake, answer, self._terms_of)
        parameters = await sealed_new_run(self._pool.sealing, given)
        added = await connection.execute(_SQL.enqueue, parameters)
        if _asks(run):
            await connection.execute(_ENDS_SQL.ask_first, {"id": run.id})
        if not run.options.plain:
            await connection.execute(_SQL.describe_thread, _details_parameters(run, thread, intake))
        return RunStatus(cast("tuple[str]", await added.fetchone())[0])

    async def _put_behind(self, run: NewRun, intake: Intake) -> Admission:
        """Store a run that changes no other; nothing is decided between the statements, so they go out together."""
        thread = thread_key(run.thread_id)
        steps = await sealed_steps(self._pool.sealing, _usual_steps(run, thread, intake, self._terms_of))
        rows = await self._stored_with(run, steps)
        by_step = dict(zip((step.name for step in steps), rows, strict=True))
        stored, opened = by_step["enqueue"], rows[0]
        if not stored:
            _refuse(run, opened[0] if opened else None)
        with as_unavailable():
            emit("run.enqueued", run_id=run.id)
        ended = tuple(row[0] for row in by_step.get("supersede", ()))
        return Admission(run_id=run.id, status=RunStatus(stored[0][0]), ended=ended)


async def _take(takes: Takes | None) -> None:
    """Take it apart from the run; raises NotTaken."""
    if takes is not None and not (taken := await takes.now()).at_once:
        raise NotTaken(taken)


def _usual_steps(run: NewRun, thread: bytes, intake: Intake, terms_of: TermsOf) -> list[Step]:
    if intake.if_not_exists == "create":
        opening = Step("run_intake", "open_thread", _thread_parameters(run, thread))
    else:
        opening = Step("run_intake", "existing_thread", _access_parameters(intake, thread))
    enqueue = [Step("run_intake", "enqueue", _run_parameters(run, thread, intake, None, terms_of))]
    if run.decision is not None:
        enqueue.append(Step("admission", "admitted", decision_parameters(run.id, run.decision)))
    if _asks(run):
        enqueue.append(Step("run_ends", "ask_first", {"id": run.id}))
    if run.options.plain:
        return [opening, *enqueue]
    front = _front_parameters(run, thread)
    return [
        opening,
        Step("run_intake", "supersede", front),
        Step("run_intake", "step_back", front),
        *enqueue,
        Step("run_intake", "describe_thread", _details_parameters(run, thread, intake)),
    ]


def _is_usual(run: NewRun, intake: Intake) -> bool:
    # Somebody else's thread is refused by the statements themselves; only one that is to be made needs a second look.
    foreign = intake.access is not None and intake.if_not_exists == "create"
    return intake.multitask == "enqueue" and not foreign and not _goes_on(run)


def _goes_on(run: NewRun) -> bool:
    """Whether the run writes to the place where its thread stands, and not to checkpoints of its own alone."""
    command = run.options.command or {}
    changes = command.get("update") is not None or command.get("goto") is not None
    answers = command.get("resume") is not None
    return not run.options.plain and (answers or (run.input is None and not changes))


async def _enter(connection: Tx, run: NewRun, thread: bytes, intake: Intake) -> None:
    """Lock the thread, made or found; raises NotFound or ThreadQuarantined."""
    parameters = _access_parameters(intake, thread)
    if intake.if_not_exists == "create":
        cursor = await connection.execute(_SQL.is_there, parameters)
        made = await cursor.fetchone() is None
        opened = await connection.execute(_SQL.open_thread, _thread_parameters(run, thread))
        if made and intake.access is not None:
            await connection.execute(_SQL.own_thread, _details_parameters(run, thread, intake))
        if intake.access is not None:
            opened = await connection.execute(_SQL.existing_thread, parameters)
    else:
        opened = await connection.execute(_SQL.existing_thread, parameters)
    _refuse(run, await opened.fetchone())


def _refuse(run: NewRun, opened: tuple[Any, ...] | None) -> None:
    if opened is None:
        raise NotFound("thread", run.thread_id)
    if opened[0] is not None:
        raise ThreadQuarantined(thread_id=run.thread_id, reason=opened[0])


async def _standing(connection: Tx, thread: bytes) -> list[Standing]:
    cursor = await connection.execute(_SQL.standing, {"thread_key": UUID(bytes=thread)})
    return [
        Standing(id=row[0], status=RunStatus(row[1]), epoch=row[2], later=row[3], answers=_ids(row[4] or ()))
        for row in await cursor.fetchall()
    ]


def _resume(run: NewRun, sent: Resume) -> Resume:
    """Return the answer as admission has left it: policies may have masked what it holds."""
    command = run.options.command or {}
    return Resume(command["resume"]) if command.get("resume") is not None else sent


async def _checked(connection: Tx, thread: bytes, resume: Resume, standing: Sequence[Standing]) -> _Answer:
    """Return the answer with the questions it is for; raises when nobody waits for it."""
    cursor = await connection.execute(_SQL.asked, {"thread_key": UUID(bytes=thread)})
    state, by_task, asked_at, head, of_run, run_asked_at = cast("tuple[Any, ...]", await cursor.fetchone())
    if of_run is not None:
        state, asked_at, questions = ThreadState.INTERRUPTED, run_asked_at, _ids(of_run)
    else:
        questions = _ids([question for asked in cast("dict[str, Any]", by_task).values() for question in asked])
    # The thread may have moved on since it asked.
    still_open = questions if head is not None and asked_at == head else ()
    asked = Asked(state=ThreadState(state), questions=still_open, waiting_at=head)
    check_resume(resume, asked, standing)
    return _Answer(resume.value, asked.questions, asked.waiting_at)


def _ids(questions: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(question["id"] for question in questions if question.get("id"))


async def _remember(connection: Tx, run_id: UUID, key: Key) -> UUID | None:
    """Bind an idempotency key to this run; return the run it is bound to already, if any."""
    route, name, body_hash = key
    parameters = {"route": route, "key": name, "body_hash": body_hash, "run_id": run_id}
    cursor = await connection.execute(_SQL.remember_key, parameters)
    if await cursor.fetchone() is not None:
        return None
    # A new statement, so a new snapshot: the winner's row is visible to it.
    cursor = await connection.execute(_SQL.find_key, parameters)
    known, known_hash = cast("tuple[UUID, bytes]", await cursor.fetchone())
    if known_hash != body_hash:
        msg = f"Idempotency-Key {name!r} was used with another body; use a new key for a new request"
        raise Conflict(msg)
    return known


def _thread_parameters(run: NewRun, thread: bytes) -> dict[str, Any]:
    return {"thread_key": UUID(bytes=thread), "thread_id": run.thread_id}


def _inheriting(run: NewRun, thread: bytes) -> dict[str, Any]:
    asked = run.options.checkpoint or cast("Mapping[str, Any]", run.config.get("configurable") or {})
    root = cast("Mapping[str, Any]", asked.get("checkpoint_map") or {}).get("") or asked.get("checkpoint_id")
    return {"id": run.id, "thread_key": UUID(bytes=thread), "named": None if root is None else str(root)}


def _access_parameters(intake: Intake, thread: bytes) -> dict[str, Any]:
    return {"thread_key": UUID(bytes=thread), "access": intake.access}


def _front_parameters(run: NewRun, thread: bytes) -> dict[str, Any]:
    return {"thread_key": UUID(bytes=thread), "delay": run.delay_seconds}


def _details_parameters(run: NewRun, thread: bytes, intake: Intake) -> dict[str, Any]:
    metadata = {"graph_id": run.agent, **intake.thread_metadata}
    if run.assistant_id is not None:
        metadata.setdefault("assistant_id", str(run.assistant_id))
    ttl = intake.ttl
    return {
        "id": run.id,
        "thread_key": UUID(bytes=thread),
        "metadata": jsonb(metadata),
        "temporary": run.temporary,
        "ttl_minutes": None if ttl is None else ttl.minutes,
        "ttl_strategy": None if ttl is None else ttl.strategy,
    }


def _run_parameters(
    run: NewRun, thread: bytes, intake: Intake, answer: _Answer | None, terms_of: TermsOf
) -> dict[str, Any]:
    who = principal()
    return {
        "user_id": who.user,
        "key_id": who.key_id,
        "id": run.id,
        "thread_key": UUID(bytes=thread),
        "access": intake.access,
        "agent": run.agent,
        "priority": run.priority,
        "delay": run.delay_seconds,
        "max_attempts": run.max_attempts,
        "timeout_seconds": run.timeout_seconds,
        "input": orjson.dumps(run.input),
        "config": jsonb(dict(run.config)),
        "metadata": jsonb(dict(run.metadata)),
        "assistant_id": run.assistant_id,
        "options": run.options.to_json(),
        "resumable": run.options.resumable,
        "multitask": run.multitask,
        "temporary": run.temporary,
        "webhook": run.webhook,
        "answer": None if answer is None else orjson.dumps(answer.value),
        "interrupts": None if answer is None else jsonb([{"id": question} for question in answer.questions]),
        "waiting_at": None if answer is None else answer.waiting_at,
        "approval": _approval(run, terms_of),
    }


def _asks(run: NewRun) -> bool:
    return run.decision is not None and run.decision.verdict == "ask"


def _approval(run: NewRun, terms_of: TermsOf) -> Any:
    """Return what a person has to say yes to before the run begins; None: it may begin."""
    decision = run.decision
    if decision is None or not _asks(run):
        return None
    asked = {"stage": decision.stage, "reason": decision.reason, "question": decision.question}
    return jsonb(asked | {"terms": questions.approval_terms(run, terms_of)})
