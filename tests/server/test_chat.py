"""Conversations over HTTP."""

import asyncio
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st
from server_api import Api, client_of

from outlast.server.routes.chat import session_thread
from outlast.settings import ServerSettings
from runtimes import working


async def say(api, message, **body):
    return await api.http.post("/chat", json={"user_id": "ann", "message": message, **body})


async def test_a_message_gets_a_reply(api):
    response = await say(api, "hello")
    assert response.status_code == 200
    body = response.json()
    assert (body["reply"], body["intent"], body["awaiting_human_input"]) == ("1: hello", "faq", False)
    assert UUID(body["session_id"]).version == 7
    assert UUID(hex=body["trace_id"]) == UUID(body["task_id"])


async def test_a_session_is_one_conversation(api):
    first = (await say(api, "hello")).json()
    second = (await say(api, "again", session_id=first["session_id"])).json()
    assert second["reply"] == "2: again"
    assert second["session_id"] == first["session_id"]


async def test_a_session_of_another_user_is_not_shared(api):
    mine = (await say(api, "my secret")).json()
    theirs = (await say(api, "hello", user_id="eve", session_id=mine["session_id"])).json()
    assert theirs["reply"] == "1: hello"
    assert (await say(api, "still here", session_id=mine["session_id"])).json()["reply"] == "2: still here"


async def test_user_and_session_cannot_be_shifted_into_each_other(api):
    session = str(uuid4())
    await say(api, "hello", user_id="a:b", session_id=f"c{session}")
    assert (await say(api, "x", user_id="a", session_id=f"b:c{session}")).json()["reply"] == "1: x"


@given(*[st.text(st.sampled_from("a:1"), min_size=1, max_size=4)] * 4)
def test_different_pairs_are_different_threads(user, session, other_user, other_session):
    same = (user, session) == (other_user, other_session)
    assert (session_thread(user, session) == session_thread(other_user, other_session)) == same


async def test_a_question_is_the_reply_and_the_next_message_its_answer(api):
    asked = (await say(api, "a human please")).json()
    assert asked["awaiting_human_input"]
    assert asked["reply"] == "What is your order number?"

    answered = (await say(api, "4711", session_id=asked["session_id"])).json()

    assert not answered["awaiting_human_input"]
    assert (answered["reply"], answered["intent"]) == ("order 4711 found", "order")
    assert answered["task_id"] == asked["task_id"], "the run that asked goes on"
    assert (await say(api, "thanks", session_id=asked["session_id"])).json()["reply"] == "2: thanks"


async def test_of_two_answers_the_second_is_the_next_message(api):
    asked = (await say(api, "human")).json()
    session = asked["session_id"]
    both = await asyncio.gather(say(api, "1", session_id=session), say(api, "2", session_id=session))
    replies = {response.json()["reply"] for response in both}
    assert replies in ({"order 1 found", "2: 2"}, {"order 2 found", "2: 1"})


async def test_what_a_colleague_is_asked_the_user_neither_reads_nor_answers(databases, open_runtime):
    url = await databases.create()
    settings = ServerSettings(wait=timedelta(seconds=1))
    async with (
        open_runtime(url, server=settings) as runtime, working(runtime), client_of(runtime) as http,
    ):  # fmt: skip
        api = Api(runtime, http)
        asked = (await say(api, "my money")).json()
        assert (asked["reply"], asked["awaiting_human_input"]) == (None, True)

        next_turn = await say(api, "approve", session_id=asked["session_id"])

        assert next_turn.status_code == 202
        assert next_turn.json()["task_id"] != asked["task_id"], "it waits behind the question"
        assert (await http.get(f"/agent/status/{asked['task_id']}")).json()["status"] == "waiting"


async def test_an_agent_that_says_nothing_does_not_repeat_itself(api):
    first = (await say(api, "hello")).json()
    silent = (await say(api, "silence", session_id=first["session_id"])).json()
    assert silent["reply"] is None


async def test_another_agent_can_be_named(api):
    response = await say(api, "hello", agent="echo")
    assert response.status_code == 200
    assert response.json()["reply"] is None


async def test_a_failed_reply_is_a_problem_without_its_insides(api):
    response = await say(api, "fail")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (424, "run_failed")
    assert "TypeError" in problem["detail"]
    assert (await api.ended(problem["task_id"]))["error"]["message"] == "TypeError: no"


async def test_a_slow_reply_is_fetched_later(databases, open_runtime):
    url = await databases.create()
    async with (
        open_runtime(url, server=ServerSettings(wait=timedelta(milliseconds=100))) as runtime,
        client_of(runtime) as http,
    ):
        response = await http.post("/chat", json={"user_id": "ann", "message": "hello"})
    assert response.status_code == 202
    assert response.headers["Retry-After"] == "1"
    assert response.headers["Location"] == f"/agent/status/{response.json()['task_id']}"
    assert (response.json()["reply"], response.json()["awaiting_human_input"]) == (None, False)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"message": ""}, "message"),
        ({"message": " \n"}, "message"),
        ({"message": "x" * 32_001}, "message"),
        ({"message": 7}, "message"),
        ({"message": "x", "user_id": ""}, "user_id"),
        ({"message": "x", "user_id": "a\0b"}, "user_id"),
        ({"message": "x", "user_id": "half \ufffd"}, "user_id"),
        ({"message": "x", "session_id": ""}, "session_id"),
        ({"message": "x", "session_id": "\n"}, "session_id"),
        ({"message": "x", "agent": "caht"}, "agent"),
        ({"message": "x", "mesage": "x"}, "mesage"),
        ({}, "message"),
    ],
)
async def test_a_message_that_cannot_be_taken(api, body, field):
    response = await api.http.post("/chat", json={"user_id": "ann", **body})
    assert (response.status_code, response.json()["field"]) == (422, field)


async def test_a_key_would_promise_too_much(api):
    response = await api.http.post("/chat", json={"user_id": "ann", "message": "x"}, headers={"Idempotency-Key": "1"})
    assert (response.status_code, response.json()["field"]) == (422, "Idempotency-Key")
