"""Two sides at the same moment, by force: one holds a lock, the other is seen waiting, then the first goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.base.id import uuid6
from psycopg import AsyncConnection
from run_rows import AGENTS, ANY_TURN, MAX_CRASHES, add_worker, claim_one, new_run, rows

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.domain.outcome import Failed, Settlement, Succeeded, Waiting, settle
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, LeaseLost
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool, connect
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.workers import WorkerStore
from waiting import until

RUNS, ENDS, WORKERS = Queries("runs"), Queries("run_ends"), Queries("workers")
DONE = Settlement(status=RunStatus.SUCCEEDED)
Connect = Callable[[], Awaitable[AsyncConnection[Any]]]


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = Pool(database, application_name="side", size=6)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
def store(pool: Pool) -> RunStore:
    return RunStore(pool)


@pytest.fixture
async def other(database: DatabaseSettings) -> AsyncIterator[AsyncConnection[Any]]:
    """The first side: its transaction stays open for as long as the test wants."""
    async with await connect(database, application_name="first") as connection:
        yield connection


async def waiting_for_a_lock(pool: Pool, count: int = 1) -> None:
    async def blocked() -> bool:
        found = await rows(
            pool,
            "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'",
        )
        return len(found) >= count

    await until(blocked, message=f"{count} sides are blocked")


@asynccontextmanager
async def held(other: AsyncConnection[Any], pool: Pool, thread_id: str, *, waiters: int) -> AsyncIterator[None]:
    """Hold the thread's row until so many sides wait for it; they then go on in the order in which they came."""
    async with other.transaction():
        await other.execute(ENDS.lock_thread, {"thread_key": UUID(bytes=thread_key(thread_id))})
        yield
        await waiting_for_a_lock(pool, waiters)


async def statuses(pool: Pool) -> dict[UUID, str]:
    return dict(await rows(pool, "SELECT id, status FROM runs"))  # type: ignore[arg-type]


@pytest.mark.parametrize("first", ["enqueue", "settle"])
async def test_a_run_that_is_added_while_the_one_in_front_ends_is_not_left_behind(
    first: str, store: RunStore, pool: Pool, other: AsyncConnection[Any]
) -> None:
    worker = await add_worker(pool)
    front = new_run()
    await store.enqueue(front)
    claimed = await claim_one(store, worker)
    following = new_run()
    sides = {"enqueue": lambda: store.enqueue(following), "settle": lambda: store.settle(claimed, DONE)}
    order = [first, *(sides.keys() - {first})]

    tasks = []
    async with held(other, pool, "t", waiters=2):
        for number, name in enumerate(order, 1):
            tasks.append(asyncio.ensure_future(sides[name]()))
            await waiting_for_a_lock(pool, number)
    await asyncio.gather(*tasks)

    assert await statuses(pool) == {front.id: "succeeded", following.id: "queued"}


async def test_two_runs_that_start_a_thread_together_stand_one_behind_the_other(store: RunStore, pool: Pool) -> None:
    runs = [new_run(thread_id="new") for _ in range(8)]

    await asyncio.gather(*(store.enqueue(run) for run in runs))

    assert sorted((await statuses(pool)).values()) == ["blocked"] * 7 + ["queued"]


async def test_two_claims_at_the_same_moment_are_disjoint(
    store: RunStore, pool: Pool, other: AsyncConnection[Any]
) -> None:
    mine, theirs = await add_worker(pool), await add_worker(pool)
    runs = [new_run(thread_id=f"t{number}") for number in range(10)]
    for run in runs:
        await store.enqueue(run)

    async with other.transaction():
        parameters = {"worker_id": mine, "agents": list(AGENTS), "limit": 4, "max_crashes": MAX_CRASHES, **ANY_TURN}
        cursor = await other.execute(RUNS.claim, parameters)
        first = {row[0] for row in await cursor.fetchall()}
        # Not blocked by the first claim, which is still uncommitted.
        second = {run.id for run in await store.claim(theirs, AGENTS, limit=4, max_crashes=MAX_CRASHES)}

    assert len(first) == len(second) == 4
    assert not first & second
    assert first | second == {run.id for run in runs[:8]}, "oldest first"


async def test_many_claims_at_once_hand_out_each_run_once(store: RunStore, pool: Pool) -> None:
    workers = [await add_worker(pool) for _ in range(6)]
    for number in range(60):
        await store.enqueue(new_run(thread_id=f"t{number}"))

    claims = await asyncio.gather(
        *(store.claim(worker, AGENTS, limit=7, max_crashes=MAX_CRASHES) for worker in workers * 2)
    )

    taken = [run.id for claim in claims for run in claim]
    assert len(taken) == len(set(taken)) == 60
    assert await rows(pool, "SELECT DISTINCT epoch, status FROM runs") == [(1, "running")]


@pytest.mark.parametrize("first", ["cancel", "settle"])
@pytest.mark.parametrize("outcome", ["succeeded", "waiting", "again"])
async def test_of_a_cancellation_and_an_end_the_first_counts_and_the_other_hears_the_truth(
    first: str, outcome: str, store: RunStore, pool: Pool, other: AsyncConnection[Any]
) -> None:
    worker = await add_worker(pool)
    run = new_run()
    await store.enqueue(run)
    claimed = await claim_one(store, worker)
    settlement = settle(
        {
            "succeeded": Succeeded(output=1),
            "waiting": Waiting(interrupts=[], checkpoint_id=None, output=None),
            "again": Failed(code="x", message="x", retryable=True),
        }[outcome],
        errors=0, max_attempts=3, backoff=timedelta(hours=1),
    )  # fmt: skip
    sides: dict[str, Callable[[], Awaitable[Any]]] = {
        "cancel": lambda: store.cancel(run.id), "settle": lambda: store.settle(claimed, settlement)
    }  # fmt: skip
    order = [first, *(sides.keys() - {first})]

    tasks = {}
    async with held(other, pool, "t", waiters=2):
        for number, name in enumerate(order, 1):
            tasks[name] = asyncio.ensure_future(sides[name]())
            await waiting_for_a_lock(pool, number)
    cancelled, settled = await asyncio.gather(tasks["cancel"], tasks["settle"], return_exceptions=True)

    final = (await statuses(pool))[run.id]
    if outcome == "succeeded" and first == "settle":
        assert isinstance(cancelled, Conflict), "it had ended"
        assert final == "succeeded"
    elif outcome == "succeeded":
        assert cancelled is RunStatus.RUNNING, "asked for, not done"
        assert final == "succeeded", "the owner's end was the truth"
    elif first == "settle":
        assert cancelled is RunStatus.CANCELLED
        assert final == "cancelled"
    else:
        assert cancelled is RunStatus.RUNNING
        assert settled[0] is RunStatus.CANCELLED, "an acknowledged cancellation is not forgotten in the queue"
        assert final == "cancelled"


async def test_the_second_of_two_answers_is_refused(store: RunStore, pool: Pool, other: AsyncConnection[Any]) -> None:
    worker = await add_worker(pool)
    run = new_run()
    await store.enqueue(run)
    waiting = Settlement(status=RunStatus.WAITING, interrupts=[{"id": "1"}], waiting_at=uuid4())
    await store.settle(await claim_one(store, worker), waiting)

    answers = []
    async with held(other, pool, "t", waiters=2):
        for number, text in enumerate(("yes", "no"), 1):
            answers.append(asyncio.ensure_future(store.answer(run.id, text)))
            await waiting_for_a_lock(pool, number)
    first, second = await asyncio.gather(*answers, return_exceptions=True)

    assert first is RunStatus.QUEUED
    assert isinstance(second, Conflict)
    assert (await claim_one(store, worker)).answer == "yes"


async def test_a_settlement_that_meets_the_reaper_is_refused(
    store: RunStore, pool: Pool, other: AsyncConnection[Any]
) -> None:
    worker = await add_worker(pool)
    await store.enqueue(new_run())
    claimed = await claim_one(store, worker)
    await rows(pool, "UPDATE workers SET state = 'dead', ended_at = clock_timestamp()")

    async with other.transaction():
        await other.execute(WORKERS.reap, {"limit": 10})
        settling = asyncio.ensure_future(store.settle(claimed, DONE))
        await waiting_for_a_lock(pool)
    with pytest.raises(LeaseLost):
        await settling

    assert await rows(pool, "SELECT status, epoch, crashes FROM runs") == [("queued", 2, 1)]


async def test_the_reaper_passes_a_run_that_is_being_settled(
    store: RunStore, pool: Pool, other: AsyncConnection[Any]
) -> None:
    worker = await add_worker(pool)
    await store.enqueue(new_run())
    claimed = await claim_one(store, worker)
    await rows(pool, "UPDATE workers SET state = 'dead', ended_at = clock_timestamp()")

    async with other.transaction():
        await other.execute("SELECT FROM runs WHERE id = %s FOR NO KEY UPDATE", [claimed.id])
        assert await WorkerStore(pool).reap(limit=10) == [], "not blocked either"
    assert (await store.settle(claimed, DONE))[0] is RunStatus.SUCCEEDED
    assert await WorkerStore(pool).reap(limit=10) == []


async def test_two_reapers_count_one_crash_once(store: RunStore, pool: Pool, other: AsyncConnection[Any]) -> None:
    worker = await add_worker(pool)
    for number in range(20):
        await store.enqueue(new_run(thread_id=f"t{number}"))
    await store.claim(worker, AGENTS, limit=20, max_crashes=MAX_CRASHES)
    await rows(pool, "UPDATE workers SET heartbeat_at = clock_timestamp() - interval '1 day'")
    liveness = WorkerStore(pool)
    lease = timedelta(milliseconds=1)

    declared = await asyncio.gather(*(liveness.declare_dead(lease=lease, grace=lease) for _ in range(4)))
    async with other.transaction():
        await other.execute(WORKERS.reap, {"limit": 5})
        reaped = await asyncio.gather(*(liveness.reap(limit=20) for _ in range(4)))

    assert [row[0] for found in declared for row in found] == [worker], "one of them declared it dead"
    assert sum(map(len, reaped)) == 15
    assert await rows(pool, "SELECT DISTINCT status, crashes, epoch FROM runs") == [("queued", 1, 2)]


async def test_an_end_that_is_told_again_after_its_answer_was_lost_changes_nothing(store: RunStore, pool: Pool) -> None:
    worker = await add_worker(pool)
    await store.enqueue(new_run())
    claimed = await claim_one(store, worker)
    again = settle(Failed(code="x", message="x", retryable=True), errors=0, max_attempts=3, backoff=timedelta(0))

    await store.settle(claimed, again)
    await store.settle(claimed, again)

    assert await rows(pool, "SELECT status, errors, epoch FROM runs") == [("queued", 1, 1)]


@pytest.mark.parametrize("way", ["died", "left", "forgot"])
async def test_an_owner_of_the_past_can_say_nothing_while_another_owns_the_run(
    way: str, store: RunStore, pool: Pool
) -> None:
    past, present = await add_worker(pool), await add_worker(pool)
    liveness = WorkerStore(pool)
    await store.enqueue(new_run())
    old = await claim_one(store, past)
    if way == "died":
        await rows(pool, "UPDATE workers SET state = 'dead', ended_at = clock_timestamp() WHERE id = %s", past)
        await liveness.reap(limit=10)
    elif way == "left":
        await liveness.release(past)
    else:
        await liveness.give_back_unknown(past, {})
    # The same worker may be its next owner, too: a name is no fence.
    new = await claim_one(store, present if way == "died" else past)

    for settlement in (DONE, Settlement(status=RunStatus.QUEUED), Settlement(status=RunStatus.FAILED, errors=1)):
        with pytest.raises(LeaseLost):
            await store.settle(old, settlement)
    with pytest.raises(LeaseLost):
        await store.save_progress(old.id, old.epoch, completed=1, total=1)

    assert new.epoch > old.epoch
    assert await rows(pool, "SELECT status, epoch, errors FROM runs") == [("running", new.epoch, 0)]
    assert (await store.settle(new, DONE))[0] is RunStatus.SUCCEEDED


async def test_a_worker_that_was_declared_dead_claims_nothing(store: RunStore, pool: Pool) -> None:
    await store.enqueue(new_run())
    for state in ("dead", "stopped", "draining"):
        assert await store.claim(await add_worker(pool, state=state), AGENTS, limit=1, max_crashes=3) == []
    assert await store.claim(uuid4(), AGENTS, limit=1, max_crashes=3) == [], "nor one that nobody knows"


async def test_a_worker_that_dies_while_it_claims_loses_the_runs_at_the_next_scan(
    store: RunStore, pool: Pool, other: AsyncConnection[Any]
) -> None:
    worker = await add_worker(pool)
    await store.enqueue(new_run())
    liveness = WorkerStore(pool)
    lease = timedelta(milliseconds=1)

    async with other.transaction():
        parameters = {"worker_id": worker, "agents": list(AGENTS), "limit": 4, "max_crashes": MAX_CRASHES, **ANY_TURN}
        await other.execute(RUNS.claim, parameters)
        assert len(await liveness.declare_dead(lease=lease, grace=lease)) == 1
        assert await liveness.reap(limit=10) == [], "the claim is not committed yet"
    assert len(await liveness.reap(limit=10)) == 1, "the next scan finds it"


async def test_runs_that_a_lost_answer_of_a_claim_hid_are_given_back(store: RunStore, pool: Pool) -> None:
    worker = await add_worker(pool)
    for number in range(3):
        await store.enqueue(new_run(thread_id=f"t{number}"))
    known = await claim_one(store, worker)
    await store.claim(worker, AGENTS, limit=5, max_crashes=MAX_CRASHES)  # whose answer nobody heard

    given_back = await WorkerStore(pool).give_back_unknown(worker, {known.id: known.epoch})

    assert len(given_back) == 2
    assert known.id not in given_back
    assert sorted(await rows(pool, "SELECT status, crashes, errors FROM runs")) == [
        ("queued", 0, 0), ("queued", 0, 0), ("running", 0, 0)
    ]  # fmt: skip


@pytest.mark.parametrize("kinds", [("writes",), ("first",), ("next", "writes"), ("writes", "first")])
async def test_a_cancellation_does_not_deadlock_with_the_runs_own_checkpoints(
    kinds: tuple[str, ...], store: RunStore, pool: Pool, saver: Checkpointer, other: AsyncConnection[Any]
) -> None:
    """Who cancels locks the thread, then the run; who checkpoints must not lock them the other way round."""
    worker = await add_worker(pool)
    await store.enqueue(new_run())
    claimed = await claim_one(store, worker)
    fenced = saver.fenced(Fence(run_id=claimed.id, epoch=claimed.epoch))
    thread: RunnableConfig = {"configurable": {"thread_id": claimed.thread_id, "checkpoint_ns": ""}}
    parent: RunnableConfig = {"configurable": {**thread["configurable"], "checkpoint_id": str(uuid6())}}
    writes: dict[str, Callable[[], Awaitable[Any]]] = {
        "writes": lambda: fenced.aput_writes(parent, [("messages", "hi")], str(uuid4())),
        "first": lambda: fenced.aput(thread, empty_checkpoint(), {"source": "input", "step": -1, "parents": {}}, {}),
        "next": lambda: fenced.aput(parent, empty_checkpoint(), {"source": "loop", "step": 0, "parents": {}}, {}),
    }
    async with other.transaction():
        await other.execute(ENDS.lock_thread, {"thread_key": UUID(bytes=claimed.thread_key)})
        writing = [asyncio.ensure_future(writes[kind]()) for kind in kinds]
        # What needs no lock of the thread is done at once, which is as good.
        blocked = asyncio.ensure_future(waiting_for_a_lock(pool))
        await asyncio.wait([blocked, asyncio.gather(*writing, return_exceptions=True)], return_when="FIRST_COMPLETED")
        blocked.cancel()
        cursor = await other.execute("SELECT id FROM runs WHERE id = %s FOR NO KEY UPDATE SKIP LOCKED", [claimed.id])
        assert await cursor.fetchall() == [(claimed.id,)], "the writer that waits for the thread holds the run"
    # A parent that does not exist is refused; that is not what is asked here.
    await asyncio.gather(*writing, return_exceptions=True)
