"""What becomes of effects when their runs end in another way than they began."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from effect_receiver import EffectReceiver, send, send_in_thread
from effecting import answered, asked_nodes, begun_and_lost, charging, interrupted_at, states, succeeded
from engine import Engine, seconds
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from remembered import NODES, Gate, heard

import outlast
from outlast.domain.run import RunStatus
from outlast.settings import EffectSettings
from outlast.storage.postgres.retention import RetentionStore
from waiting import until


async def test_a_cancelled_run_writes_down_first_what_became_of_its_effect(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(7))
    async with engine.working():
        run_id = await engine.start("one", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await (await engine.client()).queue.cancel(run_id)
        receiver.release.set()
        view = await engine.ended(run_id)

    assert view.status is RunStatus.CANCELLED
    assert await states(engine) == [("charge", "done", 1)]


async def test_an_effect_that_does_not_end_when_its_run_is_cancelled_is_unknown(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(7))
    async with engine.working(calls={"effects": EffectSettings(grace=seconds(0.2))}):
        run_id = await engine.start("one", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await (await engine.client()).queue.cancel(run_id)
        await engine.ended(run_id)

    assert await states(engine) == [("charge", "unknown", 1)]


async def test_a_branch_that_fails_leaves_the_effect_beside_it_its_outcome(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge, failing = charging(receiver), [True]
    receiver.fates.append("hold")

    async def branch(state: Any) -> Any:
        if state["number"] == 0:
            return (await charge(7))["number"]
        if state["number"] == 1 and failing:
            await receiver.held.wait()
            failing.clear()
            asyncio.get_running_loop().call_later(0.2, receiver.release.set)
            raise ConnectionError
        return "other"

    asked_nodes(branch, "branch")
    async with engine.working():
        view = await succeeded(engine, await engine.start("wide", {}))

    assert sorted(map(str, view.output["said"])) == ["1", "other", "other"]
    assert len(receiver.requests) == 1


async def test_a_late_outcome_of_an_owner_that_lost_its_lease_is_refused(
    engine: Engine, receiver: EffectReceiver
) -> None:
    # The one whose place is taken by the held effect cannot claim the run again.
    alone = {"worker": {"concurrency": 1}}
    async with engine.working(**alone), engine.working(**alone):
        run_id = await begun_and_lost(engine, receiver)
        await engine.stands(run_id, RunStatus.WAITING)
        with heard("effect.called", "effect.recorded", "run.lease_lost") as events:
            receiver.release.set()
            await until(lambda: _heard(events, "run.lease_lost"))
        assert [point for point, _ in events if point.startswith("effect.")] == ["effect.called"]
        assert await states(engine) == [("charge", "unknown", 1)]
        await answered(engine, run_id, {"applied": True, "result": 1})
        await succeeded(engine, run_id)


async def _heard(events: list[Any], point: str) -> bool:
    return any(name == point for name, _ in events)


async def test_an_effect_that_asks_before_it_writes_begins_anew_with_the_answer(
    engine: Engine, receiver: EffectReceiver
) -> None:
    @outlast.effect
    async def book(room: int, *, idempotency_key: str = "") -> Any:
        answer = interrupt("really?")
        return [answer, (await send(receiver.url, idempotency_key, room=room))["of"]]

    asked_nodes(lambda state: book(3))
    async with engine.working():
        run_id = await engine.start("one", {})
        assert await answered(engine, run_id, "yes") == "really?"
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == ["yes", {"room": 3}]
    assert len(receiver.requests) == 1


async def test_sync_effects_of_tools_in_threads_are_found_again(engine: Engine, receiver: EffectReceiver) -> None:
    gate = Gate()

    @tool
    @outlast.effect
    def buy(amount: int, idempotency_key: str = "") -> str:
        """Buy something."""
        return str(send_in_thread(receiver.url, idempotency_key, amount=amount)["of"]["amount"])

    async def step(state: Any, config: Any) -> Any:
        calls = [{"name": "buy", "args": {"amount": number}, "id": str(number)} for number in range(3)]
        said = await ToolNode([buy]).ainvoke({"messages": [AIMessage("", tool_calls=calls)]}, config)
        await gate()
        return [message.content for message in said["messages"]]

    NODES["step"] = step
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await interrupted_at(gate, engine, run_id)
        view = await succeeded(engine, run_id)
        gate.open.set()

    assert view.output["said"][1] == ["0", "1", "2"]
    assert len(receiver.requests) == 3


@pytest.mark.parametrize("business_key", [None, "order-1"])
async def test_a_deleted_thread_takes_its_effects_with_it_but_not_what_is_for_all_runs(
    engine: Engine, receiver: EffectReceiver, business_key: str | None
) -> None:
    charge = charging(receiver, key=business_key)
    asked_nodes(lambda state: charge(7))
    async with engine.working() as running:
        run_id = await engine.start("one", {})
        await succeeded(engine, run_id)
        await running.runtime.threads.delete(str(run_id))

    left = await engine.rows("SELECT state, arguments FROM effects")
    assert left == ([("done", b"{}")] if business_key else [])


async def test_upkeep_forgets_old_effects_of_runs_that_cannot_be_executed_again(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)

    async def step(state: Any) -> Any:
        answer = await charge(7)
        if state["number"] == 1:
            raise ValueError
        return answer

    asked_nodes(step)
    async with engine.working() as running:
        await succeeded(engine, await engine.start("one", {"number": 0}))
        failed = await engine.start("one", {"number": 1}, max_attempts=1)
        await engine.ended(failed)
        store = RetentionStore(running.runtime.pool, running.runtime.threads)
        assert await store.forget_effects(age=timedelta(hours=1), limit=10) == 0
        assert await store.forget_effects(age=timedelta(0), limit=10) == 1

    assert await engine.rows("SELECT lineage FROM effects") == [(failed,)]
