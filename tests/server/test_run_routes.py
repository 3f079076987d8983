"""Starting, waiting for, answering and cancelling runs over HTTP."""

import asyncio
from datetime import datetime
from uuid import UUID, uuid4

import pytest

from waiting import until


async def test_a_started_run_is_stored_and_ends(api):
    response = await api.http.post("/agent/start", json={"agent": "count", "task": "documents"})

    assert response.status_code == 202
    started = response.json()
    assert started.keys() == {"task_id", "run_id", "thread_id", "status"}
    assert started["run_id"] == started["task_id"]
    assert started["status"] == "queued"
    assert UUID(started["thread_id"]).version == 7
    assert response.headers["Location"] == f"/agent/status/{started['task_id']}"

    run = await api.ended(started["task_id"])

    assert run["status"] == "succeeded"
    assert run["output"] == {"counted": "documents"}
    assert run["agent"] == "count"
    assert run["attempts"] == {"errors": 0, "crashes": 0}
    assert run["progress"] == {"completed": 3, "total": 3}
    assert run["thread_id"] == started["thread_id"]
    assert run["error"] is run["interrupts"] is run["worker"] is None
    times = [datetime.fromisoformat(run[name]) for name in ("created_at", "started_at", "ended_at")]
    assert times == sorted(times)


@pytest.mark.parametrize("given", [{"a": [1, None, "x"]}, "text", 7, [], None])
async def test_an_input_reaches_the_graph_as_it_was_sent(api, given):
    started = await api.start(agent="echo", input=given, max_attempts=1)
    run = await api.ended(started["task_id"])
    # LangGraph itself takes no null as a first input.
    assert run["status"] == ("failed" if given is None else "succeeded")
    assert given is None or run["output"] == {"got": given}


async def test_run_waits_for_the_end(api):
    response = await api.http.post("/agent/run?wait=10", json={"agent": "echo", "input": 1})
    assert response.status_code == 200
    assert response.json()["status"] == "succeeded"
    assert response.json()["output"] == {"got": 1}


async def test_run_without_wait_answers_at_once(api):
    response = await api.http.post("/agent/run", json={"agent": "hold", "input": 1})
    assert response.status_code == 202
    assert response.json()["status"] in {"queued", "running"}
    assert response.headers["Location"].endswith(response.json()["task_id"])
    await api.http.post(f"/agent/cancel/{response.json()['task_id']}")


async def test_a_wait_that_is_over_shows_the_run_as_it_is(api):
    response = await api.http.post("/agent/run?wait=0.2", json={"agent": "hold", "input": 1})
    assert response.status_code == 202
    assert response.json()["status"] == "running"
    assert response.json()["worker"]["pid"] > 0
    await api.http.post(f"/agent/cancel/{response.json()['task_id']}")


async def test_everything_a_start_may_say_is_stored(idle_api):
    started = await idle_api.start(
        agent="echo", input=1, thread_id="a/b ü", priority=5, delay_seconds=3600, timeout_seconds=9, max_attempts=7,
        config={"recursion_limit": 30, "configurable": {"model": "x"}, "tags": ["t"]}, metadata={"team": "a"},
    )  # fmt: skip
    run = await idle_api.runtime.queue.store.get(UUID(started["task_id"]))
    assert (run.thread_id, run.priority, run.max_attempts, run.metadata) == ("a/b ü", 5, 7, {"team": "a"})
    assert (run.available_at - run.created_at).total_seconds() > 3500


async def test_a_failed_run_says_why(api):
    started = await api.start(agent="broken", input=1)
    run = await api.ended(started["task_id"])
    assert run["status"] == "failed"
    assert run["error"]["code"] == "KeyError"
    assert run["attempts"]["errors"] == 2


async def test_a_question_is_answered_once(api):
    started = await api.start(agent="ask", input={"question": "sure?"})
    waiting = await api.ended(started["task_id"])
    assert waiting["status"] == "waiting"
    assert waiting["interrupts"][0]["value"] == {"question": "sure?"}

    answered = await api.http.post(f"/agent/answer/{started['task_id']}", json={"answer": {"yes": True}})
    again = await api.http.post(f"/agent/answer/{started['task_id']}", json={"answer": "no"})

    assert answered.status_code == 202
    assert answered.json()["status"] == "queued"
    assert again.status_code == 409
    assert again.json()["code"] == "conflict"
    assert (await api.ended(started["task_id"]))["output"] == {"answer": {"yes": True}}


@pytest.mark.parametrize("value", ["nul \0 inside", {"\0key": ["\0"]}])
async def test_a_question_that_holds_nul_can_be_asked_and_answered(api, value):
    started = await api.start(agent="ask", input=value)
    assert (await api.ended(started["task_id"]))["status"] == "waiting"
    await api.http.post(f"/agent/answer/{started['task_id']}", json={"answer": value})
    assert (await api.ended(started["task_id"]))["output"] == {"answer": value}


@pytest.mark.parametrize("value", [None, {}, [], "", 0, False, {"a": None}, {"0" * 32: "no id of this question"}])
async def test_any_json_is_an_answer(api, value):
    started = await api.start(agent="ask", input="?")
    assert (await api.ended(started["task_id"]))["status"] == "waiting"
    assert (await api.http.post(f"/agent/answer/{started['task_id']}", json={"answer": value})).status_code == 202
    assert (await api.ended(started["task_id"]))["output"] == {"answer": value}


async def test_an_answer_may_name_its_question(api):
    started = await api.start(agent="ask", input="?")
    question = (await api.ended(started["task_id"]))["interrupts"][0]["id"]
    await api.http.post(f"/agent/answer/{started['task_id']}", json={"answer": {question: "yes"}})
    assert (await api.ended(started["task_id"]))["output"] == {"answer": "yes"}


@pytest.mark.parametrize(
    ("content", "field"),
    [("{}", "answer"), ('{"answer": 1, "to": 2}', "to"), ('{"answer":' + "[" * 70 + "]" * 70 + "}", "answer")],
)
async def test_an_answer_is_checked(api, content, field):
    headers = {"Content-Type": "application/json"}
    response = await api.http.post(f"/agent/answer/{uuid4()}", content=content, headers=headers)
    assert (response.status_code, response.json()["field"]) == (422, field)


async def test_a_running_run_is_cancelled(api):
    started = await api.start(agent="hold", input=1)

    async def runs():
        return (await api.http.get(f"/agent/status/{started['task_id']}")).json()["status"] == "running"

    await until(runs)
    response = await api.http.post(f"/agent/cancel/{started['task_id']}")
    assert response.status_code == 202
    assert response.json()["status"] == "running", "asked to stop, not stopped yet"
    assert (await api.ended(started["task_id"]))["status"] == "cancelled"
    assert (await api.http.post(f"/agent/cancel/{started['task_id']}")).status_code == 409


async def test_a_waiting_run_is_cancelled(api):
    started = await api.start(agent="ask", input="?")
    assert (await api.ended(started["task_id"]))["status"] == "waiting"
    assert (await api.http.post(f"/agent/cancel/{started['task_id']}")).json()["status"] == "cancelled"


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/agent/status/{}"), ("POST", "/agent/cancel/{}"), ("POST", "/agent/answer/{}")],
)
async def test_a_run_that_is_not_there(api, method, path):
    body = {"answer": 1} if "answer" in path else None
    unknown = await api.http.request(method, path.format(uuid4()), json=body)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")
    malformed = await api.http.request(method, path.format("no-uuid"), json=body)
    assert (malformed.status_code, malformed.json()["field"]) == (422, "task_id")


async def test_runs_of_one_thread_follow_each_other(idle_api):
    first = await idle_api.start(agent="echo", input=1, thread_id="one thread")
    second = await idle_api.start(agent="echo", input=2, thread_id="one thread")
    blocked = (await idle_api.http.get(f"/agent/status/{second['task_id']}")).json()
    assert first["thread_id"] == second["thread_id"] == "one thread"
    assert blocked["status"] == "blocked"


@pytest.fixture
def key():
    return {"Idempotency-Key": f"order {uuid4()}"}


class TestIdempotency:
    async def test_the_same_request_is_one_run(self, idle_api, key):
        body = {"agent": "echo", "input": {"n": 1}}
        first = await idle_api.http.post("/agent/start", json=body, headers=key)
        second = await idle_api.http.post("/agent/start", json=body, headers=key)
        assert (first.status_code, second.status_code) == (202, 202)
        assert first.json() == second.json()

    async def test_it_is_one_run_also_when_the_requests_race(self, idle_api, key):
        body = {"agent": "echo", "input": 1, "thread_id": str(uuid4())}
        answers = await asyncio.gather(*(idle_api.http.post("/agent/start", json=body, headers=key) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {202}
        assert len({answer.json()["run_id"] for answer in answers}) == 1

    async def test_another_body_is_refused(self, idle_api, key):
        await idle_api.http.post("/agent/start", json={"agent": "echo", "input": 1}, headers=key)
        other = await idle_api.http.post("/agent/start", json={"agent": "echo", "input": 2}, headers=key)
        assert (other.status_code, other.json()["code"]) == (409, "conflict")
        assert key["Idempotency-Key"] in other.json()["detail"]

    async def test_another_route_has_keys_of_its_own(self, idle_api, key):
        body = {"agent": "echo", "input": 1}
        first = await idle_api.http.post("/agent/start", json=body, headers=key)
        second = await idle_api.http.post("/agent/run", json=body, headers=key)
        assert first.json()["run_id"] != second.json()["run_id"]

    async def test_a_refused_request_does_not_use_up_its_key(self, idle_api, key):
        refused = await idle_api.http.post("/agent/start", json={"agent": "nobody", "input": 1}, headers=key)
        accepted = await idle_api.http.post("/agent/start", json={"agent": "echo", "input": 1}, headers=key)
        assert (refused.status_code, accepted.status_code) == (422, 202)

    @pytest.mark.parametrize("name", ["", "x" * 256, "a\tb"])
    async def test_a_key_is_a_name(self, idle_api, name):
        response = await idle_api.http.post(
            "/agent/start", json={"agent": "echo", "input": 1}, headers={"Idempotency-Key": name}
        )
        assert (response.status_code, response.json()["field"]) == (422, "Idempotency-Key")
