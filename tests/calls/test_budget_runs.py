"""Real runs at the end of a budget: they fail and say why, or wait for a person and lose nothing."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
import remembered
from langgraph.types import interrupt
from remembered import BEGUN, MODEL, NODES, ask
from remembered_worker import RunningWorker

from budget_rows import execute, never_beyond, reservations, spent
from outlast.admission.request import RunRequest
from outlast.domain.budget import Cost
from outlast.domain.options import RunOptions
from outlast.domain.run import RunStatus
from outlast.errors import InvalidInput, NotFound
from outlast.refusals import BudgetExceeded
from outlast.settings import CallSettings
from outlast.settings_budgets import BudgetRule, BudgetSettings
from outlast.testing.postgres import Databases
from runtimes import opener, working
from waiting import until

# A call reserves 127 micros and takes 5: the fourth one does not fit into 140.
PRICES = {"counted:counted": {"input": 1, "output": 1}}
LIMIT = {"limit_micros": 140}
FITTING = ["question 0", "question 1", "question 2"]


@pytest.fixture(scope="module")
async def shared(databases: Databases) -> AsyncIterator[RunningWorker]:
    """One worker for all tests of the module; each sets its own budgets."""
    url = await databases.create()
    budgets = BudgetSettings(
        rules={"project": BudgetRule(usd=Decimal(1), agent="nobody")}, max_output_tokens=100, least_output_tokens=100,
        wait=timedelta(0), refresh=timedelta(0),
    )  # fmt: skip
    opens = opener(remembered.project(), application_name="outlast-test", pool_timeout_seconds=5)
    async with opens(url, budgets=budgets, calls=CallSettings(prices=PRICES)) as runtime:
        await never_beyond(runtime.pool)
        async with working(runtime):
            yield RunningWorker(runtime)
    await databases.leave(url)


@pytest.fixture
def worker(shared: RunningWorker) -> Any:
    @asynccontextmanager
    async def with_budgets(**rules: Any) -> AsyncIterator[RunningWorker]:
        for name, rule in rules.items():
            await shared.desk.set(name, {"per": "tenant", "on_limit": "refuse", "span": "total"} | rule)
        yield shared
        await execute(shared.runtime.pool, "DELETE FROM budgets")
        await execute(shared.runtime.pool, "DELETE FROM budget_counters")

    return with_budgets


async def five_questions(_state: Any, _config: Any) -> str:
    for number in range(5):
        await ask(f"question {number}")
    return "done"


async def test_a_run_that_meets_its_limit_fails_and_names_the_budget(worker):
    NODES["step"] = five_questions
    async with worker(team=LIMIT) as running:
        run = await running.stands(await running.start(), RunStatus.FAILED)
        assert (run.error_code, run.errors) == ("budget_exceeded", 1), "another attempt would meet the same limit"
        assert "budget 'team': $0.000015 of $0.00014 are spent or reserved" in (run.error_message or "")
        assert MODEL.asked == FITTING
        assert await spent(running.runtime.pool, "team") == (15, 0, 15, 0)


async def test_a_replayed_run_goes_on_where_it_failed_once_there_is_room(worker):
    NODES["step"] = five_questions
    async with worker(team=LIMIT) as running:
        run_id = await running.start()
        await running.stands(run_id, RunStatus.FAILED)
        await running.desk.raise_limit("team", Cost(100, 0))
        await running.runtime.queue.replay(run_id)
        assert await running.succeeded(run_id)
        assert MODEL.asked == [*FITTING, "question 3", "question 4"], "what was answered is not asked again"


async def test_a_run_waits_at_its_limit_and_goes_on_when_the_budget_is_raised(worker):
    NODES["step"] = five_questions
    async with worker(team={**LIMIT, "on_limit": "ask"}) as running:
        run_id = await running.start()
        question = await running.waits(run_id)
        assert question["type"] == "budget_exceeded"
        assert (question["budget"], question["limit"], question["spent"]) == ("team", "$0.00014", "$0.000015")
        assert BEGUN == ["first", "step"], "it stopped at a step boundary"
        assert await reservations(running.runtime.pool) == 0

        _, gone_on = await running.desk.raise_limit("team", Cost(100, 0))
        assert gone_on == [run_id]
        assert await running.succeeded(run_id)
        assert MODEL.asked == [*FITTING, "question 3", "question 4"]
        assert BEGUN == ["first", "step", "step", "last"]
        assert await spent(running.runtime.pool, "team") == (25, 0, 25, 0)


async def test_a_sync_node_waits_as_well(worker):
    def step(_state: Any, _config: Any) -> str:
        for number in range(5):
            remembered.model.invoke(f"question {number}")
        return "done"

    NODES["thread"] = step
    async with worker(team={**LIMIT, "on_limit": "ask"}) as running:
        run_id = await running.start("thread")
        assert (await running.waits(run_id))["budget"] == "team"
        await running.desk.raise_limit("team", Cost(100, 0))
        assert await running.succeeded(run_id)
        assert MODEL.asked == [f"question {number}" for number in range(5)]


async def test_too_small_a_raise_is_asked_about_again_and_setting_the_budget_helps_as_well(worker):
    NODES["step"] = five_questions
    async with worker(team={**LIMIT, "on_limit": "ask"}) as running:
        run_id = await running.start()
        await running.waits(run_id)
        await running.desk.raise_limit("team", Cost(3, 0))

        async def asked_again() -> bool:
            question = await running.waits(run_id)
            return question["spent"] == "$0.00002"

        await until(asked_again, 20, "it goes on by one question, and asks again")
        await running.desk.set("team", {"limit_micros": 1000})
        assert await running.succeeded(run_id)
        assert MODEL.asked == [f"question {number}" for number in range(5)]


async def test_a_no_ends_the_run(worker):
    NODES["step"] = five_questions
    async with worker(team={**LIMIT, "on_limit": "ask"}) as running:
        run_id = await running.start()
        await running.waits(run_id)
        await running.runtime.queue.answer(run_id, {"go_on": False})
        run = await running.stands(run_id, RunStatus.FAILED)
        assert run.error_code == "budget_exceeded"
        assert "a person has said not to go on" in (run.error_message or "")
        assert MODEL.asked == FITTING


async def test_raising_a_budget_approves_nothing_else(worker):
    """The answer about the budget must not be taken for the answer to what the node asks next."""

    async def step(_state: Any, _config: Any) -> str:
        for number in range(4):
            await ask(f"question {number}")
        return interrupt("delete everything?")

    NODES["step"] = step
    async with worker(team={**LIMIT, "on_limit": "ask"}) as running:
        run_id = await running.start()
        assert (await running.waits(run_id))["budget"] == "team"
        await running.desk.raise_limit("team", Cost(100, 0))

        async def asks_the_node() -> bool:
            return await running.waits(run_id) == "delete everything?"

        await until(asks_the_node, 20, "the node's own question is asked")
        # The budget's question is asked again first, though its call is in the journal: the answers stay in order.
        await running.runtime.queue.answer(run_id, "no")
        assert (await running.succeeded(run_id))["said"] == ["first", "no", "last"]
        assert MODEL.asked == [f"question {number}" for number in range(4)]


async def test_parallel_branches_that_all_wait_go_on_together(worker):
    async def branch(state: Any, _config: Any) -> str:
        return await ask(f"question {state['number']}")

    NODES["branch"] = branch
    # Too little for any of them.
    async with worker(team={"limit_micros": 100, "on_limit": "ask"}) as running:
        run_id = await running.start("wide")
        view = await running.stands(run_id, RunStatus.WAITING)
        assert len(view.interrupts or ()) == 3
        await running.desk.raise_limit("team", Cost(1000, 0))
        assert len((await running.succeeded(run_id))["said"]) == 3
        assert sorted(MODEL.asked) == FITTING


async def test_a_run_of_the_agent_server_is_answered_by_another_run(worker):
    NODES["step"] = five_questions
    async with worker(team={**LIMIT, "on_limit": "ask"}) as running:
        options = RunOptions(protocol="v1")
        first = await running.start(thread_id="conversation", options=options)
        await running.stands(first, RunStatus.INTERRUPTED)
        _, gone_on = await running.desk.raise_limit("team", Cost(100, 0))
        assert gone_on == [first]

        async def over() -> bool:
            runs = await running.runtime.queue.store.find(status=RunStatus.SUCCEEDED)
            return [run.thread_id for run in runs].count("conversation") == 1

        await until(over, 20, "another run of the thread goes on")
        assert MODEL.asked == [f"question {number}" for number in range(5)]
        _, again = await running.desk.raise_limit("team", Cost(1, 0))
        assert again == [], "nobody waits any more"


async def test_a_budget_of_a_run_holds_for_all_that_runs_inside_of_it_and_for_no_other_run(worker):
    NODES["inner"] = five_questions
    async with worker(each={**LIMIT, "per": "run"}) as running:
        for _ in range(2):
            run = await running.stands(await running.start("nested"), RunStatus.FAILED)
            assert run.error_code == "budget_exceeded"
        assert MODEL.asked == FITTING * 2


async def test_a_new_run_is_refused_when_nothing_is_left(worker):
    NODES["step"] = five_questions
    async with worker(team={"limit_micros": 130}) as running:
        gate = running.runtime.gate()
        first = await gate.admit(RunRequest(agent="one", input={}))
        await running.stands(first.run_id, RunStatus.FAILED)
        await running.desk.set("team", {"limit_micros": 5})
        fresh = running.runtime.gate()
        with pytest.raises(BudgetExceeded, match=r"budget 'team': \$0\.000005 of \$0\.000005 are spent") as refused:
            await fresh.admit(RunRequest(agent="one", input={}))
        assert refused.value.details["budget"] == "team"
        await running.desk.raise_limit("team", Cost(1, 0))
        await fresh.admit(RunRequest(agent="one", input={}))


async def test_a_new_run_is_let_in_where_a_person_is_asked(worker):
    NODES["step"] = five_questions
    async with worker(team={"limit_micros": 0, "on_limit": "ask"}) as running:
        admitted = await running.runtime.gate().admit(RunRequest(agent="one", input={}))
        assert (await running.waits(admitted.run_id))["limit"] == "$0.00"
        await running.runtime.queue.cancel(admitted.run_id)


async def test_what_cannot_be_raised_or_set_says_why(worker):
    async with worker(team=LIMIT, daily={"limit_micros": 1, "per": "user", "span": "day"}) as running:
        with pytest.raises(NotFound, match=r"no budget 'typo'.*outlast budget list"):
            await running.desk.raise_limit("typo", Cost(1, 0))
        with pytest.raises(InvalidInput, match="kept per user: say whose"):
            await running.desk.raise_limit("daily", Cost(1, 0))
        with pytest.raises(InvalidInput, match="no limit in tokens"):
            await running.desk.raise_limit("team", Cost(0, 5))
        with pytest.raises(InvalidInput, match="by how much"):
            await running.desk.raise_limit("team", Cost(0, 0))
        with pytest.raises(InvalidInput, match="limits nothing"):
            await running.desk.set("new", {"per": "user"})
        with pytest.raises(NotFound, match=r"those of outlast\.toml are changed there"):
            await running.desk.remove("project")


async def test_changes_of_budgets_are_in_the_audit_log(worker):
    async with worker() as running:
        await running.desk.set("audited", {"limit_micros": 500})
        await running.desk.raise_limit("audited", Cost(7, 0))
        await running.desk.remove("audited")
        async with running.runtime.pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT action, object FROM audit_log WHERE object = 'budget:audited' ORDER BY seq", {}
            )
            rows = await cursor.fetchall()
        assert rows == [(f"budget.{done}", "budget:audited") for done in ("set", "raised", "removed")]
