import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from run_rows import add_worker, claim_one, new_run, rows

from outlast.domain.outcome import Settlement
from outlast.domain.run import RunStatus
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import CANCEL, QUEUED, SETTLED, TOPICS, Wakeup
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from waiting import until

Heard = list[tuple[str, list[UUID]]]


@pytest.fixture
async def listening(database: DatabaseSettings, pool: Pool) -> AsyncIterator[tuple[Wakeup, Heard]]:
    heard: Heard = []
    async with Wakeup(database).running() as wakeup:
        wakeup.subscribe(lambda topic, ids: heard.append((topic, ids)))
        await until(lambda: _has(heard, 3))
        heard.clear()
        yield wakeup, heard


async def _has(heard: Heard, count: int) -> bool:
    return len(heard) >= count


async def test_a_hint_reaches_other_processes_with_its_runs(
    listening: tuple[Wakeup, Heard], database: DatabaseSettings
) -> None:
    _, heard = listening
    run_id = uuid4()
    async with Wakeup(database).running() as other:
        other.tell(CANCEL, [run_id])
        await until(lambda: _has(heard, 1))

    assert heard[0] == (CANCEL, [run_id])


async def test_hints_of_one_moment_go_out_together(listening: tuple[Wakeup, Heard]) -> None:
    wakeup, heard = listening
    for _ in range(500):
        wakeup.tell(QUEUED)
        wakeup.tell(SETTLED, [uuid4()])
    await until(lambda: _has(heard, 2))

    assert heard == [(QUEUED, []), (SETTLED, [])], "more runs than fit mean that any may be concerned"


@pytest.mark.parametrize("payload", ["queued:no-uuid", "no colon", ":", "settled:" + "x" * 5000])
async def test_a_hint_that_nobody_can_read_does_not_end_the_listening(
    payload: str, listening: tuple[Wakeup, Heard], pool: Pool
) -> None:
    wakeup, heard = listening
    await rows(pool, "SELECT pg_notify('outlast_hints', %s)", payload)
    run_id = uuid4()
    wakeup.tell(CANCEL, [run_id])

    await until(lambda: _heard(heard, wakeup, run_id))


async def _heard(heard: Heard, wakeup: Wakeup, run_id: UUID) -> bool:
    """Say it again: a hint that was sent while the listener was away is lost."""
    wakeup.tell(CANCEL, [run_id])
    await asyncio.sleep(0.05)
    return (CANCEL, [run_id]) in heard


async def test_a_listener_that_was_cut_wakes_everyone_when_it_is_back(
    listening: tuple[Wakeup, Heard], pool: Pool
) -> None:
    _, heard = listening
    await rows(
        pool,
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE application_name = 'outlast-hints' AND datname = current_database()",
    )
    await until(lambda: _has(heard, len(TOPICS)))

    assert {topic for topic, ids in heard if not ids} == set(TOPICS)


async def test_who_waits_for_a_run_hears_of_its_end_from_another_process(
    listening: tuple[Wakeup, Heard], pool: Pool, database: DatabaseSettings
) -> None:
    wakeup, _ = listening
    store = RunStore(pool)
    client = RunQueue(store, wakeup)
    run = new_run()
    await client.enqueue(run)
    claimed = await claim_one(store, await add_worker(pool))
    waiting = asyncio.create_task(client.wait(run.id, timeout=timedelta(seconds=20)))
    async with Wakeup(database).running() as other:
        await RunQueue(store, other).settle(claimed, Settlement(status=RunStatus.SUCCEEDED, output={"x": 1}))
        view = await waiting

    assert (view.status, view.output) == (RunStatus.SUCCEEDED, {"x": 1})
    assert client._waiters == {}, "nobody is kept in mind"


async def test_an_end_that_was_heard_of_before_anybody_waits_is_not_waited_for(
    listening: tuple[Wakeup, Heard], database: DatabaseSettings, pool: Pool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wakeup, heard = listening
    # Nobody is to be saved by the look for lost hints.
    monkeypatch.setattr("outlast.queues.queue._POLL_SECONDS", 3600.0)
    store = RunStore(pool)
    client = RunQueue(store, wakeup)
    run = new_run()
    await client.enqueue(run)
    claimed = await claim_one(store, await add_worker(pool))
    async with Wakeup(database).running() as other:
        await RunQueue(store, other).settle(claimed, Settlement(status=RunStatus.SUCCEEDED))
        await until(lambda: _heard_of(heard, run.id))

    async with asyncio.timeout(20):
        view = await client.wait(run.id, timeout=None)

    assert view.status is RunStatus.SUCCEEDED


async def _heard_of(heard: Heard, run_id: UUID) -> bool:
    return any(topic == SETTLED and run_id in ids for topic, ids in heard)


async def test_who_waits_too_long_gets_the_run_as_it_is(listening: tuple[Wakeup, Heard], pool: Pool) -> None:
    client = RunQueue(RunStore(pool), listening[0])
    run = new_run()
    await client.enqueue(run)

    view = await client.wait(run.id, timeout=timedelta(milliseconds=50))

    assert view.status is RunStatus.QUEUED
    assert client._waiters == {}
