"""Budgets over processes: calls at the same time never exceed one, and what a killed process reserved comes back."""

import asyncio
import json
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import remembered

from budget_rows import ended, execute, never_beyond, reservations, running, spent
from outlast.domain.budget import Attempt
from outlast.runtime import Runtime
from runtimes import opener

pytestmark = pytest.mark.processes

PROGRAM = Path(__file__).parent / "budget_process.py"
#: The budget is 0.1 dollars; with nine tenths of it spent, 98 reservations of 102 micros fit into the rest.
LIMIT, SPENT, AT_ONCE, TAKES = 100_000, 90_000, 98, 100


@pytest.fixture
async def runtime(database_url: str) -> AsyncIterator[Runtime]:
    opens = opener(remembered.project(), application_name="outlast-test", pool_timeout_seconds=5)
    async with opens(database_url) as runtime:
        await never_beyond(runtime.pool)
        yield runtime


@contextmanager
def process(url: str, attempt: Attempt, calls: int, fault: str = "") -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, str(PROGRAM), url, str(attempt.run_id), str(calls), str(LIMIT / 1_000_000), fault]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


async def begin(*processes: "subprocess.Popen[str]") -> None:
    """Let them begin once all are ready."""
    for each in processes:
        assert each.stdout is not None
        assert await asyncio.to_thread(each.stdout.readline) == "ready\n"
    for each in processes:
        assert each.stdin is not None
        each.stdin.write("\n")
        each.stdin.flush()


async def outcome(process: "subprocess.Popen[str]") -> Counter[str]:
    output, _ = await asyncio.to_thread(process.communicate, timeout=60)
    return Counter(json.loads(output))


async def test_200_calls_of_4_processes_at_the_end_of_a_budget_never_exceed_it(runtime, database_url):
    pool = runtime.pool
    await execute(
        pool,
        "INSERT INTO budget_counters (name, subject, period, per, limit_micros, spent_micros)"
        " VALUES ('b', 'default', 'epoch', 'tenant', %(limit)s, %(spent)s)",
        limit=LIMIT, spent=SPENT,
    )  # fmt: skip
    with ExitStack() as stack:
        fleet = [stack.enter_context(process(database_url, await running(pool), 50)) for _ in range(4)]
        await begin(*fleet)
        total = sum([await outcome(each) for each in fleet], Counter[str]())

    assert total["answered"] + total["refused"] == 200, "the database has refused nothing that the budget let through"
    assert AT_ONCE <= total["answered"] <= (LIMIT - SPENT) // TAKES
    assert total["refused"] >= 100
    assert (await spent(pool, "b"))[:2] == (SPENT + TAKES * total["answered"], 0)
    assert await reservations(pool) == 0


@pytest.mark.parametrize("point", ["budget.reserved", "budget.before_settle"])
async def test_nothing_stays_reserved_for_a_process_that_was_killed_at(point, runtime, database_url):
    pool = runtime.pool
    attempt = await running(pool)
    with process(database_url, attempt, 8, f"{point}:exit:1:{4 if point == 'budget.reserved' else 1}") as victim:
        await begin(victim)
        assert await asyncio.to_thread(victim.wait, 60) == 137
    left = await reservations(pool)
    before, reserved, _, _ = await spent(pool, "b")
    assert left >= 1
    assert reserved == 102 * left

    # Another worker finds that the run has no owner any more.
    await ended(pool, attempt)
    await runtime.recovery().round()
    assert await reservations(pool) == 0
    charged, reserved, _, _ = await spent(pool, "b")
    assert (charged - before, reserved) == (102 * left, 0), "what may have been billed is charged"
