"""Retry budgets of several processes on one database, and of one that is alone."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from outlast.calls.retry_budget import LocalBudgets, RetryBudgets
from outlast.domain.spending import Spending
from outlast.errors import DatabaseUnavailable
from outlast.settings import CallRetrySettings, DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.retry_budgets import RetryBudgetStore


@pytest.fixture
async def fleet(database: DatabaseSettings) -> AsyncIterator[list[RetryBudgets]]:
    async with AsyncExitStack() as stack:
        processes: list[RetryBudgets] = []
        for number in range(4):
            pool = Pool(database, application_name=f"process-{number}", size=2)
            await pool.open()
            stack.push_async_callback(pool.close)
            processes.append(RetryBudgets(CallRetrySettings(allowance=5, budget=0.1), RetryBudgetStore(pool)))
        yield processes


async def take(budgets: RetryBudgets, times: int) -> int:
    return sum(await asyncio.gather(*(budgets.take("openai") for _ in range(times))))


async def test_processes_that_take_at_once_never_take_more_than_there_is(fleet: list[RetryBudgets]) -> None:
    for budgets in fleet:
        for _ in range(50):
            await budgets.called("openai")

    taken = sum(await asyncio.gather(*(take(budgets, 20) for budgets in fleet)))

    # 10 % of 200 calls; who is the first to ask knows of its own 50 only.
    assert 5 <= taken <= 20


async def test_calls_of_one_process_are_room_for_the_retries_of_another(fleet: list[RetryBudgets]) -> None:
    for _ in range(200):
        await fleet[0].called("openai")
    assert await fleet[0].take("openai")

    assert await take(fleet[1], 30) == 19


async def test_providers_have_budgets_of_their_own(fleet: list[RetryBudgets]) -> None:
    assert await take(fleet[0], 8) == 5

    assert await fleet[0].take("anthropic")


class Away(LocalBudgets):
    async def read(self, provider: str) -> tuple[Spending, float]:
        raise DatabaseUnavailable("away")


async def test_without_its_database_a_process_counts_for_itself() -> None:
    budgets = RetryBudgets(CallRetrySettings(allowance=3, budget=0.1), Away())

    assert await take(budgets, 10) == 3


async def test_a_denial_is_not_for_ever() -> None:
    now = 1000.0

    def clock() -> float:
        return now

    budgets = RetryBudgets(CallRetrySettings(allowance=1, budget=0.0), clock=clock)
    assert await take(budgets, 3) == 1

    now += 120.0
    assert await take(budgets, 3) == 1
