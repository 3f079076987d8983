"""The rows of the inbox: what is asked, and the one transaction that answers a question and lets its run go on."""

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import orjson
import uuid_utils.compat as uuid_utils
from psycopg.errors import UniqueViolation

from outlast.domain.acting import Principal, acting_for, principal
from outlast.domain.approval import approval_question
from outlast.domain.intake import Intake, Resume
from outlast.domain.question import Comment, Decision, Question, QuestionStatus, Vote
from outlast.domain.run import NewRun, RunStatus
from outlast.errors import Conflict, Forbidden, NotFound
from outlast.refusals import QuestionChanged, QuestionClosed
from outlast.storage.postgres import questions
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool, as_unavailable
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.questions import Tx
from outlast.storage.postgres.run_intake import Admission
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.sealed_columns import QUESTION_NOTE, QUESTION_VALUE, RUN_ANSWER
from outlast.storage.postgres.together import Step
from outlast.telemetry import emit

_SQL = Queries("inbox")
_ENDS_SQL = Queries("run_ends")
_NOTIFICATIONS_SQL = Queries("notifications")
_Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruling:
    """A decision as it is to be written down."""

    decision: Decision
    #: What the asker is told by it.
    given: Any
    by: str
    status: QuestionStatus = QuestionStatus.ANSWERED


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The run that goes on with these answers, let in already."""

    answers: Mapping[str, Any]
    run: NewRun
    #: On whose behalf it runs: whoever had asked for the first one.
    owner: Principal


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruled:
    """What became of a ruling."""

    #: False: it was the first of two.
    closed: bool
    #: What became of the run that had waited; None: it waits for other questions, too.
    status: RunStatus | None = None
    #: The run that goes on, where that is another one.
    admission: Admission | None = None


class NeedsRun(Exception):
    """A run of its own has to go on with these answers; nothing was stored."""

    def __init__(self, answers: Mapping[str, Any]) -> None:
        super().__init__("the run that goes on was not prepared")
        self.answers = answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """Which questions are looked for; None does not filter."""

    status: QuestionStatus | None = None
    kind: str | None = None
    agent: str | None = None
    assignee: str | None = None
    thread_id: str | None = None
    run_id: UUID | None = None
    overdue: bool = False


class InboxStore:
    """Acts for the tenant of the context."""

    def __init__(self, pool: Pool, runs: RunStore) -> None:
        self._pool = pool
        self._runs = runs

    async def get(self, question_id: UUID) -> Question:
        """Return a question with what was said about it; raises NotFound."""
        steps = [Step("inbox", "get", {"id": question_id}), Step("inbox", "notes", {"ids": [question_id]})]
        rows, notes = await self._pool.together(steps, before_commit=_nothing)
        if not rows:
            raise NotFound("question", str(question_id))
        row = rows[0]
        (question,) = await self._noted([await self._question(row)], notes)
        if row[7] is None:
            # A person says yes to a run with exactly this input.
            with suppress(NotFound):
                run = await self._runs.get(question.run_id)
                subject = questions.approval_subject(run.agent, run.input, run.options.command)
                return replace(question, value={**question.value, "subject": subject})
        return question

    async def find(self, wanted: Wanted, *, limit: int, offset: int) -> tuple[list[Question], int]:
        """Return questions, what is due first at the beginning, then the newest; and how many there are."""
        status = wanted.status
        # Withdrawn are also those of which nobody has written it down yet.
        stored = {None: None, QuestionStatus.WITHDRAWN: ["open", "withdrawn"]}.get(status, [status])
        parameters = {
            "status": status, "stored": stored, "kind": wanted.kind, "agent": wanted.agent,
            "assignee": wanted.assignee, "run_id": wanted.run_id, "overdue": wanted.overdue, "limit": limit,
            "thread_key": None if wanted.thread_id is None else UUID(bytes=thread_key(wanted.thread_id)),
            "offset": offset,
        }  # fmt: skip
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.find, parameters)).fetchall()
        found = [await self._question(row) for row in rows]
        return await self._with_notes(found), rows[0][-1] if rows else 0

    async def rule(self, question: Question, ruling: Ruling, *, prepared: Prepared | None = None) -> Ruled:
        """Close an open question, and let its run go on when nothing else of what it asked is open: in one transaction.

        Raises QuestionClosed when somebody else was first or nobody waits for it, NeedsRun when another run has to go
        on and `prepared` is not the one for that, QuestionChanged when the first of two people has decided something
        else, Forbidden when it was the same person, and as `RunStore.answer` and `RunIntake.admit`.
        """
        thread = thread_key(question.thread_id)
        if await self._ruled_alone(question, ruling, thread):
            return Ruled(closed=True, status=RunStatus.QUEUED)
        async with self._pool.transaction() as connection:
            await connection.execute(_ENDS_SQL.lock_thread, {"thread_key": UUID(bytes=thread)})
            row = await self._locked_open(connection, question.id)
            if not await self._agreed(connection, question, ruling):
                return Ruled(closed=False)
            await questions.close_in(
                connection, self._pool.sealing, question.id, ruling.decision, by=ruling.by, given=ruling.given,
                status=ruling.status,
            )  # fmt: skip
            if ruling.status is QuestionStatus.EXPIRED:
                await connection.execute(_NOTIFICATIONS_SQL.put, _telling("expired", question.id).parameters)
            ruled = await self._go_on(connection, question, thread, row, prepared)
            if ruling.status is QuestionStatus.EXPIRED:
                emit("inbox.expired.before_commit", question_id=question.id)
            else:
                emit("inbox.answered.before_commit", question_id=question.id)
        with as_unavailable():
            _told(question, ruling)
        return ruled

    async def _ruled_alone(self, question: Question, ruling: Ruling, thread: bytes) -> bool:
        """Do it in one round trip where that is all there is to it; False: nothing was done."""
        if not question.alone or question.needs > 1 or ruling.status is not QuestionStatus.ANSWERED:
            return False
        sealing, told = self._pool.sealing, orjson.dumps({question.interrupt_id: ruling.given}, default=repr)
        parameters = {
            "id": question.id, "decision": ruling.decision.decision, "by": ruling.by,
            "answer": await questions.sealed_answer(sealing, question.id, ruling.decision, ruling.given),
            "told": await sealing.seal(RUN_ANSWER, told, question.run_id),
        }  # fmt: skip
        lock = Step("run_ends", "lock_thread", {"thread_key": UUID(bytes=thread)})
        _, closed = await self._pool.together(
            [lock, Step("inbox", "close_alone", parameters)],
            before_commit=lambda: emit("inbox.answered.before_commit", question_id=question.id),
        )
        if closed:
            with as_unavailable():
                _told(question, ruling)
        return bool(closed)

    async def _locked_open(self, connection: Tx, question_id: UUID) -> _Row:
        row = await (await connection.execute(_SQL.lock, {"id": question_id})).fetchone()
        if row is None:
            raise NotFound("question", str(question_id))
        if row[0] != QuestionStatus.OPEN:
            raise QuestionClosed(question_id=str(question_id), status=row[0], by=row[4], at=row[5], decision=row[3])
        return row

    async def _agreed(self, connection: Tx, question: Question, ruling: Ruling) -> bool:
        """Whether as many people have decided this as have to; if not, it is written down as the first vote.

        One no is enough, and what is declared for when nobody answers is nobody's vote.
        """
        alone = question.needs < 2 or ruling.decision.decision == "reject"  # noqa: PLR2004 - two people
        if alone or ruling.status is QuestionStatus.EXPIRED:
            return True
        votes = await (await connection.execute(_SQL.votes, {"id": question.id})).fetchall()
        for note_id, author, body in votes:
            if author == ruling.by:
                raise Forbidden("you have decided this already; it takes a second person")
            first = await self._voted(note_id, body)
            if first.digest != ruling.decision.digest:
                msg = (
                    f"{author} has decided {first.decision} with another value; the second person decides the same, "
                    "or rejects it"
                )
                raise QuestionChanged(msg, question_id=str(question.id), hash=question.hash)
        if votes:
            return True
        await self._note(connection, question.id, "vote", ruling.by, questions.encoded(ruling.decision.to_json()))
        return False

    async def _go_on(
        self, connection: Tx, question: Question, thread: bytes, row: _Row, prepared: Prepared | None
    ) -> Ruled:
        group = await questions.asked_together(connection, self._pool.sealing, question.run_id, row[1])
        if any(each.open for each in group):
            return Ruled(closed=True)
        answers = {each.interrupt_id: each.answer for each in group if each.status != QuestionStatus.WITHDRAWN}
        if row[2] == RunStatus.WAITING:
            given = answers[question.interrupt_id] if question.kind == "approval" else answers
            status = await self._runs.answer_in(connection, thread, question.run_id, given)
            return Ruled(closed=True, status=status)
        if prepared is None or prepared.answers != answers:
            raise NeedsRun(answers)
        with acting_for(prepared.owner):
            # Of what policies have left of the answers, see `RunIntake`.
            intake = Intake(if_not_exists="reject", resume=Resume(answers))
            admission = await self._runs.intake.admit_in(connection, prepared.run, intake)
        return Ruled(closed=True, status=RunStatus.INTERRUPTED, admission=admission)

    async def owner(self, run_id: UUID) -> Principal:
        """Return on whose behalf a run was asked for."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.owner, {"run_id": run_id})).fetchone()
        user, key_id = row or (None, None)
        return Principal(tenant=principal().tenant, user=user, key_id=key_id)

    async def assign(self, question_id: UUID, assignee: str | None) -> None:
        """Give an open question to somebody, or to everybody (None); raises NotFound, Conflict when it is not open."""
        steps = [Step("inbox", "assign", {"id": question_id, "assignee": assignee}), _telling("assigned", question_id)]
        assigned, _ = await self._pool.together(steps, before_commit=_nothing)
        if assigned:
            return
        question = await self.get(question_id)
        msg = f"question {question_id} is {question.status}; only open ones are assigned"
        raise Conflict(msg, details={"question_id": str(question_id), "question_status": question.status})

    async def comment(self, question_id: UUID, author: str, text: str) -> None:
        """Keep what somebody says about a question, open or not; raises NotFound."""
        async with self._pool.transaction() as connection:
            if not await self._note(connection, question_id, "comment", author, questions.encoded(text)):
                raise NotFound("question", str(question_id))

    async def _note(self, connection: Tx, question_id: UUID, kind: str, author: str, body: bytes) -> bool:
        note_id = uuid_utils.uuid7()
        parameters = {
            "id": note_id, "question_id": question_id, "kind": kind, "author": author,
            "body": await self._pool.sealing.seal(QUESTION_NOTE, body, note_id),
        }  # fmt: skip
        try:
            return await (await connection.execute(_SQL.note, parameters)).fetchone() is not None
        except UniqueViolation as error:
            raise Forbidden("you have decided this already; it takes a second person") from error

    # expiry

    async def due(self, *, limit: int) -> list[tuple[UUID, str]]:
        """Return questions that expiry has to look at, of all tenants where all are seen: (id, tenant)."""
        async with self._pool.connection() as connection:
            return [(row[0], row[1]) for row in await (await connection.execute(_SQL.due, {"limit": limit})).fetchall()]

    async def remind(self, question_id: UUID, *, again: timedelta) -> int | None:
        """Count that nobody has answered in time; None: somebody else has counted it, or it is closed."""
        parameters = {"id": question_id, "again": again.total_seconds()}
        steps = [Step("inbox", "remind", parameters), _telling("overdue", question_id)]
        counted, _ = await self._pool.together(steps, before_commit=_nothing)
        return counted[0][0] if counted else None

    async def look_later(self, question_id: UUID, *, again: timedelta) -> None:
        """Have expiry look at it again after a while."""
        parameters = {"id": question_id, "again": again.total_seconds()}
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.look_later, parameters)

    async def withdraw(self, *, limit: int) -> int:
        """Write down for which questions nobody waits any more; return for how many."""
        async with self._pool.connection() as connection:
            return len(await (await connection.execute(_SQL.withdraw, {"limit": limit})).fetchall())

    # rows

    async def _question(self, row: _Row) -> Question:
        sealing = self._pool.sealing
        if row[7] is None:
            value: Any = approval_question(row[1], row[23])["value"]
        else:
            value = json.loads(await sealing.open(QUESTION_VALUE, row[7], row[0]) or b"null")
        answer = await questions.opened_answer(sealing, row[0], row[22])
        return Question(
            id=row[0], run_id=row[1], thread_id=row[2], agent=row[3], tenant=row[4], interrupt_id=row[5], kind=row[6],
            value=value, hash=row[8], allowed=tuple(row[9]), requester=row[10], assignee=row[11], needs=row[12],
            not_requester=row[13], asked_at=row[14], due_at=row[15], reminders=row[16], default_decision=row[17],
            status=QuestionStatus(row[18]), decision=row[19], answered_by=row[20], answered_at=row[21],
            answer=questions.decision_of(answer, row[19]),
            overdue=bool(row[24]) and row[18] == QuestionStatus.OPEN, alone=row[25],
        )  # fmt: skip

    async def _with_notes(self, found: Sequence[Question]) -> list[Question]:
        if not found:
            return []
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.notes, {"ids": [question.id for question in found]})
            return await self._noted(found, await cursor.fetchall())

    async def _noted(self, found: Sequence[Question], rows: Sequence[_Row]) -> list[Question]:
        comments: dict[UUID, list[Comment]] = {}
        votes: dict[UUID, list[Vote]] = {}
        for question_id, note_id, kind, author, body, said_at in rows:
            if kind == "vote":
                vote = Vote(author=author, decision=await self._voted(note_id, body), said_at=said_at)
                votes.setdefault(question_id, []).append(vote)
            else:
                text = json.loads(await self._pool.sealing.open(QUESTION_NOTE, body, note_id) or b'""')
                comment = Comment(id=note_id, author=author, text=text, said_at=said_at)
                comments.setdefault(question_id, []).append(comment)
        return [
            replace(each, votes=tuple(votes.get(each.id, ())), comments=tuple(comments.get(each.id, ())))
            for each in found
        ]

    async def _voted(self, note_id: UUID, body: bytes) -> Decision:
        return Decision.of_json(json.loads(await self._pool.sealing.open(QUESTION_NOTE, body, note_id) or b"{}"))


def _told(question: Question, ruling: Ruling) -> None:
    if ruling.status is QuestionStatus.EXPIRED:
        emit("inbox.expired", question_id=question.id, run_id=question.run_id)
    else:
        seconds = max(0.0, (datetime.now(UTC) - question.asked_at).total_seconds())
        emit("inbox.answered", question_id=question.id, run_id=question.run_id, by=ruling.by, seconds=seconds)


def _telling(event: str, question_id: UUID) -> Step:
    """Return what tells people of it, in the same transaction and behind what has happened; nothing if it has not."""
    return Step("notifications", "put", {"event": event, "questions": [question_id]})


def _nothing() -> None:
    """Have nothing to do before the commit."""
