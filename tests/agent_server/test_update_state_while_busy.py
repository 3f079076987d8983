"""A thread's state is not changed under a run that has still to run, and no change and no run is lost in between."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from agent_server_api import Server
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import ConflictError

from waiting import until


async def test_a_running_run_keeps_changes_out(client: Any, server: Server) -> None:
    thread, door = (await client.threads.create())["thread_id"], str(uuid4())
    run = await client.runs.create(thread, "hold", input={"at": door})
    await until(lambda: has_arrived(door))

    with pytest.raises(ConflictError) as refused:
        await client.threads.update_state(thread, {"log": ["by hand"]}, as_node="begin")
    assert refused.value.body["code"] == "thread_busy"
    assert refused.value.body["run_id"] == run["run_id"]
    assert refused.value.body["run_status"] == "running"

    open_door(door)
    await server.ended(run)
    assert (await client.threads.get(thread))["values"]["log"] == ["begun", "held"]
    await client.threads.update_state(thread, {"log": ["by hand"]}, as_node="hold")
    assert (await client.threads.get(thread))["values"]["log"] == ["begun", "held", "by hand"]


async def test_a_queued_run_keeps_changes_out(client: Any, server: Server) -> None:
    thread = (await client.threads.create())["thread_id"]
    await server.ended(await client.runs.create(thread, "steps", input={}))
    run = await client.runs.create(thread, "steps", input={}, after_seconds=3600)

    with pytest.raises(ConflictError) as refused:
        await client.threads.update_state(thread, {"log": ["by hand"]}, as_node="three")
    assert refused.value.body["run_status"] == "queued"

    await client.runs.cancel(thread, run["run_id"], wait=True)
    await client.threads.update_state(thread, {"log": ["by hand"]}, as_node="three")
    assert (await client.threads.get(thread))["values"]["log"][-1] == "by hand"


async def test_an_open_question_does_not_keep_changes_out(client: Any, server: Server) -> None:
    thread = (await client.threads.create())["thread_id"]
    await server.ended(await client.runs.create(thread, "ask", input={}))

    await client.threads.update_state(thread, {"log": ["by hand"]}, as_node="ask")

    after = await client.threads.get(thread)
    assert (after["status"], after["values"]["log"]) == ("idle", ["begun", "by hand"])


async def test_changes_and_runs_at_once_are_all_there_in_the_end(server: Server) -> None:
    """Whoever is told that a change is stored finds it, and every run ends as a success."""
    thread = (await server.sdk.threads.create())["thread_id"]
    await server.ended(await server.sdk.runs.create(thread, "steps", input={}))
    stored: list[str] = []

    async def change(number: int) -> None:
        try:
            await server.sdk.threads.update_state(thread, {"log": [f"hand {number}"]}, as_node="three")
        except ConflictError:
            return
        stored.append(f"hand {number}")

    async def run(number: int) -> Any:
        return await server.sdk.runs.create(thread, "steps", input={"log": [f"run {number}"]})

    for number in range(8):
        _, started = await asyncio.gather(change(number), run(number))
        assert (await server.ended(started))["status"] == "success"

    log = (await server.sdk.threads.get_state(thread))["values"]["log"]
    assert [word for word in log if word.startswith("run")] == [f"run {number}" for number in range(8)]
    assert [word for word in log if word.startswith("hand")] == stored
    assert (await server.sdk.threads.get(thread))["values"]["log"] == log
