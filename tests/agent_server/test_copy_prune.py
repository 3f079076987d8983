"""Copies of threads, and threads whose history is pruned, through the SDK."""

from typing import Any
from uuid import uuid4

import orjson
import pytest
from agent_server_api import Server, ran
from agent_server_gates import open_door
from langgraph_sdk.errors import ConflictError, NotFoundError


def without_thread(states: list[dict[str, Any]], thread: str) -> Any:
    """States in a form in which those of a copy are the same."""
    return orjson.loads(orjson.dumps(states).replace(thread.encode(), b"the thread"))


async def test_a_copy_has_state_history_and_what_is_said_of_the_thread(client: Any, server: Server) -> None:
    source = (await client.threads.create(metadata={"kept": 1}, ttl=60))["thread_id"]
    await ran(client, server, thread=source, input={"log": ["in"]})

    copied = await client.threads.copy(source)

    original, copy = await client.threads.get(source, include=["ttl"]), copied["thread_id"]
    assert copy != source
    for name in ("metadata", "values", "status", "interrupts", "config"):
        assert copied[name] == original[name], name
    assert (await client.threads.get(copy, include=["ttl"]))["ttl"]["ttl_minutes"] == 60
    histories = [without_thread(await client.threads.get_history(one, limit=50), one) for one in (source, copy)]
    assert histories[0] == histories[1]
    assert await client.runs.list(copy) == []


async def test_a_copy_and_its_source_go_ways_of_their_own(client: Any, server: Server) -> None:
    source = await ran(client, server)
    copy = (await client.threads.copy(source))["thread_id"]

    await ran(client, server, thread=copy)
    await client.threads.update_state(source, {"log": ["source"]}, as_node="three")

    assert len((await client.threads.get(copy))["values"]["log"]) == 6
    assert (await client.threads.get(source))["values"]["log"] == ["one", "two", "three", "source"]
    await client.threads.delete(source)
    assert len((await client.threads.get_state(copy))["values"]["log"]) == 6


async def test_a_question_is_open_in_the_copy_too_and_answered_there_alone(client: Any, server: Server) -> None:
    source = await ran(client, server, "ask")

    copied = await client.threads.copy(source)

    assert copied["status"] == "interrupted"
    assert copied["interrupts"] == (await client.threads.get(source))["interrupts"]
    run = await client.runs.create(copied["thread_id"], "ask", command={"resume": "here"})
    await server.ended(run)
    assert (await client.threads.get(copied["thread_id"]))["values"]["answers"] == ["here"]
    assert (await client.threads.get(source))["status"] == "interrupted"


async def test_an_empty_thread_is_copied_too(client: Any) -> None:
    source = await client.threads.create(metadata={"a": 1})

    copied = await client.threads.copy(source["thread_id"])

    assert (copied["metadata"], copied["values"], copied["status"]) == ({"a": 1}, None, "idle")


async def test_a_busy_thread_is_not_copied(client: Any, server: Server) -> None:
    thread, door = (await client.threads.create())["thread_id"], str(uuid4())
    run = await client.runs.create(thread, "hold", input={"at": door})

    with pytest.raises(ConflictError) as refused:
        await client.threads.copy(thread)
    assert refused.value.body["code"] == "thread_busy"
    assert refused.value.body["run_id"] == run["run_id"]

    open_door(door)
    await server.ended(run)
    assert (await client.threads.copy(thread))["values"]["log"] == ["begun", "held"]


async def test_pruned_threads_are_gone(client: Any, server: Server) -> None:
    one, two, kept = [await ran(client, server) for _ in range(3)]

    assert await client.threads.prune([one, two, one, str(uuid4())]) == {"pruned_count": 2}

    for thread in (one, two):
        with pytest.raises(NotFoundError):
            await client.threads.get(thread)
    assert await client.threads.get(kept)
    assert await client.threads.prune([one]) == {"pruned_count": 0}


async def test_a_pruned_history_leaves_the_present_state(client: Any, server: Server) -> None:
    thread = await ran(client, server, input={"log": ["in"]})
    await ran(client, server, thread=thread)
    before = await client.threads.get_state(thread)

    assert await client.threads.prune([thread], strategy="keep_latest") == {"pruned_count": 1}

    after = await client.threads.get_state(thread)
    assert (after["values"], after["checkpoint"]) == (before["values"], before["checkpoint"])
    assert len(await client.threads.get_history(thread, limit=50)) == 1
    await ran(client, server, thread=thread)
    assert len((await client.threads.get(thread))["values"]["log"]) == 10


async def test_a_question_outlives_pruning(client: Any, server: Server) -> None:
    thread = await ran(client, server, "ask")

    await client.threads.prune([thread], strategy="keep_latest")

    assert (await client.threads.get(thread))["interrupts"]
    await server.ended(await client.runs.create(thread, "ask", command={"resume": "yes"}))
    assert (await client.threads.get(thread))["values"]["answers"] == ["yes"]


@pytest.mark.parametrize("strategy", ["delete", "keep_latest"])
async def test_a_busy_thread_is_not_pruned(client: Any, server: Server, strategy: str) -> None:
    thread, door = (await client.threads.create())["thread_id"], str(uuid4())
    run = await client.runs.create(thread, "hold", input={"at": door})

    assert await client.threads.prune([thread], strategy=strategy) == {"pruned_count": 0}

    open_door(door)
    assert (await server.ended(run))["status"] == "success"
    assert (await client.threads.get(thread))["values"]["log"] == ["begun", "held"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "thread_ids"),
        ({"thread_ids": "all"}, "thread_ids"),
        ({"thread_ids": ["x"]}, "thread_id"),
        ({"thread_ids": [""]}, "thread_ids[0]"),
        ({"thread_ids": [], "strategy": "melt"}, "strategy"),
        ({"thread_ids": [], "colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(server: Server, body: dict[str, Any], field: str) -> None:
    answer = await server.http.post("/threads/prune", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field
