"""`/inbox`: what people are asked, over HTTP."""

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from server_api import Api

from outlast.domain.acting import Principal, acting_for
from outlast.domain.question import hash_of

REFUND = {
    "type": "escalation",
    "question": "May this be refunded?",
    "reasons": [{"code": "high_stakes", "text": "200 EUR is much"}],
    "subject": {"order": 7, "amount": 200},
    "diff": "- nothing\n+ 200 EUR",
    "links": {"order": "https://shop.example/7"},
    "deadline_seconds": 3600,
    "default": "reject",
}


async def asked(api: Api, value: Any = REFUND) -> dict[str, Any]:
    """Return the question of a new run that waits for its answer."""
    run = await api.start(agent="ask", input=value)
    assert (await api.ended(run["run_id"]))["status"] == "waiting"
    (line,) = (await api.http.get("/inbox", params={"run_id": run["run_id"]})).json()
    return line


async def test_a_question_is_shown_with_all_that_a_decision_needs(api):
    line = await asked(api)
    assert line.keys() >= {"id", "question", "allowed", "due_at", "overdue"}
    assert "value" not in line, "a list tells nobody what is in a question"
    shown = (await api.http.get(f"/inbox/{line['id']}")).json()
    assert {name: shown[name] for name in line} == line
    assert (shown["kind"], shown["question"], shown["status"]) == ("escalation", REFUND["question"], "open")
    assert shown["subject"] == REFUND["subject"]
    assert (shown["diff"], shown["links"], shown["reasons"]) == (REFUND["diff"], REFUND["links"], REFUND["reasons"])
    assert shown["default"] == {"decision": "reject"}
    assert shown["may_answer"] == {"assignee": None, "not_user": None, "people": 1}
    assert len(shown["hash"]) == 64
    assert shown["due_at"] > shown["asked_at"]


async def test_an_answer_lets_the_run_go_on_and_a_second_one_is_told_who_was_first(api):
    line = await asked(api)
    given = {"decision": "edit", "value": {"order": 7, "amount": 20}, "message": "part of it"}
    answered = await api.http.post(f"/inbox/{line['id']}/answer", json=given)
    assert answered.status_code == 200, answered.text
    assert answered.json()["status"] == "answered"
    run = await api.ended(line["run_id"])
    assert (run["status"], run["output"]) == ("succeeded", {"answer": {**given, "hash": hash_of(REFUND["subject"])}})
    second = await api.http.post(f"/inbox/{line['id']}/answer", json={"decision": "approve"})
    assert second.status_code == 409
    problem = second.json()
    assert problem["code"] == "already_answered"
    assert (problem["question_id"], problem["question_status"], problem["decision"]) == (line["id"], "answered", "edit")
    assert problem["answered_by"]
    assert problem["answered_at"]
    shown = (await api.http.get(f"/inbox/{line['id']}")).json()
    assert shown["answer"] == given


async def test_of_answers_at_the_same_time_one_counts(api):
    line = await asked(api)
    words = ["approve", "reject"] * 5
    answers = await asyncio.gather(
        *(api.http.post(f"/inbox/{line['id']}/answer", json={"decision": word}) for word in words)
    )
    assert sorted(answer.status_code for answer in answers) == [200] + [409] * 9
    won = next(word for word, answer in zip(words, answers, strict=True) if answer.status_code == 200)
    assert {answer.json()["decision"] for answer in answers} == {won}
    assert (await api.ended(line["run_id"]))["output"]["answer"]["decision"] == won


async def test_a_plain_interrupt_gets_the_response_itself(api):
    line = await asked(api, {"question": "Which order?"})
    assert line["kind"] == "interrupt"
    await api.http.post(f"/inbox/{line['id']}/answer", json={"decision": "respond", "value": [7]})
    assert (await api.ended(line["run_id"]))["output"] == {"answer": [7]}


async def test_an_answer_to_something_else_than_was_seen_is_refused(api):
    line = await asked(api)
    answer = await api.http.post(f"/inbox/{line['id']}/answer", json={"decision": "approve", "hash": "0" * 64})
    assert (answer.status_code, answer.json()["code"]) == (409, "question_changed")
    shown = (await api.http.get(f"/inbox/{line['id']}")).json()
    assert shown["status"] == "open"
    right = {"decision": "approve", "hash": shown["hash"]}
    assert (await api.http.post(f"/inbox/{line['id']}/answer", json=right)).status_code == 200


async def test_what_the_question_does_not_allow_is_refused(api):
    line = await asked(api, {**REFUND, "allowed": ["approve", "reject"]})
    assert line["allowed"] == ["approve", "reject"]
    answer = await api.http.post(f"/inbox/{line['id']}/answer", json={"decision": "respond", "value": "no"})
    assert answer.status_code == 422, answer.text
    assert "approve or reject" in answer.json()["detail"]
    assert (await api.http.get(f"/inbox/{line['id']}")).json()["status"] == "open"


@pytest.mark.parametrize(
    "body",
    [{}, {"decision": "maybe"}, {"decision": "approve", "vote": 1}, {"decision": "approve", "hash": "abc"},
     {"decision": "approve", "message": ""}, {"decision": 1}, []],
)  # fmt: skip
async def test_what_is_no_decision_is_refused(api, body):
    line = await asked(api)
    assert (await api.http.post(f"/inbox/{line['id']}/answer", json=body)).status_code == 422
    assert (await api.http.get(f"/inbox/{line['id']}")).json()["status"] == "open"


async def test_the_list_is_filtered_and_comes_in_pages(api):
    agent_wide = {"agent": "ask", "kind": "review"}
    lines = [await asked(api, {**REFUND, "type": "review", "question": f"number {n}?"}) for n in range(3)]
    found = await api.http.get("/inbox", params={**agent_wide, "limit": 2})
    assert found.headers["X-Pagination-Total"] == "3"
    rest = await api.http.get("/inbox", params={**agent_wide, "offset": found.headers["X-Pagination-Next"]})
    listed = [line["id"] for line in (*found.json(), *rest.json())]
    assert sorted(listed) == sorted(line["id"] for line in lines)
    assert "X-Pagination-Next" not in rest.headers
    await api.http.post(f"/inbox/{lines[0]['id']}/answer", json={"decision": "approve"})
    await api.http.post(f"/inbox/{lines[1]['id']}/assign", json={"assignee": "ann"})

    async def ids(**params: Any) -> set[str]:
        return {line["id"] for line in (await api.http.get("/inbox", params={**agent_wide, **params})).json()}

    assert await ids() == {lines[1]["id"], lines[2]["id"]}
    assert await ids(status="answered") == {lines[0]["id"]}
    assert await ids(status="any") == set(listed)
    assert await ids(assignee="ann") == {lines[1]["id"]}
    assert await ids(overdue=True) == set()
    assert await ids(agent="nobody") == set()
    assert (await api.http.get("/inbox", params={"status": "lost"})).status_code == 422


async def test_it_is_assigned_and_commented_on(api):
    line = await asked(api)
    assigned = await api.http.post(f"/inbox/{line['id']}/assign", json={"assignee": "ann"})
    assert assigned.json()["assignee"] == "ann"
    said = await api.http.post(f"/inbox/{line['id']}/comments", json={"text": "I have called him."})
    assert (said.status_code, said.json()["text"]) == (201, "I have called him.")
    shown = (await api.http.get(f"/inbox/{line['id']}")).json()
    assert [comment["text"] for comment in shown["comments"]] == ["I have called him."]
    assert shown["may_answer"]["assignee"] == "ann"
    freed = await api.http.post(f"/inbox/{line['id']}/assign", json={"assignee": None})
    assert freed.json()["assignee"] is None


async def test_a_question_of_a_cancelled_run_cannot_be_answered_any_more(api):
    line = await asked(api)
    await api.http.post(f"/agent/cancel/{line['run_id']}")
    answer = await api.http.post(f"/inbox/{line['id']}/answer", json={"decision": "approve"})
    assert (answer.status_code, answer.json()["question_status"]) == (409, "withdrawn")
    assert line["id"] not in {found["id"] for found in (await api.http.get("/inbox")).json()}


async def test_what_is_not_there_is_404_also_when_it_is_another_tenants(api):
    line = await asked(api)
    with acting_for(Principal(tenant="acme")):
        found, total = await api.runtime.inbox().find()
    assert (found, total) == ([], 0)
    for path in (f"/inbox/{uuid4()}", "/inbox/nothing"):
        assert (await api.http.get(path)).status_code in {404, 422}
    nowhere = await api.http.post(f"/inbox/{uuid4()}/answer", json={"decision": "approve"})
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")
    assert (await api.http.get(f"/inbox/{line['id']}")).status_code == 200


async def test_two_people_cannot_be_replaced_by_one_who_goes_another_way(api):
    line = await asked(api, {**REFUND, "needs": 2})
    alone = await api.http.post(f"/agent/answer/{line['run_id']}", json={"answer": {"decision": "approve"}})
    assert (alone.status_code, alone.json()["code"]) == (403, "forbidden")
    assert (await api.http.get(f"/inbox/{line['id']}")).json()["status"] == "open"
    # One no is enough, whichever way it comes.
    no = await api.http.post(f"/agent/answer/{line['run_id']}", json={"answer": {"decision": "reject"}})
    assert no.status_code == 202, no.text


async def test_whoever_asked_does_not_approve_by_another_way_either(api):
    line = await asked(api, {**REFUND, "not_requester": True})
    for answer in ({"decision": "approve"}, {"decision": "reject"}):
        refused = await api.http.post(f"/agent/answer/{line['run_id']}", json={"answer": answer})
        assert refused.status_code == 403, refused.text
    with acting_for(Principal(user="ann")):
        await api.runtime.queue.answer(UUID(line["run_id"]), {"decision": "approve"})
    shown = (await api.http.get(f"/inbox/{line['id']}")).json()
    assert (shown["status"], shown["answered_by"]) == ("answered", "ann")
