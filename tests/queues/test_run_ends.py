"""What the end of a run leaves of its thread, and what a rollback takes back."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from api_runs import QUESTION, answering, api_run, details, end, interrupted, succeeded, write
from run_rows import add_worker, claim_one, new_run, rows

from outlast.agents.checkpoints.erasing import delete_runs_in
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.domain.intake import Intake
from outlast.domain.outcome import Cancelled, Drained, Failed, Outcome, Succeeded, Waiting
from outlast.domain.positions import EVENTS_PER_MS
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, LeaseLost, NotFound
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.workers import WorkerStore
from waiting import until

S = RunStatus
FAILED = Failed(code="ValueError", message="ValueError: no", retryable=False)


@pytest.fixture
def store(pool: Pool) -> RunStore:
    return RunStore(pool, erase=delete_runs_in, thread_values_bytes=1000)


@pytest.fixture
async def worker(pool: Pool) -> UUID:
    return await add_worker(pool)


async def checkpoints_of(pool: Pool, run_id: UUID) -> int:
    ((count,),) = await rows(pool, "SELECT count(*) FROM checkpoints WHERE run_id = %s", str(run_id))
    return count


async def head(pool: Pool) -> UUID | None:
    found = await rows(pool, "SELECT checkpoint_id FROM checkpoint_heads WHERE ns = ''")
    return found[0][0] if found else None


# what stays of the thread


@pytest.mark.parametrize("protocol", ["v1", "plain"])
@pytest.mark.parametrize(
    ("outcome", "state", "values", "error"),
    [
        (Succeeded(output=1, values=b'{"x": "a\\u0000b"}', stands_at=uuid4()), "idle", {"x": "ab"}, None),
        (Waiting(interrupts=[{"id": QUESTION}], checkpoint_id=uuid4(), output=None, values=b"{}",
                 tasks={"task": [{"id": QUESTION}]}), "interrupted", {}, None),
        (FAILED, "error", None, {"error": "ValueError", "message": "ValueError: no"}),
        (Cancelled(), "interrupted", None, None),
        (Cancelled(begun=False), None, None, None),
        (Drained(), None, None, None),
    ],
)  # fmt: skip
async def test_the_thread_shows_how_its_last_run_left_it(
    outcome: Outcome,
    state: str | None,
    values: Any,
    error: Any,
    protocol: str,
    *,
    store: RunStore,
    pool: Pool,
    worker: UUID,
) -> None:
    run = api_run() if protocol == "v1" else new_run()
    await store.intake.admit(run, Intake())
    await end(store, await claim_one(store, worker), outcome)

    found = await rows(pool, "SELECT state, values, error, metadata ->> 'graph_id' FROM thread_details")
    if state is None:
        assert [row[:2] for row in found] == ([("idle", None)] if protocol == "v1" else []), "as it was before"
    else:
        assert found == [(state, values, error, "a")]


async def test_a_question_ends_an_api_run_and_stays_with_it(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    run_id, at = await interrupted(store, saver, worker)

    view = await store.views.one("t", run_id)
    assert (view.status, view.ended, view.output) == (S.INTERRUPTED, True, {"asked": True})
    assert view.interrupts == [{"id": QUESTION, "value": "?"}]
    assert await details(pool, "interrupts", "waiting_at", "stands_at") == (
        {"task 0": [{"id": QUESTION, "value": "?"}]}, at, at
    )  # fmt: skip


async def test_a_state_that_is_too_large_is_left_to_its_checkpoint(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    large = b'{"x": "' + b"x" * 1000 + b'"}'
    run_id, _ = await succeeded(store, saver, worker, values=large)

    assert await details(pool, "values", "stands_at", "state") == (None, None, "idle")
    assert (await store.get(run_id)).output == {"x": "x" * 1000}, "the run has its own"


async def test_an_end_that_is_told_again_does_not_undo_what_came_after_it(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    await store.intake.admit(api_run(), Intake())
    first = await claim_one(store, worker)
    await end(store, first, FAILED)
    await succeeded(store, saver, worker, values=b'{"second": true}')

    await end(store, first, FAILED)

    assert await details(pool, "state", "values") == ("idle", {"second": True})


async def test_the_next_run_of_a_thread_counts_on_behind_the_end_of_the_last(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    await store.intake.admit(api_run(), Intake())
    await store.intake.admit(api_run(), Intake())
    far = 2**50
    waiting = Waiting(interrupts=[{"id": QUESTION}, {"id": "b" * 32}], checkpoint_id=None, output=None)
    first = await claim_one(store, worker)
    assert first.thread_last_pos == 0
    await end(store, first, waiting, last_pos=far)

    assert (await store.get(first.id)).last_pos == far
    assert (await claim_one(store, worker)).thread_last_pos == far + 3, "the end, and a place for each question"
    assert far > EVENTS_PER_MS


@pytest.mark.parametrize("way", ["settled", "cancelled", "crashed"])
async def test_a_temporary_thread_goes_some_time_after_its_run_however_that_ended(
    way: str, store: RunStore, pool: Pool, worker: UUID
) -> None:
    run = api_run(temporary=True)
    await store.intake.admit(run, Intake())
    assert await details(pool, "temporary", "expires_at") == (True, None)
    if way == "settled":
        await end(store, await claim_one(store, worker), Succeeded(output=1))
    elif way == "cancelled":
        await store.cancel(run.id)
    else:
        claimed = await claim_one(store, worker)
        await store.take_away(
            run.id, claimed.thread_key, claimed.epoch, status=S.FAILED, code="crashed", message="it died"
        )

    assert await details(pool, "expires_at BETWEEN now() + interval '4 min' AND now() + interval '6 min'") == (True,)


async def test_a_run_that_recovery_ends_leaves_its_error_in_the_thread(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    await succeeded(store, saver, worker, values=b'{"x": 1}')
    await store.intake.admit(api_run(), Intake())
    claimed = await claim_one(store, worker)

    await store.take_away(
        claimed.id, claimed.thread_key, claimed.epoch, status=S.FAILED, code="timed_out", message="too long"
    )

    error = {"error": "timed_out", "message": "too long"}
    assert await details(pool, "state", "error", "values") == ("error", error, None)


async def test_what_is_cancelled_before_it_began_leaves_the_thread_alone(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    await succeeded(store, saver, worker, values=b'{"x": 1}')
    run = api_run()
    await store.intake.admit(run, Intake())
    await store.cancel(run.id, reason="not wanted")

    assert await details(pool, "state", "values") == ("idle", {"x": 1})
    assert (await store.get(run.id)).cancel_reason == "not wanted"


# rollback


async def test_a_rollback_waits_for_the_owner_and_then_takes_everything_back(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    _, before = await succeeded(store, saver, worker, values=b'{"x": 1}')
    await store.intake.admit(api_run(), Intake())
    claimed = await claim_one(store, worker)
    following = api_run()
    await store.intake.admit(following, Intake())
    await write(saver, claimed, before)
    await rows(
        pool, "INSERT INTO run_events (thread_key, pos, run_id, mode, ns, data) VALUES (%s, 1, %s, 'values', '', '')",
        UUID(bytes=claimed.thread_key), claimed.id,
    )  # fmt: skip

    assert await store.cancel(claimed.id, action="rollback") is S.RUNNING
    assert await checkpoints_of(pool, claimed.id) == 1, "its owner may still write"
    status, unblocked = await end(store, claimed, Succeeded(output=1, values=b"{}"))

    assert (status, unblocked) == (S.CANCELLED, True)
    with pytest.raises(NotFound):
        await store.get(claimed.id)
    assert await checkpoints_of(pool, claimed.id) == 0
    assert await head(pool) == before
    assert await rows(pool, "SELECT 1 FROM run_events") == []
    assert await details(pool, "state", "values", "stands_at") == ("idle", None, None), "the next reader looks"
    assert (await claim_one(store, worker)).id == following.id
    with pytest.raises(LeaseLost):
        await end(store, claimed, Succeeded(output=1))


async def test_an_owner_that_died_does_not_save_a_run_from_its_rollback(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    run = api_run()
    await store.intake.admit(run, Intake())
    claimed = await claim_one(store, worker)
    await write(saver, claimed)
    await store.cancel(run.id, action="rollback")
    await rows(pool, "UPDATE workers SET state = 'dead', ended_at = clock_timestamp()")
    await WorkerStore(pool).reap(limit=10)

    ((run_id, thread, epoch, _, why),) = await store.without_future(grace=timedelta(hours=1), max_crashes=3)
    assert why == "cancelled"
    assert await store.take_away(run_id, thread, epoch, status=S.CANCELLED, code=None, message=None)

    with pytest.raises(NotFound):
        await store.get(run.id)
    assert (await checkpoints_of(pool, run.id), await head(pool)) == (0, None)


async def test_a_rollback_of_the_answer_opens_the_question_again(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    _, at = await interrupted(store, saver, worker)
    await store.intake.admit(*answering("yes"))
    claimed = await claim_one(store, worker)
    await write(saver, claimed, at)
    await store.cancel(claimed.id, action="rollback")
    await end(store, claimed, Succeeded(output=1, values=b"{}"))

    assert await details(pool, "state") == ("interrupted",)
    await store.intake.admit(*answering("no"))
    again = await claim_one(store, worker)
    assert (again.answer, again.waiting_at) == ("no", at)


async def test_the_strategy_rollback_stops_what_runs_and_takes_back_what_does_not(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    runs = [api_run() for _ in range(3)]
    for run in runs:
        await store.intake.admit(run, Intake())
    claimed = await claim_one(store, worker)
    await write(saver, claimed)
    following = api_run(multitask="rollback")

    admission = await store.intake.admit(following, Intake(multitask="rollback"))

    assert admission.status is S.BLOCKED, "its owner has still to stop the one that runs"
    assert (admission.cancelled, set(admission.ended)) == ((runs[0].id,), {runs[1].id, runs[2].id})
    assert (await store.get(runs[0].id)).cancel_reason == f"rolled back by run {following.id}"
    await end(store, claimed, Cancelled())
    assert {row[0] for row in await rows(pool, "SELECT id FROM runs")} == {following.id}
    assert (await claim_one(store, worker)).has_state is False, "the thread is as if they had never been"


async def test_the_strategy_interrupt_keeps_what_was_written(
    store: RunStore, pool: Pool, saver: Checkpointer, worker: UUID
) -> None:
    first, second = api_run(), api_run()
    await store.intake.admit(first, Intake())
    claimed = await claim_one(store, worker)
    written = await write(saver, claimed)
    await store.intake.admit(second, Intake(multitask="interrupt"))
    status, unblocked = await end(store, claimed, Cancelled())

    assert (status, unblocked) == (S.CANCELLED, True)
    assert await head(pool) == written
    assert (await store.get(first.id)).cancel_reason == f"interrupted by run {second.id}"


async def test_a_rollback_goes_further_than_an_interruption_whichever_came_first(
    store: RunStore, pool: Pool, worker: UUID
) -> None:
    for actions in (("interrupt", "rollback"), ("rollback", "interrupt")):
        run = api_run(str(actions))
        await store.intake.admit(run, Intake())
        claimed = await claim_one(store, worker)
        for action in actions:
            await store.cancel(run.id, action=action)  # type: ignore[arg-type]
        await end(store, claimed, Cancelled())

    assert await rows(pool, "SELECT 1 FROM runs") == []


# many at once


async def test_many_are_cancelled_by_id_by_thread_and_by_status(
    store: RunStore, worker: UUID, database: DatabaseSettings
) -> None:
    queue = RunQueue(store, Wakeup(database))
    runs = {name: api_run(name[0]) for name in ("a1", "a2", "b1", "b2", "c1")}
    for name, run in runs.items():
        await store.intake.admit(run, Intake(thread_metadata={"owner": name[0]}))
    claimed = await claim_one(store, worker)
    pending = (S.BLOCKED, S.QUEUED)

    assert await queue.cancel_where(statuses=pending, access='$."owner" == "nobody"') == []
    chosen = [runs["b1"].id, runs["c1"].id, uuid4()]
    by_id = await queue.cancel_where(statuses=tuple(S), run_ids=chosen, thread_id="b")
    assert by_id == [(runs["b1"].id, S.CANCELLED)], "of that thread only"
    by_thread = await queue.cancel_where(statuses=pending, thread_id="a")
    assert by_thread == [(runs["a2"].id, S.CANCELLED)], "the other one runs"
    left = dict(await queue.cancel_where(statuses=(*pending, S.RUNNING)))
    assert left == {claimed.id: S.RUNNING, runs["b2"].id: S.CANCELLED, runs["c1"].id: S.CANCELLED}


async def test_who_waits_for_a_run_that_is_rolled_back_or_deleted_hears_that_it_is_gone(
    store: RunStore, database: DatabaseSettings, worker: UUID
) -> None:
    queue = RunQueue(store, Wakeup(database))  # which sends no hints here: the poll has to find out
    run = api_run()
    await queue.admit(run, Intake())

    waiting = asyncio.create_task(queue.wait(run.id, timeout=None))
    await until(lambda: _waits(queue))
    await store.ends.delete(run.id)

    with pytest.raises(NotFound):
        await asyncio.wait_for(waiting, 10)


async def _waits(queue: RunQueue) -> bool:
    return bool(queue._waiters)


async def test_a_run_that_runs_is_not_deleted_under_its_owner(store: RunStore, pool: Pool, worker: UUID) -> None:
    run = api_run()
    await store.intake.admit(run, Intake(thread_metadata={"owner": "me"}))
    claimed = await claim_one(store, worker)
    with pytest.raises(Conflict, match="running"):
        await store.ends.delete(run.id)
    with pytest.raises(NotFound):
        await store.ends.delete(run.id, access='$."owner" == "them"')
    await end(store, claimed, Succeeded(output=1))

    await store.ends.delete(run.id, access='$."owner" == "me"')

    assert await rows(pool, "SELECT 1 FROM runs") == []
    with pytest.raises(NotFound):
        await store.ends.delete(run.id)
