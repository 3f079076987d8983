"""The history of a thread through the SDK."""

from itertools import pairwise
from typing import Any
from uuid import uuid4

import pytest
from agent_server_api import Server, ran
from langgraph_sdk.errors import UnprocessableEntityError


def logs(states: list[dict[str, Any]]) -> list[list[str]]:
    return [state["values"].get("log", []) for state in states]


async def test_a_new_thread_has_no_history(client: Any, thread_id: str) -> None:
    assert await client.threads.get_history(thread_id) == []


async def test_the_newest_state_comes_first(client: Any, server: Server) -> None:
    thread = await ran(client, server)

    history = await client.threads.get_history(thread)

    assert logs(history) == [["one", "two", "three"], ["one", "two"], ["one"], [], []]
    assert history[0] == await client.threads.get_state(thread)
    for child, parent in pairwise(history):
        assert child["parent_checkpoint"] == parent["checkpoint"]
    assert history[-1]["parent_checkpoint"] is None
    assert [state["metadata"]["step"] for state in history] == [3, 2, 1, 0, -1]


async def test_a_history_is_as_long_as_asked(client: Any, server: Server) -> None:
    thread = await ran(client, server)

    assert logs(await client.threads.get_history(thread, limit=2)) == [["one", "two", "three"], ["one", "two"]]
    bare = await server.http.post(f"/threads/{thread}/history", json={})
    assert len(bare.json()) == 1, "the server's own limit"
    by_get = await server.http.get(f"/threads/{thread}/history", params={"limit": 3})
    assert logs(by_get.json()) == logs(await client.threads.get_history(thread, limit=3))


async def test_a_history_goes_on_before_a_state(client: Any, server: Server) -> None:
    thread = await ran(client, server)
    whole = await client.threads.get_history(thread)

    for before in (whole[1]["checkpoint"], whole[1]["checkpoint_id"]):
        assert await client.threads.get_history(thread, before=before) == whole[2:]
    by_get = await server.http.get(
        f"/threads/{thread}/history", params={"limit": 9, "before": whole[3]["checkpoint_id"]}
    )
    assert by_get.json() == whole[4:]
    assert await client.threads.get_history(thread, before=str(uuid4())) == []


async def test_a_long_history_is_read_in_pages(client: Any, server: Server) -> None:
    thread = await ran(client, server)
    for _ in range(3):
        await ran(client, server, thread=thread)
    whole = await client.threads.get_history(thread, limit=1000)

    read: list[dict[str, Any]] = []
    while page := await client.threads.get_history(thread, limit=3, before=read[-1]["checkpoint"] if read else None):
        read += page

    assert read == whole
    assert len(whole) == 20


async def test_states_are_found_by_their_metadata(client: Any, server: Server) -> None:
    thread = await ran(client, server, metadata={"word": "tea"})
    await ran(client, server, thread=thread, metadata={"word": "milk"})

    assert logs(await client.threads.get_history(thread, metadata={"step": 1, "source": "loop"})) == [["one"]]
    tea = await client.threads.get_history(thread, metadata={"word": "tea"})
    assert len(tea) == 5
    run_ids = {state["metadata"]["run_id"] for state in tea}
    assert len(run_ids) == 1
    assert await client.threads.get_history(thread, metadata={"run_id": run_ids.pop()}) == tea
    assert await client.threads.get_history(thread, metadata={"word": "coffee"}) == []


async def test_only_what_was_asked_for_is_returned(client: Any, server: Server) -> None:
    thread = await ran(client, server)

    assert await client.threads.get_history(thread, limit=2, select=["values.log", "next"]) == [
        {"values": {"log": ["one", "two", "three"]}, "next": []},
        {"values": {"log": ["one", "two"]}, "next": ["three"]},
    ]
    with pytest.raises(UnprocessableEntityError, match="no field"):
        await client.threads.get_history(thread, select=["colour"])


async def test_a_subgraph_has_a_history_of_its_own(client: Any, server: Server) -> None:
    thread = await ran(client, server, "nested_ask")
    inner = (await client.threads.get_state(thread))["tasks"][0]["checkpoint"]

    history = await client.threads.get_history(thread, checkpoint=inner)

    assert [state["next"] for state in history] == [["ask"], ["__start__"]]
    assert {state["checkpoint"]["checkpoint_ns"] for state in history} == {inner["checkpoint_ns"]}


async def test_both_lines_of_a_fork_stay_in_the_history(client: Any, server: Server) -> None:
    thread = await ran(client, server)
    older = (await client.threads.get_history(thread))[2]

    await client.threads.update_state(thread, {"log": ["forked"]}, as_node="one", checkpoint=older["checkpoint"])

    history = await client.threads.get_history(thread)
    assert logs(history)[:2] == [["one", "forked"], ["one", "two", "three"]]
    assert history[0]["parent_checkpoint"] == older["checkpoint"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"before": "x"}, "checkpoint_id"),
        ({"before": {"checkpoint_id": "x"}}, "checkpoint_id"),
        ({"before": {"thread_id": str(uuid4()), "checkpoint_id": str(uuid4())}}, "checkpoint.thread_id"),
        ({"metadata": "x"}, "metadata"),
        ({"colour": "red"}, "colour"),
    ],
)
async def test_a_wrong_field_is_named(server: Server, body: dict[str, Any], field: str) -> None:
    thread = await server.sdk.threads.create(graph_id="steps")

    answer = await server.http.post(f"/threads/{thread['thread_id']}/history", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field)
