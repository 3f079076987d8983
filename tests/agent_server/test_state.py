"""The state of a thread through the SDK: read, read at a checkpoint, changed."""

import asyncio
from typing import Any
from uuid import uuid4

import pytest
from agent_server_api import Server, ran
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

EMPTY = {
    "values": {}, "next": [], "tasks": [], "metadata": None, "created_at": None, "checkpoint": None,
    "parent_checkpoint": None, "interrupts": [], "checkpoint_id": None, "parent_checkpoint_id": None,
}  # fmt: skip


async def test_a_new_thread_has_an_empty_state(client: Any, thread_id: str) -> None:
    assert await client.threads.get_state(thread_id) == EMPTY
    assert await client.threads.get_state(thread_id, checkpoint={"thread_id": thread_id}) == EMPTY
    graph = await client.threads.create(graph_id="steps")
    assert await client.threads.get_state(graph["thread_id"]) == EMPTY


async def test_a_state_says_where_it_stands(client: Any, server: Server) -> None:
    thread = await ran(client, server, input={"log": ["in"]})

    state = await client.threads.get_state(thread)

    assert state["values"]["log"] == ["in", "one", "two", "three"]
    assert (state["next"], state["tasks"], state["interrupts"]) == ([], [], [])
    assert state["checkpoint"] == {
        "thread_id": thread, "checkpoint_ns": "", "checkpoint_id": state["checkpoint_id"]
    }  # fmt: skip
    assert state["parent_checkpoint"]["checkpoint_id"] == state["parent_checkpoint_id"]
    assert state["metadata"]["step"] == 3
    assert state["metadata"]["graph_id"] == "steps"
    assert state["created_at"]
    assert not {"configurable", "langgraph_auth_user"} & state["metadata"].keys()


async def test_messages_are_told_as_clients_know_them(client: Any, server: Server) -> None:
    thread = await ran(client, server, "agent", input={"messages": [{"role": "user", "content": "hello"}]})

    human, ai = (await client.threads.get_state(thread))["values"]["messages"]

    assert (human["type"], human["content"]) == ("human", "hello")
    assert (ai["type"], ai["content"], ai["tool_calls"]) == ("ai", "1: hello", [])
    assert (await client.threads.get(thread))["values"]["messages"] == [human, ai]


async def test_an_older_state_is_read_by_its_checkpoint(client: Any, server: Server) -> None:
    thread = await ran(client, server)
    older = (await client.threads.get_history(thread, limit=10))[2]
    assert older["values"]["log"] == ["one"]

    by_id = await client.threads.get_state(thread, checkpoint_id=older["checkpoint_id"])
    by_checkpoint = await client.threads.get_state(thread, checkpoint=older["checkpoint"])

    assert by_id == by_checkpoint == older
    assert by_id["next"] == ["two"]
    assert [task["name"] for task in by_id["tasks"]] == ["two"]
    assert by_id["tasks"][0]["result"]["log"] == ["two"]


async def test_a_checkpoint_that_is_not_there_is_not_found(client: Any, server: Server) -> None:
    thread, other = await ran(client, server), await ran(client, server)
    foreign = (await client.threads.get_state(other))["checkpoint_id"]

    for checkpoint_id in (str(uuid4()), foreign):
        with pytest.raises(NotFoundError, match="checkpoint"):
            await client.threads.get_state(thread, checkpoint_id=checkpoint_id)
        with pytest.raises(NotFoundError, match="checkpoint"):
            await client.threads.update_state(thread, {"log": []}, checkpoint_id=checkpoint_id)
    with pytest.raises(UnprocessableEntityError, match="must be a UUID"):
        await client.threads.get_state(thread, checkpoint_id="first")
    with pytest.raises(UnprocessableEntityError, match="another thread"):
        await client.threads.get_state(thread, checkpoint={"thread_id": other})


async def test_only_what_was_asked_for_is_returned(client: Any, server: Server) -> None:
    thread = await ran(client, server)

    assert await client.threads.get_state(thread, select=["next", "values.log"]) == {
        "next": [], "values": {"log": ["one", "two", "three"]}
    }  # fmt: skip
    assert await client.threads.get_state(thread, select=["values.none"]) == {"values": {}}
    checkpoint = await client.threads.get_state(thread, select=["checkpoint"])
    assert set(checkpoint) == {"checkpoint", "checkpoint_id"}
    by_checkpoint = await client.threads.get_state(thread, checkpoint=checkpoint["checkpoint"], select=["metadata"])
    assert set(by_checkpoint) == {"metadata"}
    for wrong in ("colour", "values.", "next.one"):
        with pytest.raises(UnprocessableEntityError, match="no field"):
            await client.threads.get_state(thread, select=[wrong])


async def test_a_question_is_part_of_the_state(client: Any, server: Server) -> None:
    thread = await ran(client, server, "ask_two")

    state = await client.threads.get_state(thread)

    assert sorted(state["next"]) == ["left", "right"]
    asked = {task["name"]: task["interrupts"] for task in state["tasks"]}
    assert {name: [question["value"] for question in questions] for name, questions in asked.items()} == {
        "left": ["left"], "right": ["right"]
    }  # fmt: skip
    assert {question["id"] for question in state["interrupts"]} == {
        question["id"] for questions in asked.values() for question in questions
    }


async def test_a_failed_task_says_why(client: Any, server: Server) -> None:
    thread = await ran(client, server, "broken")

    state = await client.threads.get_state(thread)

    assert state["next"] == ["break"]
    assert "boom" in state["tasks"][0]["error"]


async def test_a_subgraph_s_state_is_told_when_asked(client: Any, server: Server) -> None:
    thread = await ran(client, server, "nested_ask")

    outside = await client.threads.get_state(thread)
    (task,) = outside["tasks"]
    assert (task["name"], task["state"]) == ("sub", None)
    assert task["checkpoint"]["checkpoint_ns"].startswith("sub:")

    inside = (await client.threads.get_state(thread, subgraphs=True))["tasks"][0]["state"]
    assert inside["values"]["log"] == ["before"]
    assert inside["next"] == ["ask"]
    addressed = await client.threads.get_state(thread, checkpoint=task["checkpoint"])
    assert addressed["values"] == inside["values"]
    assert addressed["next"] == ["ask"]
    assert addressed["checkpoint"]["checkpoint_ns"] == task["checkpoint"]["checkpoint_ns"]


async def test_a_change_is_a_new_state_of_the_thread(client: Any, server: Server) -> None:
    thread = await ran(client, server)
    before = await client.threads.get(thread)

    answer = await client.threads.update_state(thread, {"log": ["by hand"]}, as_node="three")

    state = await client.threads.get_state(thread)
    assert state["checkpoint"] == answer["checkpoint"] == answer["configurable"]
    assert state["checkpoint_id"] == answer["checkpoint_id"]
    assert state["values"]["log"] == ["one", "two", "three", "by hand"]
    assert state["metadata"]["source"] == "update"
    after = await client.threads.get(thread)
    assert after["values"] == state["values"]
    assert after["state_updated_at"] > before["state_updated_at"]


async def test_a_new_thread_can_be_given_a_state(client: Any) -> None:
    thread = await client.threads.create(graph_id="steps")

    await client.threads.update_state(thread["thread_id"], {"log": ["x"]}, as_node="one")

    after = await client.threads.get(thread["thread_id"])
    assert (after["values"]["log"], after["status"]) == (["x"], "interrupted")
    assert (await client.threads.get_state(thread["thread_id"]))["next"] == ["two"]


async def test_a_change_as_a_node_decides_what_comes_next(client: Any, server: Server) -> None:
    thread = await ran(client, server)

    await client.threads.update_state(thread, {"log": ["again"]}, as_node="one")
    assert (await client.threads.get(thread))["status"] == "interrupted"
    await server.ended(await client.runs.create(thread, "steps", input=None))

    after = await client.threads.get(thread)
    assert after["values"]["log"] == ["one", "two", "three", "again", "two", "three"]
    assert after["status"] == "idle"


async def test_nothing_at_the_end_clears_what_was_to_come(client: Any, server: Server) -> None:
    thread = await ran(client, server, "ask")
    assert (await client.threads.get(thread))["interrupts"]

    await client.threads.update_state(thread, None, as_node="__end__")

    after = await client.threads.get(thread)
    assert (after["status"], after["interrupts"]) == ("idle", {})
    assert (await client.threads.get_state(thread))["next"] == []


async def test_a_change_at_an_open_question_keeps_the_thread_interrupted(client: Any, server: Server) -> None:
    thread = await ran(client, server, "ask")

    await client.threads.update_state(thread, {"log": ["more"]})

    after = await client.threads.get(thread)
    assert after["status"] == "interrupted"
    assert after["interrupts"] == {}, "the question was asked of another state"
    await server.ended(await client.runs.create(thread, "ask", input=None))
    (questions,) = (await client.threads.get(thread))["interrupts"].values()
    assert questions[0]["value"]["log"] == ["begun", "more"]


async def test_a_change_of_an_older_state_is_a_fork(client: Any, server: Server) -> None:
    thread = await ran(client, server)
    older = (await client.threads.get_history(thread, limit=10))[2]

    for at in ({"checkpoint": older["checkpoint"]}, {"checkpoint_id": older["checkpoint_id"]}):
        answer = await client.threads.update_state(thread, {"log": ["forked"]}, as_node="one", **at)
        state = await client.threads.get_state(thread)
        assert state["checkpoint_id"] == answer["checkpoint_id"]
        assert state["parent_checkpoint_id"] == older["checkpoint_id"]
        assert state["values"]["log"] == ["one", "forked"]
    await server.ended(await client.runs.create(thread, "steps", input=None))
    assert (await client.threads.get(thread))["values"]["log"] == ["one", "forked", "two", "three"]


async def test_a_subgraph_s_state_can_be_changed(client: Any, server: Server) -> None:
    thread = await ran(client, server, "nested_ask")
    inner = (await client.threads.get_state(thread))["tasks"][0]["checkpoint"]

    answer = await client.threads.update_state(thread, {"log": ["inside"]}, checkpoint=inner)

    assert answer["checkpoint"]["thread_id"] == thread
    changed = (await client.threads.get_state(thread, subgraphs=True))["tasks"][0]["state"]
    assert changed["values"]["log"] == ["before", "inside"]


@pytest.mark.parametrize(
    ("values", "as_node", "words"),
    [
        ({"log": ["x"]}, "four", "no node 'four'; it has one, two, three"),
        ({"log": 5}, "one", "the graph refuses this update"),
        ([{"log": ["x"]}], "one", "the graph refuses this update"),
    ],
)
async def test_a_change_that_the_graph_refuses_changes_nothing(
    client: Any, server: Server, values: Any, as_node: str, words: str
) -> None:
    thread = await ran(client, server)
    before = await client.threads.get_state(thread)

    with pytest.raises(UnprocessableEntityError, match=words):
        await client.threads.update_state(thread, values, as_node=as_node)

    assert await client.threads.get_state(thread) == before


async def test_an_ambiguous_change_names_the_remedy(client: Any, server: Server) -> None:
    thread = await ran(client, server, "ask_two")
    answers = {question["id"]: "x" for question in (await client.threads.get_state(thread))["interrupts"]}
    await server.ended(await client.runs.create(thread, "ask_two", command={"resume": answers}))

    with pytest.raises(UnprocessableEntityError, match="as_node"):
        await client.threads.update_state(thread, {"answers": ["x"]})


async def test_a_thread_of_a_graph_that_has_gone_says_so(client: Any) -> None:
    thread = await client.threads.create(graph_id="gone")

    with pytest.raises(NotFoundError, match="gone"):
        await client.threads.get_state(thread["thread_id"])
    with pytest.raises(NotFoundError, match="gone"):
        await client.threads.update_state(thread["thread_id"], {})
    assert (await client.threads.get(thread["thread_id"]))["values"] is None


async def test_a_change_needs_a_graph(client: Any, thread_id: str) -> None:
    with pytest.raises(UnprocessableEntityError, match="graph_id"):
        await client.threads.update_state(thread_id, {"log": ["x"]})


async def test_a_state_without_keys_is_told_as_it_is(client: Any, server: Server) -> None:
    thread = await ran(client, server, "echo", input="word")

    assert (await client.threads.get_state(thread))["values"] == {"got": "word"}


async def test_only_one_of_two_changes_at_once_of_one_state_wins(server: Server) -> None:
    thread = await ran(server.sdk, server)
    changes = [server.sdk.threads.update_state(thread, {"log": [str(n)]}, as_node="three") for n in range(6)]

    answers = await asyncio.gather(*changes, return_exceptions=True)

    won = [answer for answer in answers if isinstance(answer, dict)]
    assert all(isinstance(answer, dict | ConflictError) for answer in answers)
    state = await server.sdk.threads.get_state(thread)
    assert len(state["values"]["log"]) == 3 + len(won), "whoever was told that it is stored, is"
    assert (await server.sdk.threads.get(thread))["values"] == state["values"]


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("GET", "/state?select=colour", None, "select"),
        ("GET", "/state?subgraphs=maybe", None, "subgraphs"),
        ("POST", "/state", {"values": 5}, "values"),
        ("POST", "/state", {"valves": {}}, "valves"),
        ("POST", "/state", {"values": {}, "as_node": ""}, "as_node"),
        ("POST", "/state", {"values": {}, "checkpoint_id": "x"}, "checkpoint_id"),
        ("POST", "/state", {"values": {}, "checkpoint": {"checkpoint_ns": "a\0b"}}, "checkpoint.checkpoint_ns"),
        ("POST", "/state/checkpoint", {}, "checkpoint"),
        ("POST", "/state/checkpoint", {"checkpoint": {"id": "x"}}, "checkpoint.id"),
    ],
)
async def test_a_wrong_field_is_named(
    server: Server, thread_id: str, *, method: str, path: str, body: Any, field: str
) -> None:
    answer = await server.http.request(method, f"/threads/{thread_id}{path}", json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field)
