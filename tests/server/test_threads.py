"""Where a thread stands."""

from uuid import uuid4

import pytest
from langgraph.checkpoint.base import empty_checkpoint

from waiting import until


async def state(api, thread_id, **query):
    return await api.http.get(f"/agent/state/{thread_id}", params=query)


async def test_a_thread_follows_its_run(api):
    started = await api.start(agent="count", task="x")
    await api.ended(started["task_id"])
    body = (await state(api, started["thread_id"])).json()
    assert (body["status"], body["completed"], body["total"]) == ("completed", 3, 3)
    assert (body["run_id"], body["agent"]) == (started["run_id"], "count")
    assert body["thread_id"] == started["thread_id"]
    assert body["updated_at"]


async def test_progress_is_seen_while_it_runs(api):
    started = await api.start(agent="hold", input=1)

    async def reported():
        return (await state(api, started["thread_id"])).json()["completed"] == 1

    await until(reported)
    body = (await state(api, started["thread_id"])).json()
    assert (body["status"], body["total"]) == ("in_progress", 4)
    await api.http.post(f"/agent/cancel/{started['task_id']}")
    await api.ended(started["task_id"])
    assert (await state(api, started["thread_id"])).json()["status"] == "cancelled"


async def test_an_open_question_is_shown_though_other_runs_wait_behind_it(api):
    asking = await api.start(agent="ask", input="sure?")
    await api.ended(asking["task_id"])
    await api.start(agent="echo", input=1, thread_id=asking["thread_id"])
    body = (await state(api, asking["thread_id"])).json()
    assert (body["status"], body["run_id"]) == ("waiting", asking["run_id"])
    assert body["interrupts"][0]["value"] == "sure?"


async def test_a_failure_is_shown(api):
    started = await api.start(agent="broken", input=1, max_attempts=1)
    await api.ended(started["task_id"])
    body = (await state(api, started["thread_id"])).json()
    assert (body["status"], body["error"]["code"]) == ("failed", "KeyError")


async def test_a_queued_thread(idle_api):
    started = await idle_api.start(agent="echo", input=1)
    assert (await state(idle_api, started["thread_id"])).json()["status"] == "queued"


async def test_an_unknown_thread(api):
    response = await state(api, uuid4())
    assert (response.status_code, response.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize("thread_id", ["a%00b", "%FF", "x" * 256, "%1b[31m"])
async def test_an_impossible_thread(api, thread_id):
    response = await state(api, thread_id)
    assert (response.status_code, response.json()["field"]) == (422, "thread_id")


async def test_a_thread_id_may_hold_slashes(idle_api):
    await idle_api.start(agent="echo", input=1, thread_id="2024/06 ü?")
    response = await state(idle_api, "2024%2F06%20%C3%BC%3F")
    assert response.json()["thread_id"] == "2024/06 ü?"


async def test_a_thread_that_was_only_written_to_is_idle(idle_api):
    config = {"configurable": {"thread_id": "by hand", "checkpoint_ns": ""}}
    await idle_api.runtime.saver.aput(config, empty_checkpoint(), {}, {})
    body = (await state(idle_api, "by hand")).json()
    assert (body["status"], body["run_id"]) == ("idle", None)


async def test_a_deleted_thread_is_gone(api):
    started = await api.start(agent="echo", input=1)
    await api.ended(started["task_id"])
    await api.runtime.saver.adelete_thread(started["thread_id"])
    assert (await state(api, started["thread_id"])).status_code == 404


async def test_values_are_the_state_of_the_graph(api):
    first = await api.http.post("/chat", json={"user_id": "ann", "message": "hello"})
    status = (await api.http.get(f"/agent/status/{first.json()['task_id']}")).json()
    without = (await state(api, status["thread_id"])).json()
    values = (await state(api, status["thread_id"], values=True)).json()["values"]
    assert without["values"] is None
    assert [message["type"] for message in values["messages"]] == ["human", "ai"]
    assert values["intent"] == "faq"
    assert values.keys() == {"messages", "intent"}


async def test_unreadable_state_is_a_conflict_and_quarantines_until_it_can_be_read(api):
    response = await api.http.post("/chat", json={"user_id": "bob", "message": "hello"})
    thread_id = (await api.http.get(f"/agent/status/{response.json()['task_id']}")).json()["thread_id"]
    async with api.runtime.pool.connection() as connection:
        await connection.execute("CREATE TEMP TABLE kept AS SELECT * FROM checkpoint_lists")
        await connection.execute("UPDATE checkpoint_lists SET items = '\\xc1'")
        # What this process remembers of the lists does not count any more.
        await connection.execute("UPDATE checkpoint_heads SET generation = generation + 1")
        unreadable = await state(api, thread_id, values=True)
        refused = await api.http.post("/agent/start", json={"agent": "echo", "input": 1, "thread_id": thread_id})
        await connection.execute(
            "UPDATE checkpoint_lists l SET items = k.items FROM kept k WHERE l.list_id = k.list_id"
        )
    readable = await state(api, thread_id, values=True)
    accepted = await api.http.post("/agent/start", json={"agent": "chat", "input": {}, "thread_id": thread_id})

    assert (unreadable.status_code, unreadable.json()["code"]) == (409, "state_unreadable")
    assert unreadable.json()["path"]
    assert (refused.status_code, refused.json()["code"]) == (409, "thread_quarantined")
    assert readable.status_code == 200
    assert accepted.status_code == 202
