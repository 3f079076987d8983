"""Answers, updates and jumps that come with a run, each applied once, also when an attempt ends in between."""

from typing import Any

import execution_agents as agents
import pytest
from engine import Engine
from execution import Server, attempt_ends_at, new_thread, serving

from outlast.domain.run import RunStatus
from outlast.domain.thread import ThreadStatus


async def asked(server: Server, agent: str = "asks") -> str:
    """A thread on which the graph has asked."""
    thread = new_thread()
    said = await server.run(agent, thread, {"log": []})
    assert said.end.status is RunStatus.INTERRUPTED
    return thread


async def values(server: Server, agent: str, thread: str) -> dict[str, Any]:
    return (await server.state(agent, thread)).values


async def test_an_answer_is_a_run_of_its_own_and_goes_on_from_the_question(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = await asked(server)
        said = await server.run("asks", thread, options={"command": {"resume": "this one"}})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert await values(server, "asks", thread) == {"log": ["one", "asked", "last"], "answer": "this one"}
        assert (await server.thread(thread)).status is ThreadStatus.IDLE
        assert agents.CALLS["one"] == 1


@pytest.mark.parametrize("answer", [{"free": "form"}, [1, 2], False, 0, ""])
async def test_an_answer_may_be_anything(engine: Engine, answer: Any) -> None:
    async with serving(engine) as server:
        thread = await asked(server)
        await server.run("asks", thread, options={"command": {"resume": answer}})

        assert (await values(server, "asks", thread))["answer"] == answer


async def test_a_question_inside_of_a_subgraph_is_answered_by_its_id(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = await asked(server, "nested")
        ((question,),) = (await server.thread(thread)).interrupts.values()
        said = await server.run("nested", thread, options={"command": {"resume": {question["id"]: "yes"}}})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert (await values(server, "nested", thread))["answer"] == "yes"


async def test_an_answer_may_come_with_an_update(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = await asked(server)
        command = {"resume": "yes", "update": {"log": ["noted"]}}
        await server.run("asks", thread, options={"command": command})

        log = (await values(server, "asks", thread))["log"]
        assert sorted(log) == ["asked", "last", "noted", "one"]


@pytest.mark.parametrize("update", [{"count": 5, "log": ["now"]}, [["count", 5], ["log", ["now"]]]])
async def test_an_update_changes_the_state_and_goes_where_it_says(engine: Engine, update: Any) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        await server.run("three", thread, {"log": [], "count": 1})
        said = await server.run("three", thread, options={"command": {"update": update, "goto": "three"}})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert await values(server, "three", thread) == {
            "log": ["one", "two", "three", "now", "three"], "count": 6
        }  # fmt: skip
        assert agents.CALLS == {"one": 1, "two": 1, "three": 2}


async def test_a_jump_may_carry_an_input_of_its_own(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        await server.run("three", thread, {"log": [], "count": 1})
        goto = [{"node": "two", "input": {"log": ["elsewhere"]}}]
        said = await server.run("three", thread, options={"command": {"goto": goto}})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert agents.CALLS == {"one": 1, "two": 2, "three": 2}


FAULTS = ["checkpoint.before_commit", "checkpoint.after_commit"]


@pytest.mark.parametrize("where", [*FAULTS, "two", "three"])
async def test_a_command_is_applied_once_wherever_an_attempt_ends(engine: Engine, where: str) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        await server.run("three", thread, {"log": [], "count": 1})
        with attempt_ends_at(where):
            command = {"update": {"count": 5}, "goto": "two"}
            said = await server.run("three", thread, options={"command": command})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert said.run.errors == 1
        assert await values(server, "three", thread) == {
            "log": ["one", "two", "three", "two", "three"], "count": 6
        }  # fmt: skip


@pytest.mark.parametrize("where", [*FAULTS, "last"])
async def test_an_answer_with_an_update_is_applied_once_wherever_an_attempt_ends(engine: Engine, where: str) -> None:
    async with serving(engine) as server:
        thread = await asked(server)
        with attempt_ends_at(where):
            command = {"resume": "yes", "update": {"log": ["noted"]}}
            said = await server.run("asks", thread, options={"command": command})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert said.run.errors == 1
        state = await values(server, "asks", thread)
        assert state["answer"] == "yes"
        assert sorted(state["log"]) == ["asked", "last", "noted", "one"]


async def test_a_target_that_is_none_is_an_error_of_the_caller(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        await server.run("three", thread, {"log": []})
        run_id = await server.admit("three", thread, options={"command": {"goto": [{"input": 1}]}})
        view = await engine.ended(run_id)

    assert (view.status, view.error_code) == (RunStatus.FAILED, "invalid_input")
    assert view.errors == 1, "the same command is wrong the next time, too"


@pytest.mark.parametrize(("option", "ahead"), [("interrupt_before", "two"), ("interrupt_after", "three")])
async def test_a_breakpoint_of_the_run_stops_it_and_the_next_one_goes_on(
    engine: Engine, option: str, ahead: str
) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        stopped = await server.run("three", thread, {"log": []}, options={option: ("two",)})
        view = await server.thread(thread)
        state = await server.state("three", thread)

        assert stopped.end.status is RunStatus.INTERRUPTED
        assert view.status is ThreadStatus.INTERRUPTED
        assert view.interrupts == {}
        assert state.next == (ahead,)

        gone_on = await server.run("three", thread, options={"command": {"resume": None}})
        assert gone_on.end.status is RunStatus.SUCCEEDED, gone_on.end.error_message
        assert await server.log("three", thread) == ["one", "two", "three"]


async def test_a_star_stops_before_every_step(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        await server.run("three", thread, {"log": []}, options={"interrupt_before": "*"})
        said = await server.run("three", thread, options={"interrupt_before": "*"})

        assert said.end.status is RunStatus.INTERRUPTED
        assert await server.log("three", thread) == ["one"]


async def test_a_run_that_has_nothing_to_say_to_an_empty_thread_fails_at_once(engine: Engine) -> None:
    async with serving(engine) as server:
        view = await engine.ended(await server.admit("three", new_thread()))

    assert (view.status, view.errors) == (RunStatus.FAILED, 1)
