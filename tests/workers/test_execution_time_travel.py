"""Runs that start from an older checkpoint, and what happens when others change the thread."""

from typing import Any
from uuid import uuid4

import execution_agents as agents
import pytest
from engine import Engine
from execution import Server, attempt_ends_at, new_thread, serving

from outlast.domain.run import RunStatus


async def finished(server: Server) -> tuple[str, dict[str, str]]:
    """A thread on which `three` has run, and its checkpoints by the step that comes next ('' for the end)."""
    thread = new_thread()
    await server.run("three", thread, {"log": [], "count": 1})
    history = await server.history("three", thread)
    return thread, {"".join(state.next): state.config["configurable"]["checkpoint_id"] for state in history}


async def test_a_checkpoint_is_replayed_from_there(engine: Engine) -> None:
    async with serving(engine) as server:
        thread, at = await finished(server)
        said = await server.run("three", thread, options={"checkpoint": {"checkpoint_id": at["two"]}})

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert await server.log("three", thread) == ["one", "two", "three"]
        assert agents.CALLS == {"one": 1, "two": 2, "three": 2}
        assert (await server.thread(thread)).values["log"] == ["one", "two", "three"]


async def test_an_input_forks_from_the_checkpoint(engine: Engine) -> None:
    async with serving(engine) as server:
        thread, at = await finished(server)
        checkpoint = {"checkpoint_id": at["two"], "checkpoint_ns": ""}
        await server.run("three", thread, {"log": ["again"]}, options={"checkpoint": checkpoint})

        assert await server.log("three", thread) == ["one", "again", "one", "two", "three"]


async def test_an_update_forks_from_the_checkpoint(engine: Engine) -> None:
    async with serving(engine) as server:
        thread, at = await finished(server)
        options = {"checkpoint": {"checkpoint_id": at["three"]}, "command": {"update": {"count": 10}}}
        said = await server.run("three", thread, options=options)

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        state = (await server.state("three", thread)).values
        assert state == {"log": ["one", "two", "three"], "count": 11}


async def test_the_address_may_also_come_with_the_configuration(engine: Engine) -> None:
    async with serving(engine) as server:
        thread, at = await finished(server)
        config: dict[str, Any] = {"configurable": {"checkpoint_id": at["three"]}}
        await server.run("three", thread, config=config)

        assert agents.CALLS == {"one": 1, "two": 1, "three": 2}


async def test_a_checkpoint_that_does_not_exist_changes_nothing(engine: Engine) -> None:
    async with serving(engine) as server:
        thread, _ = await finished(server)
        said = await server.run("three", thread, options={"checkpoint": {"checkpoint_id": str(uuid4())}})

        assert (said.end.status, said.end.error_code) == (RunStatus.FAILED, "not_found")
        assert said.run.errors == 1
        assert await server.log("three", thread) == ["one", "two", "three"]


@pytest.mark.parametrize("where", ["checkpoint.before_commit", "checkpoint.after_commit", "one", "two", "three"])
async def test_a_fork_goes_on_where_it_was_when_its_attempt_ended(engine: Engine, where: str) -> None:
    async with serving(engine) as server:
        thread, at = await finished(server)
        with attempt_ends_at(where):
            options = {"checkpoint": {"checkpoint_id": at["two"]}}
            said = await server.run("three", thread, {"log": ["again"]}, options=options)

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert said.run.errors == 1
        assert await server.log("three", thread) == ["one", "again", "one", "two", "three"]


async def test_an_answer_that_names_the_checkpoint_where_the_thread_stands_is_no_fork(engine: Engine) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        await server.run("asks", thread, {"log": []})
        head = (await server.state("asks", thread)).config["configurable"]["checkpoint_id"]
        options = {"command": {"resume": "yes"}, "checkpoint": {"checkpoint_id": head}}
        said = await server.run("asks", thread, options=options)

        assert said.end.status is RunStatus.SUCCEEDED, said.end.error_message
        assert await server.log("asks", thread) == ["one", "asked", "last"]
        assert agents.CALLS["one"] == 1


@pytest.mark.parametrize(("durability", "errors", "status"), [("exit", 1, "succeeded"), ("sync", 1, "failed")])
async def test_a_state_changed_by_others_costs_an_attempt_only_before_the_first_write(
    engine: Engine, durability: str, errors: int, status: str
) -> None:
    async with serving(engine) as server:
        thread = new_thread()
        graph = agents.meddled.with_config({})
        graph.checkpointer = server.runtime.saver

        async def meddle() -> None:
            config: Any = {"configurable": {"thread_id": thread}}
            await graph.aupdate_state(config, {"log": ["meddled"]}, as_node="interfere")

        await server.run("meddled", thread, {"log": ["first"]})
        agents.MEANWHILE.append(meddle)
        said = await server.run("meddled", thread, {"log": ["next"]}, options={"durability": durability})
        log = await server.log("meddled", thread)

    assert (said.end.status, said.run.errors) == (status, errors), said.end.error_message
    if status == "succeeded":
        assert log == ["first", "interfered", "meddled", "next", "interfered"]
    else:
        assert said.end.error_code == "thread_conflict"
        assert log[-1] == "meddled", "what the other did is not undone"
