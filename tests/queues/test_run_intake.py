"""Taking runs in: whose thread, what makes way, which question is answered. Whatever is refused changes nothing."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from api_runs import OTHER, QUESTION, answering, api_run, details, end, interrupted, succeeded, write
from run_rows import add_worker, claim_one, new_run, rows

from outlast.agents.checkpoints.erasing import delete_runs_in
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.domain.intake import Intake
from outlast.domain.options import RunOptions
from outlast.domain.outcome import Failed, Succeeded, Waiting
from outlast.domain.run import RunStatus
from outlast.domain.thread import Ttl
from outlast.errors import (
    AlreadyAnswered,
    Conflict,
    InvalidInput,
    NotFound,
    NothingToResume,
    ThreadBusy,
    ThreadQuarantined,
)
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore

S = RunStatus
MINE, THEIRS = '$."owner" == "me"', '$."owner" == "them"'
STRATEGIES = ["enqueue", "reject", "interrupt", "rollback"]


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = Pool(database, application_name="intake", size=8)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def store(pool: Pool) -> RunStore:
    return RunStore(pool, erase=delete_runs_in)


@pytest.fixture
async def worker(pool: Pool) -> UUID:
    return await add_worker(pool)


async def everything(pool: Pool) -> list[Any]:
    return [
        await rows(pool, f"SELECT * FROM {table} ORDER BY 1")
        for table in ("threads", "thread_details", "runs", "run_details", "idempotency_keys")
    ]


async def test_a_claim_brings_what_was_chosen(store: RunStore, worker: UUID) -> None:
    run = api_run(
        options=RunOptions(protocol="v1", command={"goto": "x"}, stream_modes=("updates",), live=True),
        temporary=True, webhook="https://example.com/", multitask="interrupt",
    )  # fmt: skip
    await store.intake.admit(run, Intake())

    claimed, view = await claim_one(store, worker), await store.views.one("t", run.id)

    assert (claimed.options, claimed.assistant_id, claimed.temporary) == (run.options, run.assistant_id, True)
    assert view.claimed_at == claimed.claimed_at
    assert (view.options, view.webhook, view.multitask) == (run.options, run.webhook, "interrupt")
    assert (view.input, view.config) == (run.input, {})


@pytest.mark.parametrize("multitask", STRATEGIES)
async def test_a_thread_that_must_be_there_is_not_made(multitask: Any, store: RunStore, pool: Pool) -> None:
    with pytest.raises(NotFound, match="thread"):
        await store.intake.admit(api_run(), Intake(multitask=multitask, if_not_exists="reject"))

    assert await everything(pool) == [[], [], [], [], []]


@pytest.mark.parametrize("if_not_exists", ["create", "reject"])
@pytest.mark.parametrize("multitask", STRATEGIES)
async def test_a_foreign_thread_is_as_good_as_none(
    multitask: Any, if_not_exists: Any, store: RunStore, pool: Pool, worker: UUID
) -> None:
    await store.intake.admit(api_run(), Intake(access=MINE, thread_metadata={"owner": "me"}))
    await claim_one(store, worker)
    before = await everything(pool)
    theirs = Intake(multitask=multitask, if_not_exists=if_not_exists, access=THEIRS, thread_metadata={"owner": "them"})

    with pytest.raises(NotFound, match="thread"):
        await store.intake.admit(api_run(), theirs)

    assert await everything(pool) == before
    mine = await store.intake.admit(api_run(), Intake(access=MINE, if_not_exists="reject"))
    assert mine.status is S.BLOCKED


async def test_of_two_that_make_a_thread_at_once_one_has_it(store: RunStore, pool: Pool) -> None:
    owners = [("me", MINE), ("them", THEIRS)] * 4
    admitted = await asyncio.gather(
        *(
            store.intake.admit(api_run("new"), Intake(access=access, thread_metadata={"owner": owner}))
            for owner, access in owners
        ),
        return_exceptions=True,
    )

    ((owner,),) = await rows(pool, "SELECT metadata ->> 'owner' FROM thread_details")
    for (asked, _), result in zip(owners, admitted, strict=True):
        assert isinstance(result, NotFound) == (asked != owner)
    assert await rows(pool, "SELECT count(*) FROM runs") == [(4,)]


async def test_a_thread_is_described_by_its_first_run_and_what_it_has_stays(store: RunStore, pool: Pool) -> None:
    first, second = api_run(), api_run(agent="b")
    await store.intake.admit(first, Intake(thread_metadata={"a": 1}, ttl=Ttl(minutes=5.0)))
    await store.intake.admit(second, Intake(thread_metadata={"a": 2, "b": 2}))

    metadata, ttl = await details(pool, "metadata", "ttl_minutes")
    assert metadata == {"a": 1, "graph_id": "a", "assistant_id": str(first.assistant_id)}
    assert ttl == 5.0


async def test_a_quarantined_thread_takes_no_run_whatever_the_strategy(store: RunStore, pool: Pool) -> None:
    await store.intake.admit(api_run(), Intake())
    await rows(pool, "UPDATE threads SET quarantine_reason = 'broken'")
    before = await everything(pool)

    for multitask in STRATEGIES:
        with pytest.raises(ThreadQuarantined):
            await store.intake.admit(api_run(), Intake(multitask=multitask))  # type: ignore[arg-type]
    assert await everything(pool) == before


async def test_a_refused_run_does_not_use_up_its_key(store: RunStore, pool: Pool, worker: UUID) -> None:
    key = ("/route", "key", b"hash")
    await store.intake.admit(api_run(), Intake())
    busy = await claim_one(store, worker)
    with pytest.raises(ThreadBusy):
        await store.intake.admit(api_run(), Intake(multitask="reject"), key=key)
    await end(store, busy, Succeeded(output=1))

    first = await store.intake.admit(api_run(), Intake(multitask="reject"), key=key)
    again = await store.intake.admit(api_run(), Intake(multitask="reject"), key=key)

    assert first.status is S.QUEUED
    assert (again.run_id, again.status) == (first.run_id, None), "the same request is the same run"


async def test_an_api_run_takes_the_place_of_one_that_waits(store: RunStore, worker: UUID) -> None:
    plain, behind = new_run(), new_run()
    await store.enqueue(plain)
    await store.enqueue(behind)
    await end(store, await claim_one(store, worker), Waiting(interrupts=[], checkpoint_id=None, output=None))
    assert (await store.get(plain.id)).status is S.WAITING

    admission = await store.intake.admit(api_run(), Intake())

    assert (admission.status, admission.ended) == (S.QUEUED, (plain.id,))
    assert (await store.get(plain.id)).status is S.INTERRUPTED
    assert (await store.get(behind.id)).status is S.BLOCKED


@pytest.mark.parametrize("later_first", [True, False])
async def test_a_run_that_is_due_does_not_wait_for_one_that_is_due_later(
    later_first: bool, store: RunStore, worker: UUID
) -> None:
    due, later = api_run(), api_run(delay_seconds=3600.0)
    for run in (later, due) if later_first else (due, later):
        await store.intake.admit(run, Intake())

    claimed = await claim_one(store, worker)
    assert claimed.id == due.id
    _, unblocked = await end(store, claimed, Succeeded(output=1))

    assert unblocked
    assert (await store.get(later.id)).status is S.QUEUED


async def test_a_batch_is_stored_whole_or_not_at_all(store: RunStore, pool: Pool) -> None:
    runs = [(api_run(f"t{number}"), Intake()) for number in range(5)]
    foreign = (api_run("nobody"), Intake(if_not_exists="reject"))

    with pytest.raises(NotFound):
        await store.intake.admit_all([*runs, foreign])
    assert await rows(pool, "SELECT count(*) FROM runs") == [(0,)]

    key = ("/runs/batch", "key", b"hash")
    admissions = await store.intake.admit_all(runs, key=key)
    assert [admission.run_id for admission in admissions] == [run.id for run, _ in runs]
    again = await store.intake.admit_all([(replace(run, id=uuid4()), intake) for run, intake in runs], key=key)
    assert [(admission.run_id, admission.status) for admission in again] == [(runs[0][0].id, None)]
    assert await rows(pool, "SELECT count(*) FROM runs") == [(5,)]


# answers


async def test_an_answer_reaches_the_run_with_the_place_it_is_for(
    store: RunStore, saver: Checkpointer, worker: UUID
) -> None:
    _, at = await interrupted(store, saver, worker)
    await store.intake.admit(*answering("a\0b"))

    claimed = await claim_one(store, worker)

    assert (claimed.answered, claimed.answer, claimed.waiting_at, claimed.asked) == (True, "a\0b", at, (QUESTION,))


async def test_of_many_answers_at_once_one_counts_and_the_others_hear_which(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    await interrupted(store, saver, worker)

    results = await asyncio.gather(
        *(store.intake.admit(*answering(number)) for number in range(50)), return_exceptions=True
    )

    (won,) = [result for result in results if not isinstance(result, BaseException)]
    refused = [result for result in results if isinstance(result, AlreadyAnswered)]
    assert len(refused) == 49
    assert {error.details["run_id"] for error in refused} == {str(won.run_id)}
    assert await rows(pool, "SELECT count(*) FROM runs") == [(2,)]


async def test_an_answer_to_nothing_is_refused_with_the_truth(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    with pytest.raises(NotFound):
        await store.intake.admit(*answering("yes", if_not_exists="reject"))
    await succeeded(store, saver, worker)
    before = await everything(pool)

    with pytest.raises(NothingToResume) as refused:
        await store.intake.admit(*answering("yes"))

    assert refused.value.details == {"thread_status": "idle", "run_id": None, "interrupts": []}
    assert await everything(pool) == before


async def test_an_answer_on_a_thread_that_is_not_there_makes_none(store: RunStore, pool: Pool) -> None:
    with pytest.raises(NothingToResume):
        await store.intake.admit(*answering("yes"))

    assert await everything(pool) == [[], [], [], [], []]


async def test_two_questions_are_told_apart(store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID) -> None:
    await interrupted(store, saver, worker, questions=(QUESTION, OTHER))
    before = await everything(pool)
    with pytest.raises(InvalidInput, match=OTHER):
        await store.intake.admit(*answering("yes"))
    with pytest.raises(NothingToResume, match="c" * 32):
        await store.intake.admit(*answering({"c" * 32: "yes"}))
    assert await everything(pool) == before

    await store.intake.admit(*answering({OTHER: "yes"}))
    assert (await claim_one(store, worker)).answer == {OTHER: "yes"}


async def test_a_question_is_closed_once_the_thread_has_moved_on(
    store: RunStore, saver: Checkpointer, worker: UUID
) -> None:
    _, at = await interrupted(store, saver, worker)
    await store.intake.admit(api_run(), Intake())
    claimed = await claim_one(store, worker)
    await write(saver, claimed, at)
    await end(store, claimed, Failed(code="x", message="x", retryable=False))

    with pytest.raises(NothingToResume) as refused:
        await store.intake.admit(*answering("yes"))
    assert refused.value.details["thread_status"] == "error"


async def test_a_question_is_open_again_when_the_run_with_its_answer_failed_before_it_moved(
    store: RunStore, saver: Checkpointer, worker: UUID
) -> None:
    _, at = await interrupted(store, saver, worker)
    await store.intake.admit(*answering("yes"))
    await end(store, await claim_one(store, worker), Failed(code="x", message="x", retryable=False))

    await store.intake.admit(*answering("yes, really"))

    assert (await claim_one(store, worker)).waiting_at == at


async def test_an_api_run_may_answer_what_a_plain_run_asked(store: RunStore, saver: Checkpointer, worker: UUID) -> None:
    plain = new_run()
    await store.enqueue(plain)
    claimed = await claim_one(store, worker)
    at = await write(saver, claimed)
    asked = Waiting(interrupts=[{"id": QUESTION, "value": "?"}], checkpoint_id=at, output=None)
    await end(store, claimed, asked)

    admission = await store.intake.admit(*answering("yes"))

    assert (admission.status, admission.ended) == (S.QUEUED, (plain.id,))
    with pytest.raises(Conflict):
        await store.answer(plain.id, "too late")
    resumed = await claim_one(store, worker)
    assert (resumed.answer, resumed.waiting_at, resumed.asked) == ("yes", at, (QUESTION,))
