"""Questions as rows: written with the end that asks them, answered once, and carried, withdrawn or expired."""

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from api_runs import OTHER, QUESTION, answering, api_run, end, succeeded, write
from run_rows import add_worker, claim_one, new_run, rows

from outlast.admission.answering import resuming
from outlast.agents.checkpoints.erasing import delete_runs_in
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.domain.acting import Principal, across_tenants, acting_for
from outlast.domain.decision import Decision as Admitted
from outlast.domain.intake import Intake
from outlast.domain.outcome import Drained, Waiting
from outlast.domain.question import Decision, Question, QuestionStatus, Terms
from outlast.domain.run import NewRun, RunStatus
from outlast.errors import Conflict, Forbidden, InvalidInput, NotFound
from outlast.inbox.expiry import Expiry
from outlast.inbox.inbox import Inbox
from outlast.refusals import QuestionChanged, QuestionClosed
from outlast.settings_inbox import InboxSettings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.inbox import InboxStore, Ruled
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore

S, Q = RunStatus, QuestionStatus
APPROVE, REJECT = Decision(decision="approve"), Decision(decision="reject")
ANN, BOB, EVE = (Principal(user=name) for name in ("ann", "bob", "eve"))


@dataclass
class Desk:
    """An inbox on a store of runs, and whom it has told."""

    pool: Pool
    terms: Terms = field(default_factory=Terms)
    told: list[tuple[UUID, Ruled]] = field(default_factory=list)
    refusing: Exception | None = None

    def __post_init__(self) -> None:
        self.runs = RunStore(self.pool, erase=delete_runs_in, terms_of=lambda _agent, _kind: self.terms)
        store = InboxStore(self.pool, self.runs)
        self.inbox = Inbox(store, self.prepare, lambda *told: self.told.append(told), AuditLog(self.pool))
        self.expiry = Expiry(self.inbox, InboxSettings(), rng=Random(0))

    async def prepare(self, run_id: UUID, answers: Mapping[str, Any]) -> NewRun:
        if self.refusing is not None:
            raise self.refusing
        return resuming(await self.runs.get(run_id), answers)

    async def ask(
        self, worker: UUID, *values: Any, run: NewRun | None = None, at: UUID | None = None, checkpoint: Any = None
    ) -> UUID:
        """Let a plain run (or the given one) end with these questions; return its id."""
        run = run or new_run(f"thread {uuid4()}")
        await self.runs.intake.admit(run, Intake())
        await self.waits(worker, *values, at=at, saver=checkpoint)
        return run.id

    async def waits(self, worker: UUID, *values: Any, at: UUID | None = None, saver: Any = None) -> None:
        claimed = await claim_one(self.runs, worker)
        at = await write(saver, claimed) if saver is not None else at
        asked = [{"id": id_, "value": value} for id_, value in zip((QUESTION, OTHER, "c" * 32), values, strict=False)]
        tasks = {f"task {number}": [question] for number, question in enumerate(asked)}
        outcome = Waiting(interrupts=asked, checkpoint_id=at or uuid4(), output=None, values=b"{}", tasks=tasks)
        await end(self.runs, claimed, outcome)

    async def all(self, **wanted: Any) -> list[Question]:
        return (await self.inbox.find(**wanted))[0]

    async def one(self, **wanted: Any) -> Question:
        (found,) = await self.all(**wanted)
        return found

    async def answer_of(self, run_id: UUID) -> Any:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(b"SELECT answer FROM run_details WHERE run_id = %(id)s", {"id": run_id})
            row = await cursor.fetchone()
        return json.loads(row[0]) if row and row[0] else None


@pytest.fixture
def desk(pool: Pool) -> Desk:
    return Desk(pool)


@pytest.fixture
async def worker(pool: Pool) -> UUID:
    return await add_worker(pool)


async def head(pool: Pool) -> UUID:
    ((checkpoint,),) = await rows(pool, "SELECT checkpoint_id FROM checkpoint_heads WHERE ns = ''")
    return checkpoint


async def pass_by(pool: Pool, seconds: float) -> None:
    """Let the deadlines of all questions come nearer."""
    with across_tenants():
        async with pool.connection() as connection:
            await connection.execute(
                "UPDATE questions SET due_at = due_at - make_interval(secs => %(by)s),"
                " look_at = look_at - make_interval(secs => %(by)s)",
                {"by": seconds},
            )


# asking


async def test_a_question_shows_what_is_asked_why_and_on_which_terms(desk: Desk, worker: UUID) -> None:
    value = {
        "type": "escalation", "question": "Refund 900?", "reasons": [{"code": "stakes", "text": "over 500"}],
        "subject": {"amount": 900}, "diff": "+900", "allowed": ["approve", "edit", "reject"], "deadline_seconds": 60,
        "default": {"decision": "reject", "message": "too late"}, "needs": 2, "not_requester": True,
        "assign_to": "eve", "links": ["https://shop.example/7"],
    }  # fmt: skip
    with acting_for(ANN):
        run_id = await desk.ask(worker, value)
        question = await desk.one(status="open")

    assert (question.run_id, question.kind, question.requester, question.assignee) == (
        run_id,
        "escalation",
        "ann",
        "eve",
    )
    assert (question.question, question.reasons[0].code, question.subject) == ("Refund 900?", "stakes", {"amount": 900})
    assert (question.allowed, question.needs, question.not_requester) == (("approve", "edit", "reject"), 2, True)
    assert (question.diff, question.links) == ("+900", ["https://shop.example/7"])
    assert question.default == Decision(decision="reject", message="too late")
    assert question.due_at is not None
    assert (question.due_at - question.asked_at).total_seconds() == pytest.approx(60, abs=1)
    assert question == await desk.inbox.get(question.id)


async def test_what_a_question_does_not_say_is_as_the_settings_say(pool: Pool, worker: UUID) -> None:
    desk = Desk(pool, Terms(deadline_seconds=9, default="reject", needs=2, not_requester=True, assign_to="bob"))
    await desk.ask(worker, "may I?")
    question = await desk.one()
    assert (question.needs, question.not_requester, question.assignee) == (2, True, "bob")
    assert question.default == REJECT
    assert question.due_at is not None


async def test_a_breakpoint_is_no_question_and_a_run_that_ends_asks_none(desk: Desk, worker: UUID) -> None:
    await desk.runs.intake.admit(new_run("t"), Intake())
    claimed = await claim_one(desk.runs, worker)
    outcome = Waiting(interrupts=[{"id": None, "value": None, "node": "a"}], checkpoint_id=uuid4(), output=None)
    await end(desk.runs, claimed, outcome)
    assert await desk.all() == []


async def test_a_settlement_that_is_told_twice_asks_once(desk: Desk, worker: UUID) -> None:
    run = api_run()
    await desk.runs.intake.admit(run, Intake())
    claimed = await claim_one(desk.runs, worker)
    outcome = Waiting(interrupts=[{"id": QUESTION, "value": "?"}], checkpoint_id=uuid4(), output=None)
    await end(desk.runs, claimed, outcome)
    await end(desk.runs, claimed, outcome)
    assert len(await desk.all()) == 1


async def test_a_run_that_was_cancelled_meanwhile_asks_nothing(desk: Desk, worker: UUID) -> None:
    run = new_run("t")
    await desk.runs.intake.admit(run, Intake())
    claimed = await claim_one(desk.runs, worker)
    await desk.runs.cancel(run.id)
    await end(desk.runs, claimed, Waiting(interrupts=[{"id": QUESTION}], checkpoint_id=None, output=None))
    assert await desk.all() == []


# answering


async def test_an_answer_queues_the_run_with_it_and_says_who_gave_it(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, "go?")
    asked = await desk.one()
    with acting_for(BOB):
        question = await desk.inbox.answer(asked.id, Decision(decision="respond", value={"text": "yes"}, message="ok"))

    assert (question.status, question.decision, question.answered_by) == (Q.ANSWERED, "respond", "bob")
    assert question.answer == Decision(decision="respond", value={"text": "yes"}, message="ok")
    assert await desk.answer_of(run_id) == {QUESTION: {"text": "yes"}}
    assert (await desk.runs.get(run_id)).status is S.QUEUED
    assert desk.told == [(run_id, Ruled(closed=True, status=S.QUEUED))]
    ((action, object_),) = await rows(desk.pool, "SELECT action, object FROM audit_log WHERE action LIKE 'question.%%'")
    assert (action, object_) == ("question.answered", f"question:{question.id}")


async def test_a_hundred_questions_answered_twice_at_once_are_answered_once(desk: Desk, worker: UUID) -> None:
    runs = [await desk.ask(worker, f"number {number}?") for number in range(100)]
    found, count = await desk.inbox.find(status="open", limit=200)
    assert (len(found), count) == (100, 100)

    async def answer(question: Question, by: Principal, decision: Decision) -> object:
        with acting_for(by):
            try:
                return (await desk.inbox.answer(question.id, decision)).answered_by
            except QuestionClosed as error:
                return error.details

    said = await asyncio.gather(
        *(answer(question, by, decision) for question in found for by, decision in ((ANN, APPROVE), (BOB, REJECT)))
    )
    refused = [each for each in said if isinstance(each, dict)]
    assert (len(said) - len(refused), len(refused)) == (100, 100)
    by_id = {str(question.id): question for question in await desk.all(limit=200)}
    for told in refused:
        first = by_id[told["question_id"]]
        assert (told["question_status"], told["answered_by"], told["decision"]) == (
            "answered",
            first.answered_by,
            first.decision,
        )
        assert told["answered_at"] == (first.answered_at and first.answered_at.isoformat())
    statuses = {(await desk.runs.get(run_id)).status for run_id in runs}
    assert statuses == {S.QUEUED}
    for question in by_id.values():
        assert await desk.answer_of(question.run_id) == {QUESTION: question.decision == "approve"}


async def test_questions_asked_at_once_are_answered_one_by_one_and_the_run_goes_on_with_the_last(
    desk: Desk, worker: UUID
) -> None:
    run_id = await desk.ask(worker, "left?", "right?")
    left, right = sorted(await desk.all(), key=lambda question: question.interrupt_id)

    await desk.inbox.answer(left.id, APPROVE)
    assert (await desk.runs.get(run_id)).status is S.WAITING
    with pytest.raises(QuestionClosed):
        await desk.inbox.answer(left.id, REJECT)

    await desk.inbox.answer(right.id, Decision(decision="respond", value=7))
    assert (await desk.runs.get(run_id)).status is S.QUEUED
    assert await desk.answer_of(run_id) == {QUESTION: True, OTHER: 7}


async def test_the_last_two_answered_at_once_do_not_leave_the_run_waiting(desk: Desk, worker: UUID) -> None:
    for _ in range(5):
        run_id = await desk.ask(worker, "left?", "right?")
        await asyncio.gather(*(desk.inbox.answer(each.id, APPROVE) for each in await desk.all(run_id=run_id)))
        assert await desk.answer_of(run_id) == {QUESTION: True, OTHER: True}
        await desk.runs.cancel(run_id)


async def test_an_old_way_to_answer_closes_the_rows_and_takes_kept_answers_along(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, "left?", "right?")
    left, right = sorted(await desk.all(), key=lambda question: question.interrupt_id)
    await desk.inbox.answer(left.id, APPROVE)
    with acting_for(BOB):
        with pytest.raises(QuestionClosed, match="answered by anybody"):
            await desk.runs.answer(run_id, {QUESTION: False, OTHER: "over there"})
        await desk.runs.answer(run_id, {OTHER: "over there"})

    assert await desk.answer_of(run_id) == {QUESTION: True, OTHER: "over there"}
    closed = await desk.inbox.get(right.id)
    assert (closed.status, closed.decision, closed.answered_by) == (Q.ANSWERED, "respond", "bob")
    assert closed.answer is not None
    assert closed.answer.value == "over there"
    with pytest.raises(QuestionClosed, match="bob"):
        await desk.inbox.answer(right.id, APPROVE)


async def test_what_is_left_open_is_asked_again_on_its_own_row(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, "left?", {"question": "right?"})
    left, right = sorted(await desk.all(), key=lambda question: question.interrupt_id)
    await desk.inbox.comment(right.id, "who knows?")
    await desk.runs.answer(run_id, {QUESTION: "there"})
    assert (await desk.inbox.get(right.id)).status is Q.WITHDRAWN, "nobody waits for it while the run is under way"
    await desk.expiry.run_sweep()

    claimed = await claim_one(desk.runs, worker)
    asked = [{"id": OTHER, "value": {"question": "right?"}}]
    await end(desk.runs, claimed, Waiting(interrupts=asked, checkpoint_id=uuid4(), output=None))

    again = await desk.one(status="open")
    assert (again.id, [comment.text for comment in again.comments]) == (right.id, ["who knows?"])
    assert (await desk.inbox.get(left.id)).status is Q.ANSWERED
    await desk.inbox.answer(right.id, APPROVE)
    assert await desk.answer_of(run_id) == {OTHER: True}


async def test_another_question_at_the_same_place_is_another_row(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, "first?")
    first = await desk.one()
    await desk.inbox.answer(first.id, APPROVE)
    claimed = await claim_one(desk.runs, worker)
    asked = [{"id": QUESTION, "value": "second?"}]
    await end(desk.runs, claimed, Waiting(interrupts=asked, checkpoint_id=uuid4(), output=None))
    assert (await desk.one(status="open")).question == "second?"
    assert (await desk.inbox.get(first.id)).question == "first?"
    assert (await desk.runs.get(run_id)).status is S.WAITING


async def test_an_answer_survives_an_attempt_that_does_not_use_it(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, "go?")
    await desk.inbox.answer((await desk.one()).id, APPROVE)
    await end(desk.runs, await claim_one(desk.runs, worker), Drained())
    assert (await claim_one(desk.runs, worker)).answer == {QUESTION: True}
    assert (await desk.runs.get(run_id)).status is S.RUNNING


# runs of the Agent Server API


async def test_the_answer_to_a_run_of_the_api_is_a_run_of_its_owner(
    desk: Desk, worker: UUID, saver: Checkpointer
) -> None:
    with acting_for(ANN):
        run_id = await desk.ask(worker, "left?", "right?", run=api_run(), checkpoint=saver)
    with acting_for(BOB):
        for question in await desk.all():
            await desk.inbox.answer(question.id, APPROVE)

    claimed = await claim_one(desk.runs, worker)
    assert (claimed.lineage, claimed.user_id, claimed.answer) == (run_id, "ann", {QUESTION: True, OTHER: True})
    assert claimed.id != run_id
    told = [ruled for _, ruled in desk.told if ruled.admission is not None]
    assert [ruled.admission.run_id for ruled in told if ruled.admission] == [claimed.id]
    with acting_for(EVE), pytest.raises(QuestionClosed, match="bob"):
        await desk.inbox.answer((await desk.all())[0].id, APPROVE)


async def test_a_resume_by_the_api_closes_the_rows_and_the_inbox_is_told_who_was_first(
    desk: Desk, worker: UUID, saver: Checkpointer
) -> None:
    await desk.ask(worker, "left?", "right?", run=api_run(), checkpoint=saver)
    left, right = sorted(await desk.all(), key=lambda question: question.interrupt_id)
    await desk.inbox.answer(left.id, REJECT)
    with acting_for(BOB):
        await desk.runs.intake.admit(*answering({OTHER: True}))
    assert (await claim_one(desk.runs, worker)).answer == {QUESTION: False, OTHER: True}
    with pytest.raises(QuestionClosed) as refused:
        await desk.inbox.answer(right.id, APPROVE)
    assert (refused.value.details["answered_by"], refused.value.details["decision"]) == ("bob", "approve")


async def test_two_that_answer_the_last_questions_of_the_api_at_once_make_one_run(
    desk: Desk, worker: UUID, saver: Checkpointer
) -> None:
    await desk.ask(worker, "left?", "right?", run=api_run(), checkpoint=saver)
    await asyncio.gather(*(desk.inbox.answer(each.id, APPROVE) for each in await desk.all()))
    assert (await claim_one(desk.runs, worker)).answer == {QUESTION: True, OTHER: True}
    assert len(await rows(desk.pool, "SELECT id FROM runs")) == 2


@pytest.mark.parametrize("begun", [True, False])
async def test_an_answer_that_is_rolled_back_can_be_given_again(
    desk: Desk, worker: UUID, saver: Checkpointer, begun: bool
) -> None:
    await desk.ask(worker, "go?", run=api_run(), checkpoint=saver)
    question = await desk.one()
    await desk.inbox.answer(question.id, REJECT)
    ((answering_run,),) = await rows(desk.pool, "SELECT id FROM runs WHERE status = 'queued'")
    if begun:
        claimed = await claim_one(desk.runs, worker)
        await write(saver, claimed, (await head(desk.pool)))
    await desk.runs.cancel(answering_run, action="rollback")
    if begun:
        await end(desk.runs, claimed, Drained())

    assert (await desk.one(status="open")).id == question.id
    await desk.inbox.answer(question.id, APPROVE)
    assert (await claim_one(desk.runs, worker)).answer == {QUESTION: True}


async def test_an_answer_that_admission_refuses_leaves_the_question_open(
    desk: Desk, worker: UUID, saver: Checkpointer
) -> None:
    await desk.ask(worker, "go?", run=api_run(), checkpoint=saver)
    desk.refusing = Conflict("not now")
    with pytest.raises(Conflict, match="not now"):
        await desk.inbox.answer((await desk.one()).id, APPROVE)
    assert (await desk.one()).status is Q.OPEN


# nobody waits any more


async def test_a_question_is_withdrawn_with_its_run(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, "go?")
    await desk.runs.cancel(run_id)
    question = await desk.one(status="withdrawn")
    with pytest.raises(QuestionClosed, match="withdrawn"):
        await desk.inbox.answer(question.id, APPROVE)
    await desk.expiry.run_sweep()
    assert await rows(desk.pool, "SELECT status FROM questions") == [("withdrawn",)]
    assert await desk.one(status="withdrawn")


async def test_a_question_is_withdrawn_when_its_thread_has_moved_on(
    desk: Desk, worker: UUID, saver: Checkpointer
) -> None:
    await desk.ask(worker, "go?", run=api_run(), checkpoint=saver)
    assert await desk.one(status="open")
    await succeeded(desk.runs, saver, worker)
    assert await desk.all(status="open") == []
    await desk.expiry.run_sweep()
    assert await rows(desk.pool, "SELECT status FROM questions") == [("withdrawn",)]


async def test_a_question_is_not_open_while_a_run_is_under_way_and_open_again_when_that_changed_nothing(
    desk: Desk, worker: UUID, saver: Checkpointer
) -> None:
    await desk.ask(worker, "go?", run=api_run(), checkpoint=saver)
    other = api_run()
    await desk.runs.intake.admit(other, Intake())
    assert await desk.all(status="open") == []
    await desk.expiry.run_sweep()
    await desk.runs.cancel(other.id)
    assert await desk.one(status="open")


async def test_a_deleted_run_leaves_no_question(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, "go?")
    question = await desk.one()
    await desk.runs.ends.delete(run_id)
    with pytest.raises(NotFound, match="question"):
        await desk.inbox.answer(question.id, APPROVE)


# who may, and what


async def test_a_decision_that_is_not_allowed_or_for_something_else_is_refused(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, {"type": "escalation", "allowed": ["approve"], "subject": {"amount": 5}})
    question = await desk.one()
    with pytest.raises(InvalidInput, match="approve"):
        await desk.inbox.answer(question.id, REJECT)
    with pytest.raises(QuestionChanged) as refused:
        await desk.inbox.answer(question.id, Decision(decision="approve", hash="0" * 64))
    assert refused.value.details["hash"] == question.hash
    await desk.inbox.answer(question.id, Decision(decision="approve", hash=question.hash))
    assert (await desk.runs.get(run_id)).status is S.QUEUED


async def test_the_scope_is_needed(desk: Desk, worker: UUID) -> None:
    await desk.ask(worker, "go?")
    question = await desk.one()
    with acting_for(Principal(user="ann", scopes=frozenset({"runs:write"}))):
        for call in (desk.inbox.answer(question.id, APPROVE), desk.inbox.assign(question.id, "ann"),
                     desk.inbox.comment(question.id, "hm")):  # fmt: skip
            with pytest.raises(Forbidden, match="inbox:answer"):
                await call


async def test_only_the_assignee_answers_what_is_assigned(desk: Desk, worker: UUID) -> None:
    await desk.ask(worker, "go?")
    question = await desk.one()
    with acting_for(BOB):
        assert (await desk.inbox.assign(question.id, "ann")).assignee == "ann"
        with pytest.raises(Forbidden, match="ann"):
            await desk.inbox.answer(question.id, APPROVE)
    with acting_for(ANN):
        assert (await desk.inbox.answer(question.id, APPROVE)).status is Q.ANSWERED
        with pytest.raises(Conflict, match="answered"):
            await desk.inbox.assign(question.id, None)


async def test_whoever_asked_for_the_run_does_not_approve_it(desk: Desk, worker: UUID) -> None:
    with acting_for(ANN):
        await desk.ask(worker, {"type": "approval", "not_requester": True})
        question = await desk.one()
        with pytest.raises(Forbidden, match="another person"):
            await desk.inbox.answer(question.id, APPROVE)
    with pytest.raises(Forbidden, match="who you are"):
        await desk.inbox.answer(question.id, APPROVE)
    with acting_for(BOB):
        assert (await desk.inbox.answer(question.id, APPROVE)).answered_by == "bob"


async def test_it_takes_two_people_who_decide_the_same(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, {"type": "escalation", "subject": {"amount": 900}, "needs": 2})
    question = await desk.one()
    edited = Decision(decision="edit", value={"amount": 500})
    with acting_for(ANN):
        voted = await desk.inbox.answer(question.id, edited)
        assert voted.status is Q.OPEN
        assert [(vote.author, vote.decision) for vote in voted.votes] == [("ann", edited)]
        with pytest.raises(Forbidden, match="second person"):
            await desk.inbox.answer(question.id, edited)
    with acting_for(BOB):
        with pytest.raises(QuestionChanged, match="ann"):
            await desk.inbox.answer(question.id, APPROVE)
        assert (await desk.runs.get(run_id)).status is S.WAITING
        assert (await desk.inbox.answer(question.id, edited)).status is Q.ANSWERED
    told = {"decision": "edit", "value": {"amount": 500}, "hash": question.hash}
    assert await desk.answer_of(run_id) == {QUESTION: told}


async def test_one_of_two_people_is_enough_for_a_no(desk: Desk, worker: UUID) -> None:
    await desk.ask(worker, {"type": "tool_approval", "needs": 2})
    with acting_for(ANN):
        assert (await desk.inbox.answer((await desk.one()).id, REJECT)).status is Q.ANSWERED


async def test_two_first_votes_at_once_are_two_people(desk: Desk, worker: UUID) -> None:
    run_id = await desk.ask(worker, {"type": "tool_approval", "needs": 2})
    question = await desk.one()

    async def vote(by: Principal) -> None:
        with acting_for(by):
            await desk.inbox.answer(question.id, APPROVE)

    await asyncio.gather(vote(ANN), vote(BOB))
    assert (await desk.runs.get(run_id)).status is S.QUEUED


async def test_nobody_sees_or_answers_what_another_tenants_run_asks(desk: Desk, worker: UUID) -> None:
    with acting_for(Principal(tenant="acme", user="ann")):
        await desk.ask(worker, "go?")
        question = await desk.one()
    assert await desk.all() == []
    for call in (desk.inbox.get(question.id), desk.inbox.answer(question.id, APPROVE),
                 desk.inbox.comment(question.id, "hm"), desk.inbox.assign(question.id, "bob")):  # fmt: skip
        with pytest.raises(NotFound):
            await call


# expiry


async def test_a_question_that_nobody_answers_takes_its_default_once(pool: Pool, worker: UUID) -> None:
    desk = Desk(pool, Terms(deadline_seconds=60, default="reject"))
    with acting_for(Principal(tenant="acme", user="ann")):
        run_id = await desk.ask(worker, {"type": "tool_approval", "key": "tool:x"})
        assert await desk.expiry.round() == 0
        await pass_by(pool, 61)
        assert (await desk.one(overdue=True)).overdue

    # Of all tenants, by several workers at once.
    await asyncio.gather(*(desk.expiry.round() for _ in range(4)))

    with acting_for("acme"):
        question = await desk.one()
        assert (question.status, question.decision, question.answered_by) == (Q.EXPIRED, "reject", "default")
        assert await desk.answer_of(run_id) == {QUESTION: {"approved": False}}
        with acting_for(Principal(tenant="acme", user="bob")), pytest.raises(QuestionClosed, match="expired"):
            await desk.inbox.answer(question.id, APPROVE)
    assert len(desk.told) == 1


async def test_the_default_of_an_api_run_makes_the_run_that_goes_on(
    pool: Pool, worker: UUID, saver: Checkpointer
) -> None:
    desk = Desk(pool)
    await desk.ask(
        worker, {"deadline_seconds": 5, "default": {"decision": "respond", "value": 3}}, run=api_run(), checkpoint=saver
    )
    await pass_by(pool, 6)
    assert await desk.expiry.round() == 1
    assert (await claim_one(desk.runs, worker)).answer == {QUESTION: 3}


async def test_a_question_without_a_default_stays_open_and_is_told_again(pool: Pool, worker: UUID) -> None:
    desk = Desk(pool, Terms(deadline_seconds=60))
    await desk.ask(worker, "go?")
    await pass_by(pool, 61)
    await asyncio.gather(desk.expiry.round(), desk.expiry.round())
    question = await desk.one(overdue=True)
    assert (question.status, question.reminders) == (Q.OPEN, 1)
    assert await desk.expiry.round() == 0, "not before a day has passed"
    await pass_by(pool, 86_401)
    await desk.expiry.round()
    assert (await desk.one()).reminders == 2


@pytest.mark.parametrize("terms", [{"needs": 2}, {"not_requester": True}])
async def test_time_does_not_say_yes_where_other_people_have_to(
    desk: Desk, pool: Pool, worker: UUID, terms: dict[str, Any]
) -> None:
    await desk.ask(worker, {"type": "tool_approval", "deadline_seconds": 5, "default": "approve", **terms})
    await pass_by(pool, 6)
    await desk.expiry.round()
    assert (await desk.one()).status is Q.OPEN


async def test_a_default_that_cannot_be_taken_does_not_hold_up_others(
    desk: Desk, pool: Pool, worker: UUID, saver: Checkpointer
) -> None:
    asks = {"deadline_seconds": 5, "default": "reject"}
    await desk.ask(worker, asks, run=api_run(), checkpoint=saver)
    plain = await desk.ask(worker, asks)
    await pass_by(pool, 6)
    desk.refusing = Forbidden("not now")
    assert await desk.expiry.round() == 2
    assert (await desk.runs.get(plain)).status is S.QUEUED
    desk.refusing = None
    await pass_by(pool, 61)
    await desk.expiry.round()
    assert await desk.all(status="open") == []


# a run that waits for a yes before it begins


def wants_a_yes(thread: str = "t", **given: Any) -> NewRun:
    decision = Admitted(verdict="ask", stage="policy", reason="it is large", question="May it run?")
    return new_run(thread, input={"amount": 900}, decision=decision, **given)


async def test_a_run_that_waits_for_a_yes_is_a_question_that_shows_exactly_what_would_run(desk: Desk) -> None:
    run = wants_a_yes()
    with acting_for(ANN):
        await desk.runs.intake.admit(run, Intake())
        question = await desk.inbox.get(run.id)
    assert (question.kind, question.question, question.requester) == ("approval", "May it run?", "ann")
    assert question.subject == {"agent": "a", "input": {"amount": 900}}
    assert [reason.text for reason in question.reasons] == ["it is large"]
    await desk.inbox.answer(question.id, Decision(decision="approve", hash=question.hash))
    assert (await desk.runs.get(run.id)).status is S.QUEUED


async def test_a_no_before_a_run_begins_cancels_it(desk: Desk) -> None:
    run = wants_a_yes()
    await desk.runs.intake.admit(run, Intake())
    assert (await desk.inbox.answer(run.id, REJECT)).status is Q.ANSWERED
    assert (await desk.runs.get(run.id)).status is S.CANCELLED
    with pytest.raises(QuestionClosed):
        await desk.inbox.answer(run.id, APPROVE)


async def test_a_run_behind_another_one_asks_when_its_turn_has_come(pool: Pool, worker: UUID) -> None:
    desk = Desk(pool, Terms(deadline_seconds=60, default="reject"))
    first, second = new_run("t"), wants_a_yes()
    await desk.runs.intake.admit(first, Intake())
    await desk.runs.intake.admit(second, Intake())
    assert await desk.all() == []
    await desk.runs.cancel(first.id)
    assert (await desk.one(status="open")).id == second.id
    await pass_by(pool, 61)
    await desk.expiry.round()
    assert (await desk.runs.get(second.id)).status is S.CANCELLED


async def test_a_yes_by_an_old_way_closes_the_row_of_a_run_that_has_not_begun(desk: Desk) -> None:
    run = wants_a_yes()
    await desk.runs.intake.admit(run, Intake())
    await desk.runs.answer(run.id, "yes")
    question = await desk.one()
    assert (question.status, question.decision) == (Q.ANSWERED, "approve")
