"""The inbox: every question to a person, answered once.

    answer    check who may, map the decision for the asker, then one transaction: close the row, let the run go on

A plain run is queued with its answers. A run of the Agent Server API has ended with its questions, so another one goes
on: it is prepared (admission decides about it as about any run) before the transaction that stores it.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

from outlast.domain.access import require_scope
from outlast.domain.acting import acting_for, principal
from outlast.domain.question import (
    ANYBODY,
    BY_DEFAULT,
    Decision,
    Question,
    QuestionStatus,
    by_whom,
    storable,
)
from outlast.domain.run import NewRun
from outlast.errors import Conflict, Forbidden, InvalidInput
from outlast.inbox.answers import answer_of
from outlast.refusals import QuestionChanged, QuestionClosed
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.inbox import InboxStore, NeedsRun, Prepared, Ruled, Ruling, Wanted

SCOPE: Final = "inbox:answer"
_LONGEST_COMMENT: Final = 10_000
_LONGEST_NAME: Final = 255
# Somebody else may answer another question of the same run in between, each time.
_TRIES: Final = 8

_Turns = WeakValueDictionary[UUID, asyncio.Lock]
#: Makes the run that goes on with answers, and has it let in; raises AdmissionRefused. It acts for the run's owner.
Prepare = Callable[[UUID, Mapping[str, Any]], Awaitable[NewRun]]
#: Tells workers and those who wait for the run, once that is committed.
Tell = Callable[[UUID, Ruled], None]


@dataclass(frozen=True, slots=True)
class Inbox:
    """Acts for the principal of the context, within their tenant."""

    store: InboxStore
    prepare: Prepare
    tell: Tell
    audit: AuditLog
    #: Whether only the assignee answers what is assigned.
    assignee_only: bool = field(default=True, kw_only=True)
    # Of each question that is being answered.
    _turns: _Turns = field(default_factory=_Turns, repr=False, kw_only=True)

    async def find(
        self,
        *,
        status: QuestionStatus | str | None = None,
        kind: str | None = None,
        agent: str | None = None,
        assignee: str | None = None,
        thread_id: str | None = None,
        run_id: UUID | None = None,
        overdue: bool = False,
        limit: int = 50,
        offset: int = 0,
    ) -> tuple[list[Question], int]:
        """Return questions, and how many there are: what is due first at the beginning, then the newest.

        `overdue`: only open ones past their deadline. Raises InvalidInput on a status that there is not.
        """
        wanted = Wanted(
            status=_status(status), kind=kind, agent=agent, assignee=assignee, thread_id=thread_id, run_id=run_id,
            overdue=overdue,
        )  # fmt: skip
        return await self.store.find(wanted, limit=limit, offset=offset)

    async def get(self, question_id: UUID) -> Question:
        """Return one, with comments and votes; raises NotFound."""
        return await self.store.get(question_id)

    async def answer(self, question_id: UUID, decision: Decision) -> Question:
        """Decide an open question, once: its run goes on in the same transaction, when nothing else it asked is open.

        Returns the question as it is now: still open after the first of two votes. Raises NotFound, QuestionClosed
        (somebody was first, or nobody waits any more), QuestionChanged (the hash is another one, or two people
        disagree), Forbidden (who is not the assignee, is the requester where that is excluded, or has voted already),
        InvalidInput (a decision that is not allowed here, or lacks its value), AdmissionRefused (the run that would go
        on may not start now; the question stays open).
        """
        require_scope(SCOPE)
        # Only here, the database decides: whoever comes second waits without a connection, and reads what was first.
        turn = self._turns.setdefault(question_id, asyncio.Lock())
        async with turn:
            return await self._answer(question_id, decision)

    async def _answer(self, question_id: UUID, decision: Decision) -> Question:
        question = await self.store.get(question_id)
        # Whoever comes too late is told so, whatever they wanted.
        _require_open(question)
        self._require_allowed(question)
        _require_sound(question, decision)
        given = answer_of(question.kind, question.value, decision)
        ruled = await self._ruled(question, Ruling(decision=decision, given=given, by=by_whom()))
        details = {"decision": decision.decision, "run": str(question.run_id), "kind": question.kind}
        action = "question.answered" if ruled.closed else "question.voted"
        await self.audit.note(action, f"question:{question.id}", details, payload=question.hash.encode())
        return await self.store.get(question_id)

    async def expire(self, question: Question) -> bool:
        """Take the default of a question that nobody has answered in time; False when it has none to take."""
        decision = _usable_default(question)
        if decision is None:
            return False
        given = answer_of(question.kind, question.value, decision)
        ruling = Ruling(decision=decision, given=given, by=BY_DEFAULT, status=QuestionStatus.EXPIRED)
        await self._ruled(question, ruling)
        details = {"decision": decision.decision, "run": str(question.run_id), "kind": question.kind}
        await self.audit.note("question.expired", f"question:{question.id}", details, payload=question.hash.encode())
        return True

    async def assign(self, question_id: UUID, assignee: str | None) -> Question:
        """Give an open question to a user, or to everybody (None). Raises NotFound, Conflict, InvalidInput."""
        require_scope(SCOPE)
        name = None if assignee is None else storable(assignee)
        if name is not None and not 0 < len(name) <= _LONGEST_NAME:
            raise InvalidInput(f"a user's name has 1 to {_LONGEST_NAME} characters", field="assignee")
        await self.store.assign(question_id, name)
        details = {} if name is None else {"user": name}
        await self.audit.note("question.assigned", f"question:{question_id}", details)
        return await self.store.get(question_id)

    async def comment(self, question_id: UUID, text: str) -> Question:
        """Say something about a question, open or not. Raises NotFound, InvalidInput."""
        require_scope(SCOPE)
        if not text.strip() or len(text) > _LONGEST_COMMENT:
            raise InvalidInput(f"a comment has 1 to {_LONGEST_COMMENT:,} characters", field="text")
        await self.store.comment(question_id, by_whom(), text)
        return await self.store.get(question_id)

    async def _ruled(self, question: Question, ruling: Ruling) -> Ruled:
        prepared: Prepared | None = None
        for _ in range(_TRIES):
            try:
                ruled = await self.store.rule(question, ruling, prepared=prepared)
            except NeedsRun as needs:
                owner = await self.store.owner(question.run_id)
                with acting_for(owner):
                    run = await self.prepare(question.run_id, needs.answers)
                prepared = Prepared(answers=needs.answers, run=run, owner=owner)
                continue
            self.tell(question.run_id, ruled)
            return ruled
        msg = f"question {question.id} is being answered by others at the same time; look at it again"
        raise Conflict(msg, details={"question_id": str(question.id), "question_status": question.status})

    def _require_allowed(self, question: Question) -> None:
        who, by = principal(), by_whom()
        if (question.not_requester or question.needs > 1) and by == ANYBODY:
            msg = "this is not for everybody to decide, and nobody knows who you are; use credentials of a person"
            raise Forbidden(msg)
        if question.not_requester and by == question.requester:
            raise Forbidden("whoever asked for the run does not approve it; it takes another person")
        if self.assignee_only and question.assignee not in {None, who.user, by} and by != ANYBODY:
            raise Forbidden(f"this question is {question.assignee}'s to answer; assign it to yourself first")


def _status(status: QuestionStatus | str | None) -> QuestionStatus | None:
    try:
        return None if status is None else QuestionStatus(status)
    except ValueError:
        msg = f"there is no status {status[:100]!r} of questions; there are {', '.join(QuestionStatus)}"  # pyright: ignore[reportOptionalSubscript] - it is not None
        raise InvalidInput(msg, field="status") from None


def _require_open(question: Question) -> None:
    if question.status is not QuestionStatus.OPEN:
        raise QuestionClosed(
            question_id=str(question.id), status=question.status, by=question.answered_by, at=question.answered_at,
            decision=question.decision,
        )  # fmt: skip


def _require_sound(question: Question, decision: Decision) -> None:
    if decision.hash is not None and decision.hash != question.hash:
        msg = f"what you looked at is not what question {question.id} asks; look at it again, and decide about that"
        raise QuestionChanged(msg, question_id=str(question.id), hash=question.hash)
    if decision.decision not in question.allowed:
        msg = f"this question takes {' or '.join(question.allowed)}, no {decision.decision}"
        raise InvalidInput(msg, field="decision")
    if decision.decision in {"edit", "respond"} and decision.value is None and decision.message is None:
        msg = "an edit has what is edited, a response what is said, as its `value`"
        raise InvalidInput(msg, field="value")


def _usable_default(question: Question) -> Decision | None:
    """Return what is decided when nobody does. Where two people, or another one, have to say yes, time does not."""
    decision = question.default
    if decision is None or decision.decision not in question.allowed:
        return None
    affirms = decision.decision in {"approve", "edit"}
    return None if affirms and (question.needs > 1 or question.not_requester) else decision
