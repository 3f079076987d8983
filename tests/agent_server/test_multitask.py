"""What happens to the unfinished runs of a thread when another one comes."""

import pytest
from agent_server_api import some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import ConflictError, NotFoundError

from waiting import until


@pytest.fixture
async def standing(client, thread_id):
    """A run at a door, and one behind it."""
    door = some_id()
    front = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    behind = await client.runs.create(thread_id, "steps", input={"log": ["behind"]})
    yield front, behind, door
    open_door(door)


async def test_enqueue_waits_for_its_turn(client, server, thread_id, standing):
    front, behind, door = standing
    new = await client.runs.create(thread_id, "steps", input={"log": ["new"]}, multitask_strategy="enqueue")
    assert new["status"] == "pending"
    open_door(door)
    for run in (front, behind, new):
        assert (await server.ended(run))["status"] == "success"
    log = (await client.threads.get_state(thread_id))["values"]["log"]
    assert log == ["begun", "held", "behind", "one", "two", "three", "new", "one", "two", "three"]


async def test_reject_is_409_and_changes_nothing(client, server, thread_id, standing):
    front, behind, door = standing
    with pytest.raises(ConflictError) as refused:
        await client.runs.create(thread_id, "steps", input={}, multitask_strategy="reject")
    assert refused.value.body["code"] == "thread_busy"
    assert refused.value.body["run_id"] == front["run_id"]
    assert refused.value.body["run_status"] == "running"
    assert len(await client.runs.list(thread_id)) == 2
    open_door(door)
    for run in (front, behind):
        assert (await server.ended(run))["status"] == "success"


async def test_reject_runs_when_nothing_is_there(client, server, thread_id):
    for _ in range(2):
        run = await client.runs.create(thread_id, "steps", input={}, multitask_strategy="reject")
        assert (await server.ended(run))["status"] == "success"


async def test_interrupt_stops_the_others_and_keeps_what_they_wrote(client, server, thread_id, standing):
    front, behind, _ = standing
    new = await client.runs.create(thread_id, "steps", input={"log": ["new"]}, multitask_strategy="interrupt")
    assert (await server.ended(new))["status"] == "success"
    for run in (front, behind):
        ended = await server.ended(run)
        assert ended["status"] == "interrupted"
        assert new["run_id"] in ended["cancel_reason"]
    log = (await client.threads.get_state(thread_id))["values"]["log"]
    assert log == ["begun", "new", "one", "two", "three"]


async def test_rollback_leaves_nothing_of_the_others(client, server, thread_id, standing):
    front, behind, _ = standing
    new = await client.runs.create(thread_id, "steps", input={"log": ["new"]}, multitask_strategy="rollback")
    assert (await server.ended(new))["status"] == "success"
    for run in (front, behind):
        with pytest.raises(NotFoundError):
            await client.runs.get(thread_id, run["run_id"])
    assert [run["run_id"] for run in await client.runs.list(thread_id)] == [new["run_id"]]
    assert (await client.threads.get_state(thread_id))["values"]["log"] == ["new", "one", "two", "three"]
    runs = {state["metadata"]["run_id"] for state in await client.threads.get_history(thread_id, limit=50)}
    assert runs == {new["run_id"]}


@pytest.mark.parametrize("strategy", ["interrupt", "rollback"])
async def test_a_run_that_is_due_later_makes_way(client, server, thread_id, strategy):
    later = await client.runs.create(thread_id, "steps", input={"log": ["later"]}, after_seconds=3600)
    new = await client.runs.create(thread_id, "steps", input={"log": ["new"]}, multitask_strategy=strategy)
    assert (await server.ended(new))["status"] == "success"
    if strategy == "interrupt":
        assert await server.status_of(later) == "interrupted"
    else:
        with pytest.raises(NotFoundError):
            await client.runs.get(thread_id, later["run_id"])


async def test_reject_counts_a_run_that_is_due_later(client, thread_id):
    later = await client.runs.create(thread_id, "steps", input={}, after_seconds=3600)
    with pytest.raises(ConflictError) as refused:
        await client.runs.create(thread_id, "steps", input={}, multitask_strategy="reject")
    assert refused.value.body["run_id"] == later["run_id"]
    await client.runs.cancel(thread_id, later["run_id"])


async def plain_run_that_waits(server, thread_id):
    """Ask a question by a run of `/agent`, which stays until it is answered."""
    started = await server.http.post("/agent/start", json={"agent": "ask", "input": {}, "thread_id": thread_id})
    run = started.json()["run_id"]
    shown = await server.http.get(f"/agent/status/{run}", params={"wait": 10})
    assert shown.json()["status"] == "waiting"
    return run


@pytest.mark.parametrize("strategy", ["enqueue", "reject", "interrupt", "rollback"])
async def test_a_plain_run_that_waits_makes_way(client, server, thread_id, strategy):
    waiting = await plain_run_that_waits(server, thread_id)
    assert (await client.threads.get(thread_id))["status"] == "interrupted"
    new = await client.runs.create(thread_id, "steps", input={"log": ["new"]}, multitask_strategy=strategy)
    assert (await server.ended(new))["status"] == "success"
    if strategy == "rollback":
        with pytest.raises(NotFoundError):
            await client.runs.get(thread_id, waiting)
        assert (await client.threads.get_state(thread_id))["values"]["log"] == ["new", "one", "two", "three"]
    else:
        assert await server.status_of({"thread_id": thread_id, "run_id": waiting}) == "interrupted"
        assert (await client.threads.get_state(thread_id))["values"]["log"][0] == "begun"


async def test_only_one_of_many_runs_of_a_thread_runs_at_a_time(server, thread_id):
    for _ in range(8):
        await server.sdk.runs.create(thread_id, "steps", input={"log": ["x"]})
    seen: set[int] = set()

    async def all_ended() -> bool:
        rows = await server.rows(
            "SELECT count(*) FILTER (WHERE r.status = 'running'), count(*) FILTER (WHERE r.ended_at IS NULL)"
            " FROM runs r JOIN threads t ON t.key = r.thread_key WHERE t.thread_id = %s",
            thread_id,
        )
        seen.add(rows[0][0])
        return rows[0][1] == 0

    await until(all_ended, 20)
    assert max(seen) <= 1
    assert len((await server.sdk.threads.get_state(thread_id))["values"]["log"]) == 32
