"""Tools under policies in real runs: the model is told of a refusal, a person's yes is for exactly these arguments."""

from typing import Any
from uuid import UUID

import pytest
from langchain_core.messages import AIMessage
from police import Police
from policed_agents import World

from outlast.domain.run import RunStatus
from waiting import until

S = RunStatus
ASK = {"tools": {"ask": ["send"]}}
YES, NO = {"approved": True}, {"approved": False, "reason": "not now"}


def calls(*texts: str, tool: str = "send") -> AIMessage:
    of = {"send": "text", "search": "about"}[tool]
    return AIMessage(
        "",
        tool_calls=[{"name": tool, "args": {of: text}, "id": f"{tool}-{number}"} for number, text in enumerate(texts)],
    )


async def told(police: Police, run_id: UUID) -> list[str]:
    """What the model was told of its tools."""
    output = (await police.view(run_id)).output
    return [message["content"] for message in output["messages"] if message["type"] == "tool"]


def question(view: Any) -> dict[str, Any]:
    (asked,) = view.interrupts
    return asked["value"]


@pytest.mark.parametrize("agent", ["with_middleware", "hooked_tools"])
async def test_the_model_is_told_that_a_tool_is_not_allowed(police: Police, agent: str) -> None:
    World.says = [calls("hi")]
    async with police.working({"tools": {"deny": ["send"]}}):
        run_id = await police.start(agent, {"messages": []})
        await police.stands(run_id, S.SUCCEEDED)
        (said,) = await told(police, run_id)
        audited = await police.rows("SELECT object, details FROM audit_log WHERE action = 'policy.refused'")
    assert "send was not called" in said
    assert "policies.tools.deny" in said
    assert [row[0] for row in audited] == ["policy:tools"]
    assert World.sent == []


async def test_a_tool_that_nobody_wrapped_is_refused_all_the_same(police: Police) -> None:
    World.says = [calls("hi")]
    async with police.working({"tools": {"deny": ["send"]}}):
        run_id = await police.start("plain_tools", {"messages": []})
        view = await police.stands(run_id, S.FAILED)
    assert view.error_code == "policy_refused"
    assert World.sent == []


@pytest.mark.parametrize("agent", ["with_middleware", "hooked_tools", "plain_tools"])
async def test_a_tool_is_called_when_a_person_has_said_yes(police: Police, agent: str) -> None:
    World.says = [calls("hi")]
    async with police.working(ASK) as runtime:
        run_id = await police.start(agent, {"messages": []})
        asked = question(await police.stands(run_id, S.WAITING))
        assert World.sent == []
        assert (asked["type"], asked["tool"], asked["arguments"]) == ("tool_approval", "send", {"text": "hi"})
        await runtime.queue.answer(run_id, YES)
        await police.stands(run_id, S.SUCCEEDED)
    assert World.sent == ["hi"]


async def test_the_model_is_told_that_a_person_has_said_no(police: Police) -> None:
    World.says = [calls("hi")]
    async with police.working(ASK) as runtime:
        run_id = await police.start("with_middleware", {"messages": []})
        await police.stands(run_id, S.WAITING)
        await runtime.queue.answer(run_id, NO)
        await police.stands(run_id, S.SUCCEEDED)
        (said,) = await told(police, run_id)
    assert "a person said no: not now" in said
    assert World.sent == []


async def test_what_is_no_answer_is_asked_again(police: Police) -> None:
    World.says = [calls("hi")]
    async with police.working(ASK) as runtime:
        run_id = await police.start("hooked_tools", {"messages": []})
        await police.stands(run_id, S.WAITING)
        await runtime.queue.answer(run_id, "well, perhaps")

        async def again() -> bool:
            view = await police.view(run_id)
            return view.status is S.WAITING and "problem" in question(view)

        await until(again)
        assert World.sent == []


async def test_of_several_calls_each_has_its_own_answer(police: Police) -> None:
    """Three calls in one task, asked about one by one: no answer is taken for another, and none is made too early."""
    World.says = [calls("one", "two", "one")]
    async with police.working(ASK) as runtime:
        run_id = await police.start("hooked_tools", {"messages": []})
        for _ in range(3):
            asked = question(await police.stands(run_id, S.WAITING))
            await runtime.queue.answer(run_id, NO if asked["arguments"] == {"text": "two"} else YES)

            async def moved(before: str = asked["key"]) -> bool:
                now = await police.view(run_id)
                return now.ended or (now.status is S.WAITING and question(now)["key"] != before)

            await until(moved)
        await police.stands(run_id, S.SUCCEEDED)
    assert sorted(World.sent) == ["one", "one"]


async def test_a_yes_is_for_these_arguments_and_no_others(police: Police) -> None:
    """The model chooses other arguments when its step is executed again: it is asked about those."""
    World.says = [calls("hi"), AIMessage("done")]
    async with police.working(ASK) as runtime:
        run_id = await police.start("decides_and_calls", {"messages": []})
        asked = question(await police.stands(run_id, S.WAITING))
        World.says = [calls("something else"), AIMessage("done")]
        await runtime.queue.answer(run_id, YES)

        async def asked_anew() -> bool:
            view = await police.view(run_id)
            return view.status is S.WAITING and question(view)["key"] != asked["key"]

        await until(asked_anew)
        assert World.sent == []
        assert question(await police.view(run_id))["arguments"] == {"text": "something else"}


async def test_a_tool_that_only_others_are_asked_about_is_just_called(police: Police) -> None:
    World.says = [calls("cats", tool="search")]
    async with police.working(ASK):
        run_id = await police.start("with_middleware", {"messages": []})
        await police.stands(run_id, S.SUCCEEDED)
        assert await told(police, run_id) == ["nothing about cats"]
