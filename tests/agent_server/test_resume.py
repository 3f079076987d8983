"""Questions that end a run, and answers that are runs of their own."""

import asyncio

import pytest
from agent_server_api import some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import ConflictError, UnprocessableEntityError

from runtimes import working
from waiting import until


async def asked(client, thread_id, agent="ask"):
    return (await client.runs.wait(thread_id, agent, input={"log": []}))["__interrupt__"]


async def test_a_question_ends_the_run_and_the_answer_is_another(client, server, thread_id):
    (question,) = await asked(client, thread_id)
    first = (await client.runs.list(thread_id))[0]
    assert first["status"] == "interrupted"
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "interrupted"
    assert [item["id"] for items in thread["interrupts"].values() for item in items] == [question["id"]]

    values = await client.runs.wait(thread_id, "ask", command={"resume": "the left one"})

    assert values["answers"] == ["the left one"]
    assert values["log"] == ["begun", "asked"]
    runs = await client.runs.list(thread_id)
    assert [run["status"] for run in runs] == ["success", "interrupted"]
    thread = await client.threads.get(thread_id)
    assert thread["status"] == "idle"
    assert thread["interrupts"] == {}


@pytest.mark.parametrize("answer", ["", 0, False, [], {}, {"a": 1}, [1, {"b": None}]])
async def test_any_value_but_null_is_an_answer(client, thread_id, answer):
    await asked(client, thread_id)
    values = await client.runs.wait(thread_id, "ask", command={"resume": answer})
    assert values["answers"] == [answer]


async def test_an_answer_by_the_questions_id(client, thread_id):
    (question,) = await asked(client, thread_id)
    values = await client.runs.wait(thread_id, "ask", command={"resume": {question["id"]: "by id"}})
    assert values["answers"] == ["by id"]


async def test_two_questions_are_answered_by_id(client, thread_id):
    questions = {question["value"]: question["id"] for question in await asked(client, thread_id, "ask_two")}
    assert set(questions) == {"left", "right"}
    with pytest.raises(Exception, match="422"):
        await client.runs.wait(thread_id, "ask_two", command={"resume": "which?"})
    values = await client.runs.wait(
        thread_id, "ask_two", command={"resume": {questions["left"]: "L", questions["right"]: "R"}}
    )
    assert {key: value for item in values["answers"] for key, value in item.items()} == {"left": "L", "right": "R"}


async def test_one_of_two_is_answered_and_the_other_stays_open(client, thread_id):
    questions = {question["value"]: question["id"] for question in await asked(client, thread_id, "ask_two")}
    values = await client.runs.wait(thread_id, "ask_two", command={"resume": {questions["left"]: "L"}})
    assert [question["value"] for question in values["__interrupt__"]] == ["right"]
    values = await client.runs.wait(thread_id, "ask_two", command={"resume": "R"})
    assert {key: value for item in values["answers"] for key, value in item.items()} == {"left": "L", "right": "R"}


async def test_a_node_may_ask_again(client, thread_id):
    (first,) = await asked(client, thread_id, "ask_twice")
    assert first["value"] == "first"
    values = await client.runs.wait(thread_id, "ask_twice", command={"resume": 1})
    assert [question["value"] for question in values["__interrupt__"]] == ["second"]
    values = await client.runs.wait(thread_id, "ask_twice", command={"resume": 2})
    assert values["answers"] == [1, 2]


async def test_a_question_inside_a_subgraph_is_answered(client, thread_id):
    (question,) = await asked(client, thread_id, "nested_ask")
    assert question["value"]["question"] == "which one?"
    values = await client.runs.wait(thread_id, "nested_ask", command={"resume": "inner"})
    assert values["answers"] == ["inner"]


async def test_a_resume_of_nothing_is_409_with_the_true_state(client, server, thread_id):
    with pytest.raises(ConflictError) as refused:
        await client.runs.create(thread_id, "ask", command={"resume": "x"})
    assert refused.value.body["code"] == "nothing_to_resume"
    assert refused.value.body["thread_status"] == "idle"
    await client.runs.wait(thread_id, "steps", input={"log": []})
    with pytest.raises(ConflictError):
        await client.runs.create(thread_id, "steps", command={"resume": "x"})
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.runs.create(None, "ask", command={"resume": "x"})
    assert refused.value.body["field"] == "command.resume"
    assert len(await client.runs.list(thread_id)) == 1, "what was refused is not stored"


async def test_a_resume_of_a_busy_thread_is_409(client, server, thread_id):
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    with pytest.raises(ConflictError) as refused:
        await client.runs.create(thread_id, "ask", command={"resume": "x"})
    assert refused.value.body["code"] == "nothing_to_resume"
    assert refused.value.body["thread_status"] == "busy"
    assert refused.value.body["run_id"] == run["run_id"]
    open_door(door)
    await server.ended(run)


async def test_an_unknown_question_is_409_and_names_the_open_ones(client, thread_id):
    (question,) = await asked(client, thread_id)
    with pytest.raises(ConflictError) as refused:
        await client.runs.create(thread_id, "ask", command={"resume": {"0" * 32: "x"}})
    assert refused.value.body["code"] == "nothing_to_resume"
    assert refused.value.body["interrupts"] == [question["id"]]


async def test_a_second_answer_is_409_and_names_the_first(idle_server):
    """Without a worker, so that the first answer is still on its way."""
    sdk = idle_server.sdk
    thread_id = (await sdk.threads.create())["thread_id"]
    async with working(idle_server.runtime):
        await asked(sdk, thread_id)
    first = await sdk.runs.create(thread_id, "ask", command={"resume": "first"})
    with pytest.raises(ConflictError) as refused:
        await sdk.runs.create(thread_id, "ask", command={"resume": "second"})
    assert refused.value.body["code"] == "already_answered"
    assert refused.value.body["run_id"] == first["run_id"]
    async with working(idle_server.runtime):
        assert (await sdk.runs.join(thread_id, first["run_id"]))["answers"] == ["first"]


async def test_of_fifty_answers_at_once_one_counts(server, thread_id):
    await asked(server.sdk, thread_id)
    body = {"assistant_id": "ask", "command": {"resume": "me"}}
    answers = await asyncio.gather(*(server.http.post(f"/threads/{thread_id}/runs", json=body) for _ in range(50)))
    codes = sorted(response.status_code for response in answers)
    assert codes == [200] + [409] * 49
    run = next(response.json() for response in answers if response.status_code == 200)
    assert (await server.ended(run))["status"] == "success"
    assert (await server.sdk.threads.get_state(thread_id))["values"]["answers"] == ["me"]


async def test_a_breakpoint_takes_a_resume_and_goes_on(client, thread_id):
    await client.runs.wait(thread_id, "steps", input={"log": []}, interrupt_before=["two"])
    values = await client.runs.wait(thread_id, "steps", command={"resume": "go"})
    assert values["log"] == ["one", "two", "three"]


async def test_an_answer_may_bring_an_update(client, thread_id):
    await asked(client, thread_id)
    values = await client.runs.wait(thread_id, "ask", command={"resume": "yes", "update": {"log": ["also"]}})
    assert values["answers"] == ["yes"]
    assert "also" in values["log"]


async def test_a_new_input_leaves_the_question_behind(client, thread_id):
    await asked(client, thread_id)
    (question,) = (await client.runs.wait(thread_id, "ask", input={"log": ["anew"]}))["__interrupt__"]
    assert question["value"]["log"] == ["begun", "anew", "begun"]


async def test_input_and_command_together_are_refused(client, thread_id):
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.runs.create(thread_id, "ask", input={}, command={"resume": 1})
    assert refused.value.body["field"] == "command"


async def test_a_question_of_a_plain_run_is_answered_by_a_run(client, server, thread_id):
    started = await server.http.post("/agent/start", json={"agent": "ask", "input": {}, "thread_id": thread_id})
    plain = started.json()["run_id"]
    await server.http.get(f"/agent/status/{plain}", params={"wait": 10})
    values = await client.runs.wait(thread_id, "ask", command={"resume": "through the API"})
    assert values["answers"] == ["through the API"]
    assert await server.status_of({"thread_id": thread_id, "run_id": plain}) == "interrupted"
    late = await server.http.post(f"/agent/answer/{plain}", json={"answer": "late"})
    assert late.status_code == 409
