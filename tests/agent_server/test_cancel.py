"""Runs that are asked to end: one, some, all."""

import pytest
from agent_server_api import some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import ConflictError, NotFoundError

from waiting import until


async def held(client, thread_id, **fields):
    """Start a run that stands at a door."""
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door}, **fields)
    await until(lambda: has_arrived(door))
    return run, door


async def test_a_running_run_is_interrupted_and_what_it_wrote_stays(client, server, thread_id):
    run, _ = await held(client, thread_id)
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert await server.status_of(run) == "interrupted"
    assert (await client.threads.get(thread_id))["status"] == "interrupted"
    state = await client.threads.get_state(thread_id)
    assert state["values"]["log"] == ["begun"]
    assert state["next"] == ["hold"]


async def test_without_wait_the_answer_comes_at_once(server, thread_id):
    run, _ = await held(server.sdk, thread_id)
    response = await server.http.post(f"/threads/{thread_id}/runs/{run['run_id']}/cancel")
    assert response.status_code == 202
    assert response.content == b""
    assert (await server.ended(run))["status"] == "interrupted"


async def test_with_wait_the_answer_is_200(server, thread_id):
    run, _ = await held(server.sdk, thread_id)
    response = await server.http.post(f"/threads/{thread_id}/runs/{run['run_id']}/cancel", params={"wait": "1"})
    assert response.status_code == 200
    assert response.json() is None
    assert await server.status_of(run) == "interrupted"


async def test_a_run_that_goes_on_after_a_cancelled_one_starts_where_it_stood(client, server, thread_id):
    run, _ = await held(client, thread_id)
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    again = await client.runs.create(thread_id, "steps", input={"log": ["new"]})
    await server.ended(again)
    assert (await client.threads.get_state(thread_id))["values"]["log"] == ["begun", "new", "one", "two", "three"]


async def test_a_pending_run_is_cancelled_at_once(client, server, thread_id):
    front, door = await held(client, thread_id)
    behind = await client.runs.create(thread_id, "steps", input={})
    await client.runs.cancel(thread_id, behind["run_id"], wait=True)
    assert await server.status_of(behind) == "interrupted"
    assert await server.status_of(front) == "running"
    open_door(door)
    assert (await server.ended(front))["status"] == "success"


@pytest.mark.parametrize("agent", ["steps", "broken", "ask"])
async def test_what_has_ended_cannot_be_cancelled(client, server, thread_id, agent):
    run = await client.runs.create(thread_id, agent, input={})
    ended = await server.ended(run)
    with pytest.raises(ConflictError) as refused:
        await client.runs.cancel(thread_id, run["run_id"])
    assert refused.value.body["code"] == "run_ended"
    assert refused.value.body["run_id"] == run["run_id"]
    assert await server.status_of(run) == ended["status"]


async def test_the_reason_is_kept(server, thread_id):
    run, _ = await held(server.sdk, thread_id)
    path = f"/threads/{thread_id}/runs/{run['run_id']}/cancel"
    assert (await server.http.post(path, params={"reason": "taken", "action": "rollback"})).status_code == 422
    assert (await server.http.post(path, params={"reason": "because"})).status_code == 422
    assert (await server.http.post(path, params={"reason": "taken"})).status_code == 202
    assert (await server.ended(run))["cancel_reason"].startswith("taken:")


async def test_named_runs_are_cancelled(client, server, thread_id):
    front, _ = await held(client, thread_id)
    behind = [await client.runs.create(thread_id, "steps", input={}) for _ in range(3)]
    await client.runs.cancel_many(thread_id=thread_id, run_ids=[front["run_id"], behind[1]["run_id"]])
    assert (await server.ended(front))["status"] == "interrupted"
    assert await server.status_of(behind[1]) == "interrupted"
    for run in (behind[0], behind[2]):
        assert (await server.ended(run))["status"] == "success"


@pytest.mark.parametrize(
    ("status", "after"),
    [
        ("pending", ("success", "interrupted")),
        ("running", ("interrupted", "success")),
        ("all", ("interrupted", "interrupted")),
    ],
)
async def test_runs_of_a_status_are_cancelled(client, server, thread_id, status, after):
    front, door = await held(client, thread_id)
    behind = await client.runs.create(thread_id, "steps", input={})
    await client.runs.cancel_many(status=status)
    open_door(door)
    assert ((await server.ended(front))["status"], (await server.ended(behind))["status"]) == after


async def test_none_to_cancel_is_404(client, server, thread_id):
    run = await client.runs.create(thread_id, "steps", input={})
    await server.ended(run)
    with pytest.raises(NotFoundError):
        await client.runs.cancel_many(thread_id=thread_id, run_ids=[run["run_id"]])
    with pytest.raises(NotFoundError):
        await client.runs.cancel_many(thread_id=thread_id, run_ids=[some_id()])


@pytest.mark.parametrize("body", [{}, {"run_ids": []}, {"status": "done"}, {"run_ids": ["x"]}, {"all": True}])
async def test_which_runs_must_be_said(server, body):
    assert (await server.http.post("/runs/cancel", json=body)).status_code == 422


async def test_a_run_that_is_due_later_can_be_cancelled(client, server, thread_id):
    run = await client.runs.create(thread_id, "steps", input={}, after_seconds=3600)
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert await server.status_of(run) == "interrupted"
    assert (await client.threads.get(thread_id))["status"] == "idle", "it had not begun"
