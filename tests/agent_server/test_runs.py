"""Runs in the background: create, list, get, delete; what the graph is given."""

import re

import pytest
from agent_server_api import some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import (
    ConflictError,
    NotFoundError,
    UnprocessableEntityError,
)

from waiting import until

_UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


async def test_a_run_is_created_runs_and_is_shown(client, server, thread_id):
    created = await client.runs.create(
        thread_id, "steps", input={"log": ["start"]}, metadata={"a": 1}, config={"tags": ["x"], "recursion_limit": 7}
    )

    assert set(created) == {
        "run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata", "kwargs",
        "multitask_strategy", "cancel_reason",
    }  # fmt: skip
    assert _UUID.fullmatch(created["run_id"])
    assert created["thread_id"] == thread_id
    assert created["status"] in ("pending", "running")
    assert created["metadata"]["a"] == 1
    assert created["multitask_strategy"] == "enqueue"
    assert created["kwargs"]["input"] == {"log": ["start"]}
    assert created["kwargs"]["config"]["tags"] == ["x"]
    assert created["kwargs"]["config"]["recursion_limit"] == 7
    ended = await server.ended(created)
    assert ended["status"] == "success"
    assert ended["updated_at"] > created["created_at"]
    assert (await client.threads.get_state(thread_id))["values"]["log"] == ["start", "one", "two", "three"]


async def test_the_sdk_is_told_where_the_run_is(server, thread_id):
    seen = []
    await server.sdk.runs.create(thread_id, "agent", input={"messages": "hi"}, on_run_created=seen.append)
    await server.sdk.runs.create(None, "steps", input={"log": []}, on_run_created=seen.append)
    assert seen[0]["thread_id"] == thread_id
    assert _UUID.fullmatch(seen[0]["run_id"])
    assert seen[1]["thread_id"] is None
    assert _UUID.fullmatch(seen[1]["run_id"])


async def test_the_graph_gets_config_context_and_metadata(client, server, thread_id):
    values = await client.runs.wait(
        thread_id,
        "see",
        input={"given": 1},
        config={"configurable": {"tone": "dry"}, "tags": ["mine"]},
        metadata={"ticket": 7},
    )

    seen = values["seen"]
    run = (await client.runs.list(thread_id))[0]
    assert seen["configurable"]["tone"] == "dry"
    assert seen["context"]["tone"] == "dry", "config.configurable and context are two words for one thing"
    assert seen["configurable"]["thread_id"] == thread_id
    assert seen["configurable"]["run_id"] == run["run_id"]
    assert seen["configurable"]["graph_id"] == "see"
    assert seen["configurable"]["assistant_id"] == run["assistant_id"]
    assert seen["metadata"]["ticket"] == 7
    assert seen["metadata"]["run_id"] == run["run_id"]
    assert "mine" in seen["tags"]


async def test_an_assistants_settings_lie_below_the_requests(client, thread_id):
    settings = {"tone": "assistant", "mood": "assistant"}
    assistant = await client.assistants.create("see", config={"configurable": settings})
    values = await client.runs.wait(
        thread_id, assistant["assistant_id"], input={}, config={"configurable": {"mood": "request"}}
    )
    assert values["seen"]["configurable"]["tone"] == "assistant"
    assert values["seen"]["configurable"]["mood"] == "request"
    assert values["seen"]["configurable"]["assistant_id"] == assistant["assistant_id"]


async def test_what_the_context_has_no_place_for_is_in_the_configuration(client, thread_id):
    config = {"configurable": {"tone": "dry", "user": "ada"}}
    seen = (await client.runs.wait(thread_id, "see", input={}, config=config))["seen"]
    assert seen["context"]["tone"] == "dry"
    assert seen["configurable"]["user"] == "ada"


async def test_context_and_configurable_that_differ_are_refused(client, thread_id):
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.runs.create(thread_id, "see", context={"a": 1}, config={"configurable": {"a": 2}})
    assert refused.value.body["field"] == "context"


async def test_runs_of_a_thread_are_listed_newest_first(client, server, thread_id):
    runs = [await client.runs.create(thread_id, "steps", input={"log": [n]}) for n in range(4)]
    for run in runs:
        await server.ended(run)
    ids = [run["run_id"] for run in reversed(runs)]

    assert [run["run_id"] for run in await client.runs.list(thread_id)] == ids
    assert [run["run_id"] for run in await client.runs.list(thread_id, limit=2, offset=1)] == ids[1:3]
    assert await client.runs.list(thread_id, status="error") == []
    assert len(await client.runs.list(thread_id, status="success")) == 4
    chosen = await client.runs.list(thread_id, limit=1, select=["run_id", "status"])
    assert chosen == [{"run_id": ids[0], "status": "success"}]


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 1001}, "limit"),
        ({"offset": -1}, "offset"),
        ({"offset": 2**63}, "offset"),
        ({"status": "done"}, "status"),
        ({"select": "secrets"}, "select"),
    ],
)
async def test_a_wrong_page_is_named(server, thread_id, parameters, field):
    response = await server.http.get(f"/threads/{thread_id}/runs", params=parameters)
    assert response.status_code == 422
    assert response.json()["field"].startswith(field)


async def test_what_is_not_there_is_404(client, server, thread_id):
    nobody = some_id()
    run = await client.runs.create(thread_id, "steps", input={})
    other = await client.threads.create()
    for call in (
        lambda: client.runs.get(thread_id, nobody),
        lambda: client.runs.get(nobody, run["run_id"]),
        lambda: client.runs.get(other["thread_id"], run["run_id"]),
        lambda: client.runs.delete(thread_id, nobody),
        lambda: client.runs.delete(other["thread_id"], run["run_id"]),
        lambda: client.runs.cancel(thread_id, nobody),
        lambda: client.runs.cancel(other["thread_id"], run["run_id"]),
        lambda: client.runs.list(nobody),
        lambda: client.runs.create(nobody, "steps", input={}),
        lambda: client.runs.create(thread_id, "nobody", input={}),
        lambda: client.runs.create(thread_id, nobody, input={}),
    ):
        with pytest.raises(NotFoundError):
            await call()
    await server.ended(run)


@pytest.mark.parametrize("path", ["/threads/x/runs", "/threads/{thread}/runs/x", "/threads/{thread}/runs/x/join"])
async def test_an_id_that_is_none_is_named(server, thread_id, path):
    response = await server.http.get(path.format(thread=thread_id))
    assert response.status_code == 422
    assert "must be a UUID" in response.json()["detail"]


async def test_a_thread_is_made_when_that_is_asked_for(client, server):
    thread_id = some_id()
    run = await client.runs.create(thread_id, "steps", input={}, if_not_exists="create")
    assert run["thread_id"] == thread_id
    await server.ended(run)
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "idle"
    assert thread["metadata"]["graph_id"] == "steps"
    assert thread["metadata"]["assistant_id"] == run["assistant_id"]


async def test_an_id_in_capitals_is_the_same_thread(client, server, thread_id):
    run = await client.runs.create(thread_id.upper(), "steps", input={})
    assert run["thread_id"] == thread_id
    await server.ended(run)
    assert [found["run_id"] for found in await client.runs.list(thread_id)] == [run["run_id"]]


async def test_a_later_run_waits_for_its_time(client, server, thread_id):
    later = await client.runs.create(thread_id, "steps", input={}, after_seconds=3600)
    now = await client.runs.create(thread_id, "steps", input={})
    assert (await server.ended(now))["status"] == "success", "a run that is due later keeps nobody back"
    assert await server.status_of(later) == "pending"
    assert (await client.threads.get(thread_id))["status"] == "busy"
    await client.runs.cancel(thread_id, later["run_id"])


async def test_a_run_that_is_due_soon_runs_by_itself(client, server, thread_id):
    soon = await client.runs.create(thread_id, "steps", input={}, after_seconds=1)
    assert await server.status_of(soon) == "pending"
    assert (await server.ended(soon))["status"] == "success"


async def test_a_failure_is_the_runs_status(client, server, thread_id):
    run = await client.runs.create(thread_id, "broken", input={})
    assert (await server.ended(run))["status"] == "error"
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "error"
    assert thread["error"]["error"] == "ValueError"


async def test_a_deleted_run_is_gone_and_its_state_stays(client, server, thread_id):
    run = await client.runs.create(thread_id, "steps", input={})
    await server.ended(run)
    await client.runs.delete(thread_id, run["run_id"])
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, run["run_id"])
    with pytest.raises(NotFoundError):
        await client.runs.delete(thread_id, run["run_id"])
    assert (await client.threads.get_state(thread_id))["values"]["log"] == ["one", "two", "three"]


async def test_a_running_run_is_stopped_before_it_is_deleted(client, server, thread_id):
    door = some_id()
    running = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    behind = await client.runs.create(thread_id, "steps", input={})
    await client.runs.delete(thread_id, running["run_id"])
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, running["run_id"])
    assert (await server.ended(behind))["status"] == "success"


async def test_a_pending_run_is_deleted_and_the_next_one_runs(client, server, thread_id):
    door = some_id()
    running = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    behind = [await client.runs.create(thread_id, "steps", input={"log": [n]}) for n in range(2)]
    await client.runs.delete(thread_id, behind[0]["run_id"])
    open_door(door)
    for run in (running, behind[1]):
        assert (await server.ended(run))["status"] == "success"
    assert 0 not in (await client.threads.get_state(thread_id))["values"]["log"]


async def test_one_key_is_one_run(server, thread_id):
    body = {"assistant_id": "steps", "input": {"log": ["once"]}}
    headers = {"Idempotency-Key": some_id()}
    path = f"/threads/{thread_id}/runs"
    first, again = [await server.http.post(path, json=body, headers=headers) for _ in range(2)]
    assert first.json()["run_id"] == again.json()["run_id"]
    assert len(await server.sdk.runs.list(thread_id)) == 1
    other = await server.http.post(path, json={**body, "input": None}, headers=headers)
    assert other.status_code == 409


async def test_a_run_starts_from_an_older_checkpoint(client, server, thread_id):
    await client.runs.wait(thread_id, "steps", input={"log": ["first"]})
    history = await client.threads.get_history(thread_id)
    after_one = next(state for state in history if state["values"].get("log") == ["first", "one"])

    replayed = await client.runs.wait(thread_id, "steps", checkpoint_id=after_one["checkpoint"]["checkpoint_id"])
    assert replayed["log"] == ["first", "one", "two", "three"]
    forked = await client.runs.wait(thread_id, "steps", input={"log": ["again"]}, checkpoint=after_one["checkpoint"])
    assert forked["log"][:3] == ["first", "one", "again"]
    configured = await client.runs.wait(
        thread_id,
        "steps",
        config={"configurable": {"checkpoint_id": after_one["checkpoint"]["checkpoint_id"]}},
    )
    assert configured["log"] == ["first", "one", "two", "three"]


@pytest.mark.parametrize(
    "body",
    [
        {"checkpoint": {"thread_id": "11111111-1111-4111-8111-111111111111", "checkpoint_id": "x"}},
        {"config": {"configurable": {"thread_id": "11111111-1111-4111-8111-111111111111"}}},
    ],
)
async def test_another_threads_checkpoint_is_refused(server, thread_id, body):
    response = await server.http.post(f"/threads/{thread_id}/runs", json={"assistant_id": "steps", **body})
    assert response.status_code == 422
    assert response.json()["field"].endswith("thread_id")


async def test_a_breakpoint_of_the_request_stops_the_run_and_a_run_without_input_goes_on(client, server, thread_id):
    stopped = await client.runs.wait(thread_id, "steps", input={"log": []}, interrupt_before=["two"])
    assert stopped["log"] == ["one"]
    assert "__interrupt__" not in stopped
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    assert (await client.threads.get_state(thread_id))["next"] == ["two"]
    after = await client.runs.wait(thread_id, "steps", input=None, interrupt_after=["two"])
    assert after["log"] == ["one", "two"]
    assert (await client.runs.wait(thread_id, "steps", input=None))["log"] == ["one", "two", "three"]
    assert (await client.threads.get(thread_id))["status"] == "idle"


async def test_every_node_can_be_a_breakpoint(client, thread_id):
    stopped = await client.runs.wait(thread_id, "steps", input={"log": []}, interrupt_after="*")
    assert stopped["log"] == ["one"]


async def test_a_command_goes_to_a_node_with_an_update(client, thread_id):
    await client.runs.wait(thread_id, "steps", input={"log": []})
    values = await client.runs.wait(thread_id, "steps", command={"update": {"log": ["told"]}, "goto": "three"})
    assert values["log"] == ["one", "two", "three", "told", "three"]
    sent = await client.runs.wait(
        thread_id, "steps", command={"update": [["log", ["pair"]]], "goto": [{"node": "two", "input": {}}]}
    )
    assert "pair" in sent["log"]
    assert sent["log"][-2:] == ["two", "three"]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_durability_decides_how_many_checkpoints_there_are(client, server, thread_id, durability):
    await client.runs.wait(thread_id, "steps", input={"log": []}, durability=durability)
    states = await client.threads.get_history(thread_id, limit=20)
    assert states[0]["values"]["log"] == ["one", "two", "three"]
    assert len(states) == (1 if durability == "exit" else 5)
    run = (await client.runs.list(thread_id))[0]
    assert run["kwargs"]["durability"] == durability


async def test_a_quarantined_thread_takes_no_run(server, thread_id):
    await server.rows("UPDATE threads SET quarantine_reason = 'test' WHERE thread_id = %s", thread_id)
    with pytest.raises(ConflictError) as refused:
        await server.sdk.runs.create(thread_id, "steps", input={})
    assert refused.value.body["code"] == "thread_quarantined"
