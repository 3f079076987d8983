"""Slots of rate limits: the same promises for all processes together and for one by itself."""

import asyncio
from contextlib import AsyncExitStack
from itertools import pairwise

import pytest

from outlast.agents.checkpoints import erasing
from outlast.calls.limiter import Rates
from outlast.calls.local_rates import LocalRates
from outlast.domain.rates import Share
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.rate_limits import RateLimitStore
from outlast.storage.postgres.retention import RetentionStore
from outlast.storage.postgres.threads import ThreadStore

# So long that the time a test takes does not matter.
STEP, SOON = 1000.0, 30.0
PATIENT = 1e6


@pytest.fixture(params=["shared", "local"])
async def rates(request: pytest.FixtureRequest, pool: Pool) -> Rates:
    return RateLimitStore(pool) if request.param == "shared" else LocalRates()


def share(name: str = "a", *, seconds: float = STEP, burst: float = 0.0) -> Share:
    return Share(name=name, seconds=seconds, burst=burst)


async def wait(rates: Rates, *shares: Share, patience: float = PATIENT) -> float:
    return (await rates.take(shares or [share()], patience=patience)).wait


async def test_calls_get_slots_one_after_the_other(rates: Rates) -> None:
    assert [await wait(rates) for _ in range(4)] == pytest.approx([0, STEP, 2 * STEP, 3 * STEP], abs=SOON)


async def test_a_burst_passes_at_once_and_is_worked_off_afterwards(rates: Rates) -> None:
    given = share(burst=2 * STEP)

    assert [await wait(rates, given) for _ in range(5)] == pytest.approx([0, 0, 0, STEP, 2 * STEP], abs=SOON)


async def test_a_call_that_may_not_wait_that_long_takes_nothing(rates: Rates) -> None:
    await wait(rates)

    refused = await rates.take([share()], patience=STEP / 2)

    assert refused.taken == {}
    assert refused.wait == pytest.approx(STEP, abs=SOON)
    assert await wait(rates) == pytest.approx(STEP, abs=SOON)


async def test_of_several_limits_all_are_taken_or_none(rates: Rates) -> None:
    first = await rates.take([share("a"), share("b", seconds=5 * STEP)], patience=PATIENT)
    refused = await rates.take([share("a"), share("b")], patience=2 * STEP)

    assert (first.wait, first.taken.keys()) == (0, {"a", "b"})
    assert (refused.wait, refused.taken) == (pytest.approx(5 * STEP, abs=SOON), {})
    assert await wait(rates, share("a")) == pytest.approx(STEP, abs=SOON)


async def test_who_waits_for_one_limit_leaves_the_others_to_those_who_need_them_now(rates: Rates) -> None:
    await rates.take([share("model", seconds=5 * STEP)], patience=PATIENT)

    queued = await rates.take([share("model"), share("provider")], patience=PATIENT)

    assert queued.taken.keys() == {"model"}
    assert await wait(rates, share("provider")) == 0


async def test_what_was_not_used_is_given_back(rates: Rates) -> None:
    await wait(rates, share(seconds=10 * STEP))

    await rates.settle({"a": -8 * STEP})

    assert await wait(rates) == pytest.approx(2 * STEP, abs=SOON)


async def test_what_was_used_beyond_the_estimate_is_taken_afterwards(rates: Rates) -> None:
    await wait(rates)

    await rates.settle({"a": 3 * STEP})

    assert await wait(rates) == pytest.approx(4 * STEP, abs=SOON)


async def test_a_pause_holds_up_who_comes_and_who_waits_already(rates: Rates) -> None:
    await wait(rates)
    waiting = await rates.take([share()], patience=PATIENT)

    await rates.pause(["a"], seconds=7 * STEP)

    assert (await rates.shifted(["a"]))["a"] - waiting.taken["a"] == pytest.approx(7 * STEP, abs=SOON)
    assert await wait(rates) == pytest.approx(9 * STEP, abs=SOON)


async def test_a_pause_lets_no_burst_through(rates: Rates) -> None:
    await rates.take([share(burst=5 * STEP)], patience=PATIENT)

    await rates.pause(["a"], seconds=3 * STEP)

    assert await wait(rates, share(burst=5 * STEP)) == pytest.approx(3 * STEP, abs=SOON)


async def test_many_refusals_that_say_the_same_are_one_pause(rates: Rates) -> None:
    await rates.take([share()], patience=PATIENT)
    for _ in range(10):
        await rates.pause(["a"], seconds=4 * STEP)
    await rates.pause(["a"], seconds=STEP)

    assert (await rates.shifted(["a"]))["a"] == pytest.approx(4 * STEP, abs=SOON)


async def test_no_slot_is_given_to_two_processes(database: DatabaseSettings) -> None:
    async with AsyncExitStack() as stack:
        stores: list[RateLimitStore] = []
        for number in range(3):
            pool = Pool(database, application_name=f"process-{number}", size=4)
            await pool.open()
            stack.push_async_callback(pool.close)
            stores.append(RateLimitStore(pool))

        # In opposite orders, which must not make two of them wait for each other for ever.
        asked = [[share("a"), share("b")], [share("b"), share("a")]]
        turns = await asyncio.gather(
            *(stores[number % 3].take(asked[number % 2], patience=PATIENT) for number in range(30))
        )

    # Equal limits that are taken together: whoever waits takes the one that is due, or both.
    waits = sorted(turn.wait for turn in turns if "a" in turn.taken)
    assert [later - before for before, later in pairwise(waits)] == pytest.approx([STEP] * (len(waits) - 1), abs=SOON)


async def test_limits_begin_anew_when_the_database_has_lost_them(pool: Pool) -> None:
    rates = RateLimitStore(pool)
    await wait(rates)
    async with pool.unscoped() as connection:
        # What a crash does to an unlogged table.
        await connection.execute("TRUNCATE rate_limits")

    assert await wait(rates) == 0
    assert await wait(rates) == pytest.approx(STEP, abs=SOON)


async def test_upkeep_forgets_limits_that_nobody_uses(pool: Pool) -> None:
    rates, retention = RateLimitStore(pool), RetentionStore(pool, ThreadStore(pool, erasing, values_bytes=0))
    await wait(rates, share("old"))
    await wait(rates, share("new"))
    await rates.settle({"old": -2 * 86_400})

    assert await retention.forget_rate_limits(limit=10) == 1
    assert await wait(rates, share("new")) == pytest.approx(STEP, abs=SOON)
