"""Threads through the SDK: made, read, changed, deleted."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from agent_server_api import Server, served
from agent_server_gates import open_door
from langgraph_sdk.errors import ConflictError, NotFoundError, UnprocessableEntityError

from outlast.storage.postgres.checkpoints import thread_key
from waiting import until

STEPS = [
    {"updates": [{"values": {"log": ["given"]}, "command": None, "as_node": "__input__"}]},
    {"updates": [{"values": {"log": ["given"]}, "as_node": "__start__"}]},
    {"updates": [{"values": {"log": ["one"]}, "as_node": "one"}]},
]


async def test_a_new_thread_is_idle_and_empty(client: Any) -> None:
    thread = await client.threads.create()

    assert UUID(thread["thread_id"]).version == 7
    assert (thread["status"], thread["values"], thread["interrupts"]) == ("idle", None, {})
    assert (thread["metadata"], thread["config"], thread["error"]) == ({}, {}, None)
    assert thread["created_at"] <= thread["updated_at"]
    assert await client.threads.get(thread["thread_id"]) == thread


async def test_a_thread_has_the_id_and_the_metadata_that_were_asked_for(client: Any) -> None:
    wanted = str(uuid4())

    thread = await client.threads.create(thread_id=wanted.upper(), metadata={"a": {"b": [1]}}, graph_id="steps")

    assert thread["thread_id"] == wanted, "one id has one spelling"
    assert thread["metadata"] == {"a": {"b": [1]}, "graph_id": "steps"}
    assert (await client.threads.get(wanted.upper()))["thread_id"] == wanted


async def test_a_second_one_of_the_same_id_is_refused_or_is_the_first(client: Any) -> None:
    first = await client.threads.create(metadata={"n": 1})

    with pytest.raises(ConflictError, match="already exists"):
        await client.threads.create(thread_id=first["thread_id"])
    with pytest.raises(ConflictError):
        await client.threads.create(thread_id=first["thread_id"], if_exists="raise")
    again = await client.threads.create(thread_id=first["thread_id"], if_exists="do_nothing", metadata={"n": 2})
    assert again == first


async def test_many_at_once_with_one_id_are_one_thread(client: Any, server: Server) -> None:
    wanted = str(uuid4())

    made = await asyncio.gather(
        *(server.sdk.threads.create(thread_id=wanted) for _ in range(10)), return_exceptions=True
    )

    assert sum(isinstance(answer, dict) for answer in made) == 1
    assert sum(isinstance(answer, ConflictError) for answer in made) == 9


async def test_an_unknown_thread_is_not_found(client: Any) -> None:
    unknown = str(uuid4())
    for call in (
        client.threads.get(unknown),
        client.threads.update(unknown, metadata={}),
        client.threads.delete(unknown),
        client.threads.copy(unknown),
        client.threads.get_state(unknown),
        client.threads.get_history(unknown),
        client.threads.update_state(unknown, {"log": []}),
    ):
        with pytest.raises(NotFoundError):
            await call


async def test_an_id_that_is_no_uuid_is_refused_by_name(client: Any) -> None:
    with pytest.raises(UnprocessableEntityError, match="Invalid thread ID: must be a UUID"):
        await client.threads.create(thread_id="mine")
    for call in (client.threads.get("mine"), client.threads.delete("mine"), client.threads.get_state("mine")):
        with pytest.raises(UnprocessableEntityError, match="Invalid thread ID: must be a UUID"):
            await call


async def test_a_thread_that_was_named_elsewhere_is_reached_by_its_name(client: Any, server: Server) -> None:
    name = f"support case {uuid4()}"
    started = await server.http.post("/agent/run?wait=10", json={"agent": "steps", "input": {}, "thread_id": name})
    assert started.json()["status"] == "succeeded"

    thread = await client.threads.get(name)
    assert (thread["thread_id"], thread["values"]["log"]) == (name, ["one", "two", "three"])
    assert (await client.threads.get_state(name))["values"]["log"] == ["one", "two", "three"]
    assert [found["thread_id"] for found in await client.threads.search(ids=[name])] == [name]


async def test_a_change_merges_metadata_and_leaves_the_rest(client: Any) -> None:
    thread = await client.threads.create(metadata={"a": 1, "b": {"x": 1}})

    changed = await client.threads.update(thread["thread_id"], metadata={"b": {"y": 2}, "c": None})

    assert changed["metadata"] == {"a": 1, "b": {"y": 2}, "c": None}
    assert changed["updated_at"] > thread["updated_at"]
    assert changed["created_at"] == thread["created_at"]
    assert await client.threads.update(thread["thread_id"], metadata={"d": 1}, return_minimal=True) is None
    assert (await client.threads.get(thread["thread_id"]))["metadata"]["d"] == 1


async def test_a_thread_lives_as_long_as_it_was_told(client: Any) -> None:
    thread = await client.threads.create(ttl=30)
    assert "ttl" not in thread

    seen = await client.threads.get(thread["thread_id"], include=["ttl"])
    assert (seen["ttl"]["ttl_minutes"], seen["ttl"]["strategy"]) == (30.0, "delete")
    assert seen["ttl"]["expires_at"] > seen["updated_at"]

    await client.threads.update(thread["thread_id"], metadata={}, ttl={"ttl": 0.5, "strategy": "keep_latest"})
    changed = (await client.threads.get(thread["thread_id"], include=["ttl"]))["ttl"]
    assert (changed["ttl_minutes"], changed["strategy"]) == (0.5, "keep_latest")
    assert changed["expires_at"] < seen["ttl"]["expires_at"]

    touched = await client.threads.update(thread["thread_id"], metadata={"x": 1})
    again = (await client.threads.get(thread["thread_id"], include=["ttl"]))["ttl"]
    assert again["ttl_minutes"] == 0.5
    assert again["expires_at"] > changed["expires_at"], "what is touched lives on"
    assert touched["metadata"] == {"x": 1}
    without = await client.threads.create()
    assert (await client.threads.get(without["thread_id"], include=["ttl"]))["ttl"] is None


async def test_a_deleted_thread_is_gone_with_its_runs_and_its_state(client: Any, server: Server) -> None:
    thread = await client.threads.create()
    run = await client.runs.create(thread["thread_id"], "steps", input={})
    await server.ended(run)

    assert await client.threads.delete(thread["thread_id"]) is None

    with pytest.raises(NotFoundError):
        await client.threads.get(thread["thread_id"])
    with pytest.raises(NotFoundError):
        await client.threads.delete(thread["thread_id"])
    with pytest.raises(NotFoundError):
        await client.runs.get(thread["thread_id"], run["run_id"])
    assert await leftovers(server, thread["thread_id"]) == 0


async def leftovers(server: Server, thread_id: str) -> int:
    tables = ("runs", "thread_details", "checkpoints", "checkpoint_heads", "checkpoint_blobs", "checkpoint_lists")
    counts = " + ".join(
        f"(SELECT count(*) FROM {table} x WHERE x.thread_key = t.key)" for table in (*tables, "checkpoint_writes")
    )
    # Its name is forgotten with it.
    key = UUID(bytes=thread_key(thread_id))
    return (await server.rows(f"SELECT {counts} FROM threads t WHERE key = %s", key))[0][0]


async def test_a_deletion_stops_what_runs_and_nothing_of_it_comes_back(client: Any, server: Server) -> None:
    thread, door = await client.threads.create(), str(uuid4())
    run = await client.runs.create(thread["thread_id"], "hold", input={"at": door})
    await until(lambda: is_running(server, run))

    await client.threads.delete(thread["thread_id"])
    open_door(door)

    with pytest.raises(NotFoundError):
        await client.threads.get(thread["thread_id"])
    # The owner finds out at its next write; a run of another thread tells when that has happened at the latest.
    other = await client.threads.create()
    await server.ended(await client.runs.create(other["thread_id"], "steps", input={}))
    assert await leftovers(server, thread["thread_id"]) == 0


async def is_running(server: Server, run: Any) -> bool:
    return await server.status_of(run) == "running"


async def test_a_deleted_id_can_be_used_again_and_knows_nothing(client: Any, server: Server) -> None:
    thread = await client.threads.create(metadata={"old": True}, ttl=5)
    await server.ended(await client.runs.create(thread["thread_id"], "steps", input={}))
    await client.threads.delete(thread["thread_id"])

    again = await client.threads.create(thread_id=thread["thread_id"])

    assert (again["metadata"], again["values"], again["status"]) == ({}, None, "idle")
    assert again["created_at"] > thread["created_at"]
    assert (await client.threads.get(thread["thread_id"], include=["ttl"]))["ttl"] is None
    assert await client.threads.get_history(thread["thread_id"]) == []


async def test_a_run_leaves_values_and_says_whose_the_thread_is(client: Any, server: Server) -> None:
    thread = await client.threads.create(metadata={"kept": 1})

    await server.ended(await client.runs.create(thread["thread_id"], "steps", input={"log": ["in"]}))

    after = await client.threads.get(thread["thread_id"])
    assert after["values"]["log"] == ["in", "one", "two", "three"]
    assert (after["status"], after["interrupts"], after["error"]) == ("idle", {}, None)
    assistant = (await client.assistants.search(graph_id="steps"))[0]
    assert after["metadata"] == {"kept": 1, "graph_id": "steps", "assistant_id": assistant["assistant_id"]}
    assert after["state_updated_at"] > thread["state_updated_at"]


async def test_a_thread_is_busy_while_a_run_has_still_to_run(client: Any, server: Server) -> None:
    thread, door = await client.threads.create(), str(uuid4())
    run = await client.runs.create(thread["thread_id"], "hold", input={"at": door})
    assert (await client.threads.get(thread["thread_id"]))["status"] == "busy"

    open_door(door)
    await server.ended(run)

    assert (await client.threads.get(thread["thread_id"]))["status"] == "idle"


async def test_a_question_interrupts_a_thread_until_it_is_answered(client: Any, server: Server) -> None:
    thread = await client.threads.create()
    await server.ended(await client.runs.create(thread["thread_id"], "ask", input={}))

    asked = await client.threads.get(thread["thread_id"])
    assert asked["status"] == "interrupted"
    (task, (question,)) = next(iter(asked["interrupts"].items()))
    assert question["value"]["question"] == "which one?"
    state = await client.threads.get_state(thread["thread_id"])
    assert (state["tasks"][0]["id"], state["interrupts"][0]["id"]) == (task, question["id"])

    await server.ended(await client.runs.create(thread["thread_id"], "ask", command={"resume": "this"}))
    answered = await client.threads.get(thread["thread_id"])
    assert (answered["status"], answered["interrupts"]) == ("idle", {})
    assert answered["values"]["answers"] == ["this"]


async def test_a_failure_is_told_and_the_state_is_what_was_reached(client: Any, server: Server) -> None:
    thread = await client.threads.create()
    await server.ended(await client.runs.create(thread["thread_id"], "broken", input={}))

    failed = await client.threads.get(thread["thread_id"])

    assert failed["status"] == "error"
    assert "boom" in failed["error"]["message"]
    assert failed["values"]["log"] == ["begun"]
    assert (await client.threads.search(ids=[thread["thread_id"]]))[0]["values"] == failed["values"]


async def test_supersteps_make_a_state_with_its_history(client: Any) -> None:
    thread = await client.threads.create(graph_id="steps", supersteps=STEPS)

    assert thread["values"]["log"] == ["given", "one"]
    assert thread["status"] == "interrupted", "there is a step to do"
    state = await client.threads.get_state(thread["thread_id"])
    assert state["next"] == ["two"]
    history = await client.threads.get_history(thread["thread_id"])
    assert [item["values"]["log"] for item in history] == [["given", "one"], ["given"], []]


async def test_a_run_goes_on_from_supersteps(client: Any, server: Server) -> None:
    thread = await client.threads.create(graph_id="steps", supersteps=STEPS)

    await server.ended(await client.runs.create(thread["thread_id"], "steps", input=None))

    assert (await client.threads.get(thread["thread_id"]))["values"]["log"] == ["given", "one", "two", "three"]


async def test_a_command_in_a_superstep_updates_and_leads_on(client: Any) -> None:
    steps = [
        {"updates": [{"values": None, "command": {"update": {"log": ["said"]}, "goto": "three"}, "as_node": "one"}]}
    ]

    thread = await client.threads.create(graph_id="steps", supersteps=[*STEPS[:2], *steps])

    state = await client.threads.get_state(thread["thread_id"])
    assert state["values"]["log"] == ["given", "said"]
    assert "three" in state["next"]


@pytest.mark.parametrize(
    ("update", "words"),
    [
        ({"values": {"log": ["x"]}, "as_node": "four"}, "no node 'four'"),
        ({"values": "text", "as_node": "one"}, "values"),
        ({"values": {"log": "no list"}, "as_node": "one"}, "graph refuses"),
    ],
)
async def test_a_thread_whose_state_is_refused_is_not_made(
    client: Any, server: Server, update: dict[str, Any], words: str
) -> None:
    wanted = str(uuid4())

    with pytest.raises(UnprocessableEntityError, match=words):
        await client.threads.create(thread_id=wanted, graph_id="steps", supersteps=[{"updates": [update]}])

    with pytest.raises(NotFoundError):
        await client.threads.get(wanted)
    assert await client.threads.create(thread_id=wanted)


async def test_supersteps_need_a_graph(client: Any) -> None:
    with pytest.raises(UnprocessableEntityError, match="graph_id"):
        await client.threads.create(supersteps=STEPS)
    with pytest.raises(NotFoundError, match="gone"):
        await client.threads.create(graph_id="gone", supersteps=STEPS)


async def test_a_large_state_is_not_kept_twice_and_read_all_the_same(open_runtime: Any, databases: Any) -> None:
    from outlast.settings import ServerSettings

    url = await databases.create()
    async with served(open_runtime, url, server=ServerSettings(thread_values_bytes=100)) as server:
        thread = await server.sdk.threads.create()
        text = "x" * 1000
        await server.ended(await server.sdk.runs.create(thread["thread_id"], "steps", input={"log": [text]}))

        kept = await server.rows("SELECT values FROM thread_details")
        seen = await server.sdk.threads.get(thread["thread_id"])
        found = await server.sdk.threads.search()

    assert kept == [(None,)]
    assert seen["values"]["log"] == [text, "one", "two", "three"]
    assert [item["values"] for item in found] == [seen["values"]]
    await databases.leave(url)


async def test_what_a_thread_weighs_is_told_by_its_parts(server: Server) -> None:
    thread = await server.sdk.threads.create()
    empty = (await server.http.get(f"/threads/{thread['thread_id']}/storage")).json()
    assert (empty["total_bytes"], empty["checkpoints"]["count"]) == (0, 0)
    await server.ended(await server.sdk.runs.create(thread["thread_id"], "steps", input={"log": ["y" * 5000]}))

    weight = (await server.http.get(f"/threads/{thread['thread_id']}/storage")).json()

    assert weight["thread_id"] == thread["thread_id"]
    assert weight["checkpoints"]["count"] == len(await server.sdk.threads.get_history(thread["thread_id"], limit=100))
    assert weight["channel_values"]["by_channel"]["log"] > 5000
    assert weight["channel_values"]["bytes"] == sum(weight["channel_values"]["by_channel"].values())
    parts = ("checkpoints", "channel_values", "pending_writes")
    assert weight["total_bytes"] == sum(weight[part]["bytes"] for part in parts)
    stored = await server.rows(
        """SELECT (SELECT sum(octet_length(data)) FROM checkpoint_blobs b WHERE b.thread_key = t.key)::bigint
             + coalesce((SELECT sum(octet_length(items)) FROM checkpoint_lists l WHERE l.thread_key = t.key), 0)::bigint
             + (SELECT sum(octet_length(body) + octet_length(metadata::text)) FROM checkpoints c
                WHERE c.thread_key = t.key)::bigint
             + (SELECT sum(octet_length(body)) FROM checkpoint_writes w WHERE w.thread_key = t.key)::bigint
           FROM threads t WHERE thread_id = %s""",
        thread["thread_id"],
    )
    assert weight["total_bytes"] == stored[0][0], "every stored byte counts, and counts once"
    assert (await server.http.get(f"/threads/{uuid4()}/storage")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/threads", {"metadata": []}, "metadata"),
        ("POST", "/threads", {"thread_id": 5}, "thread_id"),
        ("POST", "/threads", {"if_exists": "maybe"}, "if_exists"),
        ("POST", "/threads", {"ttl": 0}, "ttl"),
        ("POST", "/threads", {"ttl": {"ttl": -1}}, "ttl"),
        ("POST", "/threads", {"ttl": {"ttl": 1, "strategy": "melt"}}, "ttl"),
        ("POST", "/threads", {"supersteps": [{"updates": []}]}, "supersteps"),
        ("POST", "/threads", {"meta": {}}, "meta"),
        ("PATCH", "/threads/{id}", {"metadata": 1}, "metadata"),
        ("PATCH", "/threads/{id}", {"ttl": "soon"}, "ttl"),
        ("GET", "/threads/{id}?include=everything", None, "include"),
    ],
)
async def test_a_wrong_field_is_named(server: Server, method: str, path: str, body: Any, field: str) -> None:
    thread = await server.sdk.threads.create()

    answer = await server.http.request(method, path.format(id=thread["thread_id"]), json=body)

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"].startswith(field)
