"""Real runs on a worker: what they use is stored, counted over their attempts, and the reason is on the run."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from uuid import UUID

import pytest
import remembered
from remembered import BEGUN, MODEL, NODES, Gate, ask
from remembered_worker import RunningWorker

from outlast.domain.run import RunStatus
from outlast.settings import CallSettings
from outlast.storage.postgres.usage import UsageQuery
from runtimes import opener, working


class Worker(RunningWorker):
    """One that tells what its runs used, and whose runs can be taken away from it."""

    async def execute(self, statement: str, *parameters: Any) -> list[Any]:
        async with self.runtime.pool.unscoped() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()

    async def taken_away(self, run_id: UUID) -> None:
        """As if its worker had died."""
        await self.execute(
            "UPDATE runs SET status = 'queued', worker_id = NULL, epoch = epoch + 1, crashes = crashes + 1"
            " WHERE id = %s AND status = 'running'", run_id
        )  # fmt: skip

    async def usage(self, *by: Any, **filters: Any) -> list[Any]:
        return await self.runtime.usage.summary(UsageQuery(by=by, **filters), limit=100)


@pytest.fixture
def worker(database_url: str) -> Any:
    @asynccontextmanager
    async def open_one(**calls: Any) -> AsyncIterator[Worker]:
        opens = opener(remembered.project(), application_name="outlast-test", pool_timeout_seconds=5)
        async with AsyncExitStack() as stack:
            runtime = await stack.enter_async_context(opens(database_url, calls=CallSettings(**calls)))
            await stack.enter_async_context(working(runtime))
            yield Worker(runtime)

    return open_one


async def runs_away(_state: Any, _config: Any) -> str:
    for number in range(50):
        await ask(f"question {number}")
    return "never"


async def test_a_run_that_runs_away_is_stopped_and_says_why(worker):
    NODES["step"] = runs_away
    async with worker(caps={"turns": 7}) as running:
        run = await running.ended(await running.start())
        assert (run.status, run.error_code, run.errors) == (RunStatus.FAILED, "cap_reached", 1)
        assert "7 turns of 7" in (run.error_message or "")
        assert len(MODEL.asked) == 7
        [row] = await running.usage("run")
        assert (row.run_id, row.calls, row.input_tokens, row.output_tokens) == (run.id, 7, 21, 14)


async def test_subgraphs_and_parallel_branches_count_for_their_run(worker):
    NODES["inner"] = NODES["branch"] = runs_away
    async with worker(caps={"tokens": 30}) as running:
        nested = await running.ended(await running.start("nested"))
        assert "30 tokens of 30" in (nested.error_message or "")
        assert len(MODEL.asked) == 6
        MODEL.asked.clear()
        wide = await running.ended(await running.start("wide"))
        assert wide.error_code == "cap_reached"
        # Three branches: what is under way when the cap is reached may end.
        assert 6 <= len(MODEL.asked) <= 8


async def test_replayed_answers_are_counted_once(worker):
    gate = Gate()

    async def step(_state: Any, _config: Any) -> str:
        for number in range(5):
            await ask(f"question {number}")
            if number == 1:
                await gate()
        return "never"

    NODES["step"] = step
    async with worker(caps={"turns": 3}) as running:
        run_id = await running.start()
        await asyncio.wait_for(gate.come.wait(), 15)
        await running.taken_away(run_id)
        run = await running.ended(run_id)
        gate.open.set()
        assert run.error_code == "cap_reached"
        assert MODEL.asked == ["question 0", "question 1", "question 2"], "two before, and one that was left"


async def test_what_a_failed_attempt_used_counts_in_the_next_one(worker):
    failing = [ConnectionError("the first attempt")]

    async def step(_state: Any, _config: Any) -> str:
        for number in range(3):
            await ask(f"question {number}")
        if failing:
            raise failing.pop()
        return await runs_away(_state, _config)

    NODES["step"] = step
    async with worker(caps={"turns": 5}) as running:
        run = await running.ended(await running.start())
        assert (run.error_code, run.errors) == ("cap_reached", 2)
        assert len(MODEL.asked) == 5


async def test_time_counts_from_the_first_claim_and_anew_when_a_person_replays_it(worker):
    gate = Gate()

    async def step(_state: Any, _config: Any) -> str:
        await gate()
        return await ask("question")

    NODES["step"] = step
    async with worker(caps={"seconds": 600}) as running:
        run_id = await running.start()
        await asyncio.wait_for(gate.come.wait(), 15)
        await running.execute("UPDATE runs SET started_at = started_at - interval '1 hour' WHERE id = %s", run_id)
        await running.taken_away(run_id)
        run = await running.ended(run_id)
        assert (run.error_code, MODEL.asked) == ("cap_reached", [])
        assert "seconds of 600" in (run.error_message or "")
        await running.runtime.queue.replay(run_id)
        run = await running.ended(run_id)
        assert (run.status, MODEL.asked) == (RunStatus.SUCCEEDED, ["question"])
        gate.open.set()


async def test_an_agent_has_caps_of_its_own(worker):
    NODES["step"] = NODES["inner"] = runs_away
    async with worker(caps={"turns": 4}, agents={"nested": {"caps": {"turns": 2}}}) as running:
        for agent, calls in (("one", 4), ("nested", 2)):
            MODEL.asked.clear()
            await running.ended(await running.start(agent))
            assert len(MODEL.asked) == calls, agent


async def test_what_is_within_its_caps_ends_as_it_does(worker):
    async with worker(caps={"turns": 1}) as running:
        NODES["step"] = lambda _state, _config: ask("question")
        run = await running.ended(await running.start())
        assert run.status is RunStatus.SUCCEEDED
        assert BEGUN == ["first", "step", "last"]


async def test_usage_is_that_of_its_run_thread_and_agent(worker):
    async with worker() as running:
        NODES["step"] = lambda _state, _config: ask("question")
        first, second = [await running.ended(await running.start()) for _ in range(2)]
        rows = await running.usage("run", "thread", "agent", "day", "tenant")
        assert {(row.run_id, row.thread_id, row.agent) for row in rows} == {
            (run.id, run.thread_id, "one") for run in (first, second)
        }
        # A model of the test's own has no price, and is not free.
        [row] = await running.usage("model")
        assert (row.calls, row.unpriced, row.cost_usd) == (2, 2, "0.000000")


async def test_a_failed_call_is_in_the_usage_of_its_run(worker):
    async with worker() as running:
        MODEL.fails["question"] = [RuntimeError("a bug of the integration")] * 9
        NODES["step"] = lambda _state, _config: ask("question")
        run = await running.ended(await running.start())
        assert run.status is RunStatus.FAILED
        [row] = await running.usage("run")
        assert len(MODEL.asked) == 3, "once in each attempt of the run"
        assert (row.calls, row.failed) == (0, 3)
