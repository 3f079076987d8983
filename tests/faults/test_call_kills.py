"""kill -9 round a model call: an answer that was stored is never paid for twice. 20 seeds each: call_kills.py."""

import asyncio
from collections.abc import AsyncIterator

import pytest
from call_kills import POINTS, RUNS, Known, ended, start, violations
from fleet import Fleet, Runs

from outlast.testing.providers import ProviderProcess
from waiting import until

pytestmark = pytest.mark.processes


@pytest.fixture
async def provider() -> AsyncIterator[ProviderProcess]:
    async with ProviderProcess.start() as provider:
        yield provider


@pytest.mark.parametrize("point", POINTS)
async def test_no_stored_answer_is_asked_for_again_when_a_worker_is_killed_at(
    point: str, calling_fleet: Fleet, runs: Runs, provider: ProviderProcess
) -> None:
    assert await violations(calling_fleet, runs, provider, point, seed=1) == []


async def test_no_stored_answer_is_asked_for_again_when_the_next_worker_is_killed_while_it_replays(
    calling_fleet: Fleet, runs: Runs, provider: ProviderProcess
) -> None:
    asked = [await runs.enqueue("calling", {"said": []}) for _ in range(RUNS)]
    for fault in ("call.journaled:exit:1:4", "call.replayed:exit:1:1"):
        victim = start(calling_fleet, provider, fault)
        await asyncio.to_thread(victim.wait, 30)
        assert calling_fleet.struck()[-1] == (fault.split(":")[0], victim.pid)
    known = await Known.now(runs, provider)
    start(calling_fleet, provider)
    await until(lambda: ended(runs, asked), 30)
    assert await known.violations(calling_fleet, runs, provider, asked) == []


@pytest.mark.parametrize("fault", ["", "call.connection_lost:exit"])
async def test_answers_survive_the_loss_of_the_call_logs_connection(
    fault: str, calling_fleet: Fleet, runs: Runs, provider: ProviderProcess
) -> None:
    worker = start(calling_fleet, provider, fault)
    asked = [await runs.enqueue("calling", {"said": []}) for _ in range(RUNS)]

    async def cut() -> bool:
        return bool(await runs.rows(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name = 'outlast-calls'"
        ))  # fmt: skip

    await until(cut, 20, "it stores answers")
    known = None
    if fault:
        await asyncio.to_thread(worker.wait, 20)
        known = await Known.now(runs, provider)
        start(calling_fleet, provider)
    await until(lambda: ended(runs, asked), 30)
    known = known or await Known.now(runs, provider)
    assert await known.violations(calling_fleet, runs, provider, asked) == []
