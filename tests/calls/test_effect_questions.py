"""A write whose outcome nobody knows comes before a person, and the answer is what counts."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

from effect_receiver import EffectReceiver, send_in_thread
from effecting import answered, asked_nodes, begun_and_lost, charging, states, succeeded
from engine import Engine
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from remembered import NODES, heard
from test_journaled_runs import taken_away

import outlast
from outlast.domain.run import RunStatus
from waiting import until


async def test_an_unknown_outcome_is_asked_about_and_an_applied_one_is_not_called_again(
    engine: Engine, forgetful_receiver: EffectReceiver
) -> None:
    async with engine.working(), engine.working():
        with heard("effect.unknown") as unknown:
            run_id = await begun_and_lost(engine, forgetful_receiver)
            question = await answered(engine, run_id, {"applied": True, "result": {"number": 1}})
            view = await succeeded(engine, run_id)

    assert view.output["said"][1] == {"number": 1}
    assert len(forgetful_receiver.requests) == 1
    assert len(unknown) == 1
    assert (question["type"], question["effect"], question["arguments"]) == ("effect_unknown", "charge", {"amount": 7})
    assert question["key"] == forgetful_receiver.keys[0]
    assert (await engine.rows("SELECT state, convert_from(answer, 'UTF8')::jsonb FROM effects")) == [
        ("done", {"applied": True, "result": {"number": 1}})
    ]


async def test_an_effect_that_was_not_applied_is_called_again_with_its_key(
    engine: Engine, forgetful_receiver: EffectReceiver
) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, forgetful_receiver)
        await answered(engine, run_id, {"applied": False})
        await succeeded(engine, run_id)

    assert len(set(forgetful_receiver.keys)) == 1
    assert len(forgetful_receiver.requests) == 2
    assert await states(engine) == [("charge", "done", 2)]


async def test_an_outcome_that_nobody_can_tell_fails_the_run(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        await answered(engine, run_id, {"applied": None})
        view = await engine.ended(run_id)

    assert (view.status, view.error_code) == (RunStatus.FAILED, "effect_unknown")
    assert len(receiver.requests) == 1


async def test_an_answer_to_something_else_is_asked_for_again(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        await answered(engine, run_id, "yes")
        question = await answered(engine, run_id, {"applied": True})
        await succeeded(engine, run_id)

    assert "problem" in question
    assert len(receiver.requests) == 1


async def test_an_answer_about_one_call_says_nothing_about_the_next(engine: Engine, receiver: EffectReceiver) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        receiver.held.clear()
        receiver.fates.append("hold")
        await answered(engine, run_id, {"applied": False})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await taken_away(engine, run_id)
        await answered(engine, run_id, {"applied": True, "result": "found"})
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == "found"
    assert len(receiver.requests) == 2


async def test_questions_keep_their_answers_when_the_node_asks_on(engine: Engine, receiver: EffectReceiver) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")

    async def step(state: Any) -> Any:
        before = interrupt("before?")
        charged = await charge(1)
        return [before, charged, interrupt("after?"), await charge(2) and "charged", interrupt("at last?")]

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        assert await answered(engine, run_id, "b") == "before?"
        await asyncio.wait_for(receiver.held.wait(), 15)
        await taken_away(engine, run_id)
        assert (await answered(engine, run_id, {"applied": True, "result": "c"}))["type"] == "effect_unknown"
        assert await answered(engine, run_id, "a") == "after?"
        assert await answered(engine, run_id, "l") == "at last?"
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == ["b", "c", "a", "charged", "l"]
    assert len(receiver.requests) == 2


async def test_two_unknown_effects_are_asked_about_one_after_the_other(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates += ["hold", "hold"]

    async def step(state: Any) -> Any:
        return await asyncio.gather(charge(1), charge(2))

    asked_nodes(step)
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})

        async def both() -> bool:
            return len(receiver.requests) == 2

        await until(both)
        await taken_away(engine, run_id)
        for _ in range(2):
            asking = await engine.stands(run_id, RunStatus.WAITING)
            assert asking.interrupts is not None
            amount = asking.interrupts[0]["value"]["arguments"]["amount"]
            await answered(engine, run_id, {"applied": True, "result": amount * 10})
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == [10, 20]
    assert len(receiver.requests) == 2


async def test_an_effect_with_a_timeout_is_unknown_when_it_takes_longer(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver, timeout=0.2)
    receiver.fates.append("hold")
    asked_nodes(lambda state: charge(1))
    async with engine.working():
        run_id = await engine.start("one", {})
        question = await answered(engine, run_id, {"applied": True, "result": 1})
        await succeeded(engine, run_id)

    assert question["error"] == "TimeoutError: no answer within 0.2 s"


async def test_an_answer_as_a_run_of_its_own_finds_what_the_asking_one_did(
    engine: Engine, receiver: EffectReceiver
) -> None:
    from outlast.domain.intake import Intake, Resume
    from outlast.domain.options import RunOptions
    from outlast.domain.run import NewRun

    charge = charging(receiver)

    async def step(state: Any) -> Any:
        charged = await charge(7)
        return [charged["number"], interrupt("go on?"), (await charge(8))["number"]]

    asked_nodes(step)
    thread = str(uuid4())

    async def admitted(given: Any, **options: Any) -> UUID:
        command = options.get("command") or {}
        run = NewRun(
            id=uuid4(), thread_id=thread, agent="one", input=given, config={}, metadata={},
            options=RunOptions(protocol="v1", **options),
        )  # fmt: skip
        resume = Resume(command["resume"]) if command else None
        return (await (await engine.client()).queue.admit(run, Intake(resume=resume))).run_id

    async with engine.working():
        first = await admitted({})
        await engine.stands(first, RunStatus.INTERRUPTED)
        second = await admitted(None, command={"resume": "yes"})
        view = await succeeded(engine, second)

    assert (view.output or {}).get("said", [0, [1, "yes", 2]])[1] == [1, "yes", 2]
    assert [request["body"]["amount"] for request in receiver.requests] == [7, 8]


async def test_a_question_about_an_effect_passes_through_the_error_handling_of_tools(
    engine: Engine, receiver: EffectReceiver
) -> None:
    charge = charging(receiver)
    receiver.fates.append("hold")

    @tool
    async def buy(amount: int) -> str:
        """Buy something."""
        return str((await charge(amount))["number"])

    async def step(state: Any, config: Any) -> Any:
        calls = [{"name": "buy", "args": {"amount": number}, "id": str(number)} for number in (1, 2)]
        tools = ToolNode([buy], handle_tool_errors=True)
        said = await tools.ainvoke({"messages": [AIMessage("", tool_calls=calls)]}, config)
        return [message.content for message in said["messages"]]

    NODES["step"] = step
    async with engine.working(), engine.working():
        run_id = await engine.start("one", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await until(lambda: _done(engine, 1))
        await taken_away(engine, run_id)
        await answered(engine, run_id, {"applied": True, "result": {"number": 7}})
        view = await succeeded(engine, run_id)

    assert sorted(view.output["said"][1]) == ["2", "7"]
    assert len(receiver.requests) == 2


async def _done(engine: Engine, count: int) -> bool:
    return len([state for _, state, _ in await states(engine) if state == "done"]) == count


async def test_a_sync_effect_that_is_lost_in_its_thread_is_asked_about(
    engine: Engine, receiver: EffectReceiver
) -> None:
    receiver.fates.append("hold")

    @outlast.effect
    def buy(amount: int, idempotency_key: str = "") -> Any:
        return send_in_thread(receiver.url, idempotency_key, amount=amount)

    NODES["thread"] = lambda state, config: buy(3)
    async with engine.working(), engine.working():
        run_id = await engine.start("thread", {})
        await asyncio.wait_for(receiver.held.wait(), 15)
        await taken_away(engine, run_id)
        question = await answered(engine, run_id, {"applied": True, "result": "bought"})
        view = await succeeded(engine, run_id)
        receiver.release.set()

    assert question["arguments"] == {"amount": 3}
    assert view.output["said"][1] == "bought"
    assert len(receiver.requests) == 1


async def test_a_run_that_failed_since_nobody_could_tell_asks_again_when_a_person_replays_it(
    engine: Engine, receiver: EffectReceiver
) -> None:
    async with engine.working(), engine.working():
        run_id = await begun_and_lost(engine, receiver)
        await answered(engine, run_id, {"applied": None})
        await engine.ended(run_id)
        await (await engine.client()).queue.replay(run_id)
        await answered(engine, run_id, {"applied": True, "result": "found"})
        view = await succeeded(engine, run_id)

    assert view.output["said"][1] == "found"
    assert len(receiver.requests) == 1
