"""Questions to people as a run asks them and is answered: parts of the transactions that make it wait and go on."""

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, cast
from uuid import UUID

import uuid_utils.compat as uuid_utils
from psycopg import AsyncConnection

from outlast.domain.outcome import Settlement
from outlast.domain.question import (
    ANYBODY,
    Asking,
    Decision,
    QuestionStatus,
    TermsOf,
    Word,
    asking,
    by_whom,
    hash_of,
    storable,
    word_of,
)
from outlast.domain.run import ClaimedRun, NewRun, RunStatus
from outlast.errors import Forbidden
from outlast.refusals import QuestionClosed
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import QUESTION_ANSWER, QUESTION_VALUE
from outlast.storage.postgres.sealing import Sealing
from outlast.storage.postgres.together import Step
from outlast.telemetry import emit

_SQL = Queries("inbox")
#: An open transaction.
Tx = AsyncConnection[Any]
_WAITS = frozenset({RunStatus.WAITING, RunStatus.INTERRUPTED})


class Together(NamedTuple):
    """One of the questions that a run has asked at once."""

    id: UUID
    interrupt_id: str
    kind: str
    status: str
    #: What the run is to be told, once nothing of what it asked is open.
    answer: Any
    needs: int = 1
    not_requester: bool = False
    requester: str | None = None
    answered_by: str | None = None
    answered_at: datetime | None = None
    decision: Word | None = None

    @property
    def open(self) -> bool:
        """Whether it has still to be answered."""
        return self.status == QuestionStatus.OPEN


async def asked(sealing: Sealing, run: ClaimedRun, settlement: Settlement, terms_of: TermsOf) -> list[Step]:
    """Return what a settlement has to store besides: the questions of a run that now waits; none for any other.

    A breakpoint asks nothing that could be put into words.
    """
    if settlement.status not in _WAITS:
        return []
    questions = [
        asking(interrupt["id"], interrupt.get("value"), agent=run.agent, terms_of=terms_of)
        for interrupt in settlement.interrupts or ()
        if interrupt.get("id")
    ]
    if not questions:
        return []
    carried = {
        "run_id": run.id, "epoch": run.epoch, "waiting_at": settlement.waiting_at,
        "interrupts": [question.interrupt_id for question in questions],
        "hashes": [question.hash for question in questions],
    }  # fmt: skip
    asks = [await _ask(sealing, run, question, settlement.waiting_at) for question in questions]
    told = {"event": "asked", "questions": [ask.parameters["id"] for ask in asks]}
    return [Step("inbox", "carry", carried), *asks, Step("notifications", "put", told)]


async def _ask(sealing: Sealing, run: ClaimedRun, question: Asking, waiting_at: UUID | None) -> Step:
    question_id, terms = uuid_utils.uuid7(), question.terms
    parameters = {
        "id": question_id, "run_id": run.id, "epoch": run.epoch, "interrupt_id": question.interrupt_id,
        "kind": question.kind, "value": await sealing.seal(QUESTION_VALUE, encoded(question.value), question_id),
        "hash": question.hash, "allowed": list(question.allowed), "requester": _requester(run),
        "assignee": terms.assign_to, "needs": terms.needs, "not_requester": terms.not_requester,
        "waiting_at": waiting_at, "deadline": terms.deadline_seconds, "default": terms.default,
    }  # fmt: skip
    return Step("inbox", "ask", parameters)


def _requester(run: ClaimedRun) -> str | None:
    own: Any = (run.options.user or {}).get("identity")
    user = run.user_id or (storable(own) if isinstance(own, str) else None)
    return user or (None if run.key_id is None else f"key:{run.key_id}")


def approval_terms(run: NewRun, terms_of: TermsOf) -> dict[str, Any]:
    """Return the terms on which a policy's question about a run is asked, and the hash of what is approved."""
    terms = terms_of(run.agent, "approval")
    return {
        "hash": hash_of(approval_subject(run.agent, run.input, run.options.command)),
        "deadline_seconds": terms.deadline_seconds, "needs": terms.needs, "not_requester": terms.not_requester,
        "default": terms.default if terms.default in {"approve", "reject"} else None, "assign_to": terms.assign_to,
    }  # fmt: skip


def approval_subject(agent: str, given: Any, command: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return what a yes before a run begins is for: the agent, with exactly this input."""
    return {"agent": agent, "input": given} | ({"command": dict(command)} if command else {})


async def told_in(connection: Tx, sealing: Sealing, thread: bytes, answer: Any) -> Any:
    """Close the questions that an answer is for which did not come by the inbox; return what the run is told.

    Under the lock of the thread. What was answered in the inbox meanwhile, and was kept until all is answered, goes
    with it. An answer that names none of what is open (by id) is for all of it. Raises Forbidden where it takes two
    people, or somebody else than the requester, QuestionClosed when it names one that has its answer.
    """
    cursor = await connection.execute(_SQL.asked_last, {"thread_key": UUID(bytes=thread)})
    group = [await together(sealing, row) for row in await cursor.fetchall()]
    _require_first(group, answer)
    open_, kept = [each for each in group if each.open], {e.interrupt_id: e.answer for e in group if not e.open}
    named = _named(answer, {each.interrupt_id for each in group})
    for each in open_:
        if named is None or each.interrupt_id in named:
            given = answer if named is None else named[each.interrupt_id]
            decision = Decision(decision=word_of(each.kind, given), value=given)
            _require_alone(each, decision.decision)
            seconds = await close_in(connection, sealing, each.id, decision, by=by_whom(), given=given)
            emit("inbox.resumed", question_id=each.id, seconds=seconds)
    if not kept:
        return answer
    if named is not None:
        return {**kept, **named}
    return {**kept, open_[0].interrupt_id: answer} if len(open_) == 1 else answer


def _require_first(group: Sequence[Together], answer: Any) -> None:
    named = _named(answer, {each.interrupt_id for each in group}) or {}
    for each in group:
        if not each.open and each.interrupt_id in named:
            raise QuestionClosed(
                question_id=str(each.id), status=each.status, by=each.answered_by, at=each.answered_at,
                decision=each.decision,
            )  # fmt: skip


async def close_in(
    connection: Tx,
    sealing: Sealing,
    question_id: UUID,
    decision: Decision,
    *,
    by: str,
    given: Any,
    status: QuestionStatus = QuestionStatus.ANSWERED,
) -> float | None:
    """Write down what was decided and what the run is told by that.

    Returns the seconds that it was open; None: it is not any more.
    """
    parameters = {
        "id": question_id, "status": status, "decision": decision.decision, "by": by,
        "answer": await sealed_answer(sealing, question_id, decision, given),
    }  # fmt: skip
    cursor = await connection.execute(_SQL.close, parameters)
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def sealed_answer(sealing: Sealing, question_id: UUID, decision: Decision, given: Any) -> bytes | None:
    """Return what is kept of an answer: what was decided, and what the run is told by that."""
    return await sealing.seal(QUESTION_ANSWER, encoded({**decision.to_json(), "given": given}), question_id)


async def asked_together(connection: Tx, sealing: Sealing, run_id: UUID, epoch: int) -> list[Together]:
    """Return all that a run has asked at once."""
    cursor = await connection.execute(_SQL.asked_together, {"run_id": run_id, "epoch": epoch})
    return [await together(sealing, row) for row in await cursor.fetchall()]


async def together(sealing: Sealing, row: Sequence[Any]) -> Together:
    """Return one of them from its row."""
    said = await opened_answer(sealing, row[0], row[4])
    answer = None if said is None else json.loads(said).get("given")
    return Together(row[0], row[1], row[2], row[3], answer, *row[5:])


def _require_alone(asked: Together, word: Word) -> None:
    """Raise Forbidden where the principal of this context does not answer alone. Who raises a budget has decided."""
    if asked.kind == "budget":
        return
    by = by_whom()
    if asked.needs > 1 and word != "reject":
        msg = f"two people decide question {asked.id}; each of them answers it in the inbox"
        raise Forbidden(msg)
    if asked.not_requester and by in {ANYBODY, asked.requester}:
        msg = (
            f"question {asked.id} is for somebody else than whoever asked for the run; answer it in the inbox, as such"
        )
        raise Forbidden(msg)


def encoded(value: Any) -> bytes:
    """Return any value as JSON, also what orjson refuses: lone surrogates, huge integers."""
    return json.dumps(value, default=repr, separators=(",", ":")).encode()


async def opened_answer(sealing: Sealing, question_id: UUID, answer: bytes | None) -> bytes | None:
    """Return what was written down of an answer."""
    return await sealing.open(QUESTION_ANSWER, answer, question_id)


def decision_of(said: bytes | None, word: Word | None) -> Decision | None:
    """Return what was decided, as it was written down."""
    if said is None or word is None:
        return None
    body = json.loads(said)
    return Decision(decision=word, value=body.get("value"), message=body.get("message"))


def _named(answer: Any, known: set[str]) -> dict[str, Any] | None:
    """Return the answers by question, where that is what was given."""
    if not isinstance(answer, dict) or known.isdisjoint(cast("dict[str, Any]", answer)):
        return None
    return cast("dict[str, Any]", answer)
