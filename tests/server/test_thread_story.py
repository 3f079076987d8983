"""`GET /threads/{id}/story`: what happened to a thread, to whoever may know it."""

from typing import Any
from uuid import uuid4

import pytest
from server_api import Api, client_of

from outlast.domain.acting import acting_for
from outlast.domain.run import NewRun
from outlast.settings import AuthSettings
from outlast.storage.postgres.api_keys import ApiKeyStore
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.runs import RunStore


async def story(api: Api, thread_id: str, **wanted: Any) -> dict[str, Any]:
    answer = await api.http.get(f"/threads/{thread_id}/story", params=wanted)
    assert answer.status_code == 200, answer.text
    return answer.json()


async def test_a_question_and_whoever_answered_it_are_told_in_order(api: Api) -> None:
    thread_id = f"story-{uuid4()}"
    run = await api.start(agent="ask", input={"question": "may I, Ada?"}, thread_id=thread_id)
    assert (await api.ended(run["run_id"]))["status"] == "waiting"
    await api.http.post(f"/agent/answer/{run['run_id']}", json={"answer": "of course"})
    assert (await api.ended(run["run_id"]))["status"] == "succeeded"

    told = await story(api, thread_id)
    whole = await story(api, thread_id, content=True)

    beside = {"step", "task", "notification", "audit"}
    assert [entry["kind"] for entry in told["entries"] if entry["kind"] not in beside] == [
        "run.created", "admission", "attempt.claimed", "question.asked", "attempt.waited", "question.answered",
        "attempt.claimed", "run.ended",
    ]  # fmt: skip
    assert "anybody: run.answered" in {entry["text"] for entry in told["entries"]}
    assert [(each["run_id"], each["status"], each["attempts"]) for each in told["runs"]] == [
        (run["run_id"], "succeeded", 2)
    ]
    assert "of course" not in str(told)
    assert "may I, Ada?" in str(whole)
    assert "of course" in str(whole)


async def test_a_long_story_is_told_in_parts(api: Api) -> None:
    thread_id = f"story-{uuid4()}"
    run = await api.start(agent="count", input={}, thread_id=thread_id)
    await api.ended(run["run_id"])
    whole = (await story(api, thread_id))["entries"]

    first = await story(api, thread_id, limit=2)
    rest = await story(api, thread_id, since=first["entries"][-1]["at"])

    assert first["entries"] == whole[:2]
    assert first["remaining"] == len(whole) - 2 > 0
    assert [entry["kind"] for entry in rest["entries"]] == [entry["kind"] for entry in whole[1:]]


async def test_a_thread_that_is_not_there_has_no_story(api: Api) -> None:
    assert (await api.http.get(f"/threads/{uuid4()}/story")).status_code == 404


@pytest.mark.parametrize(
    "case",
    [
        ({"threads:read"}, False, 200, False),
        ({"threads:read"}, True, 403, False),
        ({"threads:read", "runs:read", "inbox:read"}, True, 200, False),
        ({"admin"}, True, 200, True),
        ({"runs:read"}, False, 403, False),
    ],
)
async def test_content_and_the_audit_log_need_scopes_of_their_own(case, locked, thread_of_acme) -> None:
    scopes, content, status, audited = case
    with acting_for("acme"):
        _, key = await ApiKeyStore(locked.runtime.pool).create(scopes=frozenset(scopes))

    answer = await locked.http.get(
        f"/threads/{thread_of_acme}/story", params={"content": content}, headers={"x-api-key": key.text}
    )

    assert answer.status_code == status, answer.text
    if status == 200:
        assert ("audit" in {entry["kind"] for entry in answer.json()["entries"]}) is audited


async def test_another_tenant_has_no_such_thread(locked, thread_of_acme) -> None:
    with acting_for("other"):
        _, key = await ApiKeyStore(locked.runtime.pool).create(scopes=frozenset({"admin"}))

    answer = await locked.http.get(f"/threads/{thread_of_acme}/story", headers={"x-api-key": key.text})

    assert answer.status_code == 404


@pytest.fixture(scope="module")
async def locked(databases, open_runtime):
    url = await databases.create()
    auth = AuthSettings(keys=True, failures_per_minute=0)
    async with open_runtime(url, auth=auth) as runtime, client_of(runtime) as http:
        yield Api(runtime, http)
    await databases.leave(url)


@pytest.fixture(scope="module")
async def thread_of_acme(locked) -> str:
    run = NewRun(id=uuid4(), thread_id=str(uuid4()), agent="count", input={}, config={}, metadata={})
    with acting_for("acme"):
        await RunStore(locked.runtime.pool).enqueue(run)
        await AuditLog(locked.runtime.pool).note("run.replayed", f"run:{run.id}")
    return run.thread_id
