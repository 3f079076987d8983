"""A run that is rolled back leaves nothing: no row, no checkpoint, and the next one sees the state of before."""

import pytest
from agent_server_api import some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import NotFoundError

from outlast import telemetry
from waiting import until


async def checkpoints(server, thread_id):
    return await server.rows(
        "SELECT c.ns, c.checkpoint_id, c.run_id FROM checkpoints c JOIN threads t ON t.key = c.thread_key"
        " WHERE t.thread_id = %s ORDER BY c.seq",
        thread_id,
    )


async def test_a_running_run_and_what_it_wrote_are_gone(client, server, thread_id):
    await client.runs.wait(thread_id, "steps", input={"log": ["before"]})
    before = await checkpoints(server, thread_id)
    state = await client.threads.get_state(thread_id)
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door, "log": ["undone"]})
    await until(lambda: has_arrived(door))
    assert len(await checkpoints(server, thread_id)) > len(before)

    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")

    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, run["run_id"])
    assert await checkpoints(server, thread_id) == before
    after = await client.threads.get_state(thread_id)
    assert after["values"] == state["values"]
    assert after["checkpoint"] == state["checkpoint"]
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "idle"
    assert thread["values"] == state["values"]
    again = await client.runs.wait(thread_id, "steps", input={"log": ["after"]})
    assert again["log"] == ["before", "one", "two", "three", "after", "one", "two", "three"]


async def test_a_subgraphs_checkpoints_go_with_it(client, server, thread_id):
    await client.runs.wait(thread_id, "steps", input={"log": ["before"]})
    before = await checkpoints(server, thread_id)
    door = some_id()
    run = await client.runs.create(thread_id, "nested_hold", input={"at": door})
    await until(lambda: has_arrived(door))
    assert {ns for ns, *_ in await checkpoints(server, thread_id)} > {""}, "the subgraph has checkpoints of its own"
    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    assert await checkpoints(server, thread_id) == before


async def test_a_question_is_open_again_when_its_answer_is_rolled_back(client, server, thread_id):
    door = some_id()
    asked = (await client.runs.wait(thread_id, "ask_and_hold", input={"at": door, "log": []}))["__interrupt__"]
    answer = await client.runs.create(thread_id, "ask_and_hold", command={"resume": "no"})
    await until(lambda: has_arrived(door))
    await client.runs.cancel(thread_id, answer["run_id"], wait=True, action="rollback")
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    assert [item["id"] for items in thread["interrupts"].values() for item in items] == [asked[0]["id"]]
    open_door(door)
    values = await client.runs.wait(thread_id, "ask_and_hold", command={"resume": "yes"})
    assert values["answers"] == ["yes"]


async def test_a_rollback_that_is_cut_off_is_done_again_whole(server, thread_id):
    await server.sdk.runs.wait(thread_id, "steps", input={"log": ["before"]})
    before = await checkpoints(server, thread_id)
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    telemetry.arm("run.rolled_back.before_commit:lost:1:1")
    try:
        await server.sdk.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    finally:
        telemetry.arm("")
    assert await checkpoints(server, thread_id) == before
    assert await server.rows("SELECT 1 FROM runs WHERE id = %s", run["run_id"]) == []
    assert (await server.sdk.threads.get_state(thread_id))["values"]["log"] == ["before", "one", "two", "three"]


async def test_the_first_run_of_a_thread_leaves_an_empty_thread(client, server, thread_id):
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    assert await checkpoints(server, thread_id) == []
    assert (await client.threads.get_state(thread_id))["values"] == {}
    assert await client.runs.list(thread_id) == []


async def test_a_pending_run_is_deleted(client, server, thread_id):
    door = some_id()
    front = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    behind = await client.runs.create(thread_id, "steps", input={})
    await client.runs.cancel(thread_id, behind["run_id"], action="rollback")
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, behind["run_id"])
    open_door(door)
    assert (await server.ended(front))["status"] == "success"


async def test_the_next_run_runs(client, server, thread_id):
    door = some_id()
    front = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    behind = await client.runs.create(thread_id, "steps", input={"log": ["next"]})
    await client.runs.cancel(thread_id, front["run_id"], action="rollback")
    assert (await server.ended(behind))["status"] == "success"
    assert (await client.threads.get_state(thread_id))["values"]["log"] == ["next", "one", "two", "three"]


async def test_a_rollback_overrides_an_earlier_interrupt(client, server, thread_id):
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    behind = await client.runs.create(thread_id, "steps", input={"log": ["next"]}, multitask_strategy="rollback")
    assert (await server.ended(behind))["status"] == "success"
    with pytest.raises(NotFoundError):
        await client.runs.get(thread_id, run["run_id"])


async def test_many_are_rolled_back_together(client, server):
    threads = [(await client.threads.create())["thread_id"] for _ in range(5)]
    door = some_id()
    runs = [await client.runs.create(thread, "hold", input={"at": door}) for thread in threads]
    await until(lambda: has_arrived(door, 5))
    await client.runs.cancel_many(status="running", action="rollback")

    async def all_gone() -> bool:
        return not await server.rows("SELECT 1 FROM runs WHERE id = ANY(%s::uuid[])", [run["run_id"] for run in runs])

    await until(all_gone)
    for thread in threads:
        assert await checkpoints(server, thread) == []
