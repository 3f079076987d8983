"""Runs are handed out in turns between tenants, and to each no more than it may have running."""

import asyncio
from collections import Counter
from itertools import count

import pytest
from run_rows import AGENTS, MAX_CRASHES, add_worker, new_run

from outlast.domain.acting import across_tenants, acting_for
from outlast.domain.intake import Intake
from outlast.domain.outcome import Settlement
from outlast.domain.run import RunStatus
from outlast.storage.postgres.claiming import RunningCaps
from outlast.storage.postgres.runs import RunStore

DONE = Settlement(status=RunStatus.SUCCEEDED)


@pytest.fixture
async def worker(pool):
    return await add_worker(pool)


@pytest.fixture
def fill(pool):
    numbers = count()

    async def enqueue(tenant, runs, **given):
        with acting_for(tenant):
            async with pool.transaction() as connection:
                await connection.execute("SELECT set_config('outlast.tenant', %s, true)", [tenant])
                for _ in range(runs):
                    run = new_run(thread_id=f"{tenant}-{next(numbers)}", **given)
                    await RunStore(pool).intake.admit_in(connection, run, Intake())

    return enqueue


async def claim(store, worker, limit):
    with across_tenants():
        return await store.claim(worker, AGENTS, limit=limit, max_crashes=MAX_CRASHES)


def tenants_of(runs):
    return dict(Counter(run.thread_id.partition("-")[0] for run in runs))


async def test_a_tenant_with_a_long_queue_does_not_keep_the_others_waiting(pool, worker, fill):
    await fill("loud", 40)
    await fill("quiet", 3)
    await fill("shy", 1)

    claimed = await claim(RunStore(pool), worker, 9)

    assert tenants_of(claimed) == {"loud": 5, "quiet": 3, "shy": 1}


async def test_places_that_others_leave_free_are_used(pool, worker, fill):
    await fill("a", 1)
    await fill("b", 30)
    await fill("c", 2)

    assert tenants_of(await claim(RunStore(pool), worker, 20)) == {"a": 1, "b": 17, "c": 2}


async def test_who_has_one_place_at_a_time_gives_it_to_each_in_turn(pool, worker, fill):
    store = RunStore(pool)
    for tenant in ("c", "a", "b"):
        await fill(tenant, 3)

    turns = [next(iter(tenants_of(await claim(store, worker, 1)))) for _ in range(9)]

    assert turns == ["a", "b", "c"] * 3


async def test_within_a_tenant_priority_and_age_count(pool, worker, fill):
    await fill("a", 2)
    await fill("a", 1, priority=5)
    await fill("b", 2)

    claimed = await claim(RunStore(pool), worker, 4)

    of_a = [run.thread_id for run in claimed if run.thread_id.startswith("a")]
    assert of_a == ["a-2", "a-0"]


async def test_what_is_not_due_or_not_ours_takes_no_turn_from_anybody(pool, worker, fill):
    await fill("later", 5, delay_seconds=3600)
    await fill("foreign", 5, agent="of another project")
    await fill("mine", 5)

    assert tenants_of(await claim(RunStore(pool), worker, 6)) == {"mine": 5}


async def test_no_claim_takes_more_than_a_tenant_may_have_running(pool, worker, fill):
    store = RunStore(pool, caps=RunningCaps(general=3, tenants={"big": 5}))
    for tenant in ("small", "big", "other"):
        await fill(tenant, 20)

    first = await claim(store, worker, 30)
    assert tenants_of(first) == {"small": 3, "big": 5, "other": 3}
    assert await claim(store, worker, 30) == []

    with across_tenants():
        await store.settle(next(run for run in first if run.thread_id.startswith("big")), DONE)
    assert tenants_of(await claim(store, worker, 30)) == {"big": 1}


async def test_a_cap_is_exact_whoever_claims_at_the_same_moment(pool, fill):
    workers = [await add_worker(pool) for _ in range(8)]
    stores = [RunStore(pool, caps=RunningCaps(tenants={"a": 7})) for _ in workers]
    await fill("a", 40)
    await fill("b", 10)

    claims = await asyncio.gather(*(claim(stores[n], workers[n], 4) for n in range(8) for _ in range(3)))

    assert tenants_of([run for claimed in claims for run in claimed]) == {"a": 7, "b": 10}


async def test_a_hundred_tenants_are_all_served_within_a_few_claims(pool, worker, fill):
    for number in range(100):
        await fill(f"t{number:03}", 2)
    store = RunStore(pool)

    served = [run for _ in range(3) for run in await claim(store, worker, 64)]

    counts = tenants_of(served)
    assert len(counts) == 100
    assert set(counts.values()) <= {1, 2}


async def test_many_tenants_without_anything_due_do_not_hide_those_behind_them(pool, worker, fill):
    for number in range(70):
        await fill(f"later{number:02}", 1, delay_seconds=3600)
    await fill("now", 1)
    store = RunStore(pool)

    first = await claim(store, worker, 8)
    # As a worker does that finds nothing to claim although something is due.
    await store.look_further(worker)
    second = await claim(store, worker, 8)

    assert [tenants_of(first), tenants_of(second)] == [{}, {"now": 1}]
