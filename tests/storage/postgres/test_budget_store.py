"""Budgets in the database: reserved in all or none, settled once, released when the attempt is over."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from budget_rows import ended, key, line, never_beyond, reservations, running, spent
from outlast.domain.budget import Attempt, Cost, Line
from outlast.errors import LeaseLost
from outlast.storage.postgres.budgets import BudgetStore
from outlast.storage.postgres.pool import Pool

ROOM = Cost(400, 40)


@pytest.fixture
async def pool(pool: Pool) -> Pool:
    await never_beyond(pool)
    return pool


@pytest.fixture
def store(pool: Pool) -> BudgetStore:
    return BudgetStore(pool)


@pytest.fixture
async def attempt(pool: Pool) -> Attempt:
    return await running(pool)


async def test_what_is_reserved_is_taken_of_all_budgets_or_of_none(store, pool, attempt):
    wide, narrow = line("wide"), line("narrow", limit_micros=500)
    assert (await store.reserve(key(), [wide, narrow], ROOM, attempt)).fits
    held = await store.reserve(key(), [wide, narrow], ROOM, attempt)
    assert not held.fits
    standings = {standing.name: standing for standing in held.standings}
    assert standings["narrow"].lacks(ROOM, reserved=True) == "usd_micros"
    assert standings["narrow"].lacks(ROOM, reserved=False) is None, "only what is under way is in the way"
    assert standings["wide"].lacks(ROOM, reserved=True) is None
    assert await spent(pool, "wide") == (0, 400, 0, 40)
    assert await spent(pool, "narrow") == (0, 400, 0, 40)
    assert await reservations(pool) == 2


async def test_tokens_are_limited_as_dollars_are(store, pool, attempt):
    tokens = line("tokens", limit_micros=None, limit_tokens=70)
    assert (await store.reserve(key(), [tokens], ROOM, attempt)).fits
    held = await store.reserve(key(), [tokens], ROOM, attempt)
    assert [standing.lacks(ROOM, reserved=True) for standing in held.standings] == ["tokens"]


async def test_what_a_call_took_takes_the_place_of_what_was_reserved_and_only_once(store, pool, attempt):
    call, unknown = key(), key()
    await store.reserve(call, [line()], ROOM, attempt)
    await store.reserve(unknown, [line()], ROOM, attempt)
    for _ in range(2):
        await store.settle([(call, Cost(90, 9)), (unknown, None)])
        assert await spent(pool, "b") == (490, 0, 49, 0), "what nobody knows is charged as it was reserved"
    assert await reservations(pool) == 0


async def test_a_limit_that_was_set_goes_before_the_one_that_the_process_knows(store, pool, attempt):
    await store.set(replace(line().budget, limit_micros=100))
    assert not (await store.reserve(key(), [line()], ROOM, attempt)).fits
    await store.set(replace(line().budget, limit_micros=400))
    assert (await store.reserve(key(), [line()], ROOM, attempt)).fits
    assert await store.remove("b")
    assert not await store.remove("b")
    assert (await store.reserve(key(), [line()], ROOM, attempt)).fits


async def test_a_raised_budget_is_raised_for_its_period_and_subject(store, pool, attempt):
    ann, bob = line(subject="ann", per="user", span="day"), line(subject="bob", per="user", span="day")
    await store.raise_limit(ann, Cost(600, 0))
    for fits in (True, True, True, True, False):
        assert (await store.reserve(key(), [ann], ROOM, attempt)).fits is fits
    [standing] = await store.standings([bob])
    assert (standing.limit_micros, standing.spent_micros, standing.reserved_micros) == (1000, 0, 0)


async def test_an_attempt_that_is_over_reserves_nothing(store, pool, attempt):
    await ended(pool, attempt)
    with pytest.raises(LeaseLost):
        await store.reserve(key(), [line()], ROOM, attempt)
    assert await reservations(pool) == 0


async def test_what_the_dead_had_reserved_is_charged_and_what_the_living_have_stays(store, pool, attempt):
    living = await running(pool)
    await store.reserve(key(), [line()], ROOM, attempt)
    await store.reserve(key(), [line()], Cost(100, 1), living)
    assert await store.release() == (0, [])
    await ended(pool, attempt)
    calls, _ = await store.release()
    assert calls == 1
    assert await spent(pool, "b") == (400, 100, 40, 1)
    assert await reservations(pool) == 1


async def test_what_a_zombie_settles_after_its_release_changes_nothing(store, pool, attempt):
    call = key()
    await store.reserve(call, [line()], ROOM, attempt)
    await ended(pool, attempt)
    await store.release()
    await store.settle([(call, Cost(1, 1))])
    assert await spent(pool, "b") == (400, 0, 40, 0)


async def test_the_soft_limit_is_told_once_and_again_after_a_raise(store, pool, attempt):
    async def spend() -> list[bool]:
        call = key()
        await store.reserve(call, [line(soft_percent=50)], Cost(300, 0), attempt)
        return [settled.soft for settled in await store.settle([(call, None)])]

    assert [await spend() for _ in range(3)] == [[], [True], []]
    await store.raise_limit(line(soft_percent=50), Cost(1000, 0))
    assert [await spend() for _ in range(2)] == [[True], []]


async def test_days_and_months_are_those_of_the_time_zone(pool):
    # 26 hours apart: never the same day.
    day = line(span="day", per="user")
    [east] = await BudgetStore(pool, zone="Pacific/Kiritimati").standings([day])
    [west] = await BudgetStore(pool, zone="Etc/GMT+12").standings([day])
    assert east.period - west.period in (timedelta(days=1), timedelta(days=2))
    assert east.resets_at is not None
    assert west.resets_at is not None
    [month] = await BudgetStore(pool).standings([line(span="month")])
    [total] = await BudgetStore(pool).standings([line()])
    assert month.period.day == 1
    assert total.resets_at is None


async def test_opposite_orders_of_budgets_do_not_wait_for_each_other_for_ever(store, pool, attempt):
    one, two = line("one", limit_micros=10**9), line("two", limit_micros=10**9)

    async def spend(lines: list[Line]) -> None:
        call = key()
        await store.reserve(call, lines, Cost(1, 1), attempt)
        await store.settle([(call, None)])

    await asyncio.gather(*(spend([one, two] if number % 2 else [two, one]) for number in range(40)))
    assert await spent(pool, "one") == await spent(pool, "two") == (40, 0, 40, 0)
