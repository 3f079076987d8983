"""Runs without a thread of the client's."""

import pytest
from agent_server_api import some_id
from agent_server_gates import has_arrived
from langgraph_sdk.errors import UnprocessableEntityError

from waiting import until


async def test_a_stateless_run_has_a_thread_of_its_own_that_goes(client, server):
    run = await client.runs.create(None, "steps", input={"log": ["alone"]})
    assert (await server.ended(run))["status"] == "success"
    found = await client.threads.search(ids=[run["thread_id"]])
    assert found == [], "a temporary thread is nobody's to find"
    due = await server.rows(
        "SELECT d.expires_at > clock_timestamp() FROM thread_details d JOIN threads t ON t.key = d.thread_key"
        " WHERE t.thread_id = %s",
        run["thread_id"],
    )
    assert due == [(True,)], "it is deleted some minutes later, so that whoever waits still finds the result"


async def test_a_thread_that_is_to_be_kept_stays(client, server):
    run = await client.runs.create(None, "steps", input={"log": []}, on_completion="keep")
    await server.ended(run)
    found = await client.threads.search(ids=[run["thread_id"]])
    assert [thread["thread_id"] for thread in found] == [run["thread_id"]]
    assert found[0]["values"]["log"] == ["one", "two", "three"]


async def test_the_result_is_the_answer(client):
    assert (await client.runs.wait(None, "steps", input={"log": []}))["log"] == ["one", "two", "three"]
    messages = await client.runs.wait(None, "agent", input={"messages": [{"role": "user", "content": "hi"}]})
    assert messages["messages"][-1]["content"] == "1: hi"


async def test_a_question_of_a_stateless_run_is_told(client):
    values = await client.runs.wait(None, "ask", input={"log": []})
    assert values["__interrupt__"][0]["value"]["question"] == "which one?"


@pytest.mark.parametrize("field", ["checkpoint", "checkpoint_id"])
async def test_a_stateless_run_has_no_checkpoint(client, field):
    given = some_id() if field == "checkpoint_id" else {"checkpoint_id": some_id(), "checkpoint_ns": ""}
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.runs.create(None, "steps", input={}, **{field: given})
    assert refused.value.body["code"] == "not_supported"
    assert refused.value.body["field"] == field


async def test_on_completion_is_for_stateless_runs(client, thread_id):
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.runs.create(thread_id, "steps", input={}, on_completion="keep")
    assert refused.value.body["field"] == "on_completion"


async def test_any_strategy_holds_where_there_is_one_run(client, server):
    for strategy in ("reject", "enqueue", "interrupt", "rollback"):
        run = await client.runs.create(None, "steps", input={}, multitask_strategy=strategy, if_not_exists="reject")
        assert (await server.ended(run))["status"] == "success"


async def test_a_stateless_run_is_cancelled_by_its_ids(client, server):
    door = some_id()
    run = await client.runs.create(None, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    await client.runs.cancel(run["thread_id"], run["run_id"], wait=True)
    assert await server.status_of(run) == "interrupted"
