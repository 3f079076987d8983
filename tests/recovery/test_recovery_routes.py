"""/dlq and /recovery: dead letters and stuck threads over HTTP."""

from collections.abc import AsyncIterator

import httpx
import pytest

from outlast.server.app import create_app


@pytest.fixture
async def http(shop) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(create_app(shop.runtime))
    async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=30) as client:
        yield client


async def test_a_dead_letter_is_listed_opened_and_replayed(shop, http):
    [run_id] = await shop.dead("book", thread_id="desk")
    listed = (await http.get("/dlq")).json()
    assert (listed["total"], [letter["run_id"] for letter in listed["dead_letters"]]) == (1, [str(run_id)])
    assert (await http.get("/dlq", params={"error": "KeyError"})).json() == {"dead_letters": [], "total": 0}
    [each] = (await http.get("/dlq/classes")).json()
    assert (each["agent"], each["error"], each["count"]) == ("shop", "ConnectionError", 1)

    opened = (await http.get(f"/dlq/{run_id}")).json()
    assert opened["input"] == {"order": "book"}
    assert [attempt["error"] for attempt in opened["attempts"]] == ["ConnectionError", "ConnectionError"]
    assert opened["checkpoint"]["of_run"]
    assert opened["effects"] == {"done": 1}
    assert opened["usage"] == {"calls": 0, "tokens": 0, "cost_usd": "0.00"}

    shop.repair()
    answer = await http.post(f"/dlq/{run_id}/replay")
    assert (answer.status_code, answer.json()["thread_id"]) == (202, "desk")
    assert (await shop.end(run_id)).status == "succeeded"
    assert (await http.get(f"/dlq/{run_id}")).status_code == 404
    assert (await http.post(f"/dlq/{run_id}/replay")).status_code == 409


async def test_a_dead_letter_is_run_again_and_discarded_once(shop, http):
    [run_id] = await shop.dead("book")
    shop.repair()
    again = await http.post(f"/dlq/{run_id}/again", json={})
    assert again.status_code == 202
    assert again.json()["run_id"] != str(run_id)

    gone = await http.post(f"/dlq/{run_id}/discard", json={"reason": "done by hand"})
    assert gone.json()["discard_reason"] == "done by hand"
    assert (await http.post(f"/dlq/{run_id}/discard", json={})).status_code == 409
    assert (await http.get("/dlq")).json()["total"] == 0
    assert (await http.get("/dlq", params={"discarded": True})).json()["total"] == 1


async def test_a_new_run_of_a_letter_may_be_refused_as_any_other(shop, http):
    [run_id] = await shop.dead("book")
    await http.put("/budgets/spent", json={"usd": 0, "agent": "shop"})
    answer = await http.post(f"/dlq/{run_id}/again", json={})
    assert answer.status_code == 402, answer.text


async def test_many_are_replayed_at_a_rate(shop, http):
    dead = await shop.dead("a", "b", "c")
    shop.repair()
    answer = (await http.post("/dlq/replay", json={"error": "ConnectionError", "rate": 100, "limit": 2})).json()
    assert (len(answer["run_ids"]), answer["remaining"], answer["seconds"]) == (2, 1, 0.01)
    assert (await http.post("/recovery/run", json={})).json()["remaining"] == 0
    assert {(await shop.end(run_id)).status for run_id in dead} == {"succeeded"}


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("POST", "/dlq/replay", {"rate": 0}, "rate"),
        ("POST", "/dlq/replay", {"since": "2026-11-21T08:00:00"}, "since"),
        ("POST", "/recovery/checkpoints/cleanup", {"older_than_days": 0}, "older_than_days"),
        ("GET", "/dlq?until=yesterday", None, "until"),
    ],
)
async def test_what_makes_no_sense_is_refused_and_the_field_named(http, method, path, body, field):
    answer = await http.request(method, path, json=body)
    assert answer.status_code == 422
    assert field in answer.json()["field"]


async def test_stuck_threads_and_checkpoints_are_told(shop, http):
    [run_id] = await shop.dead("hi", agent="caller", input={"messages": []}, thread_id="a/desk")
    [stuck] = (await http.get("/recovery/stuck")).json()
    assert (stuck["why"], stuck["recoverable"], stuck["run_id"]) == ("failed", True, str(run_id))
    told = (await http.get("/recovery/stuck/a/desk")).json()
    assert told["stuck"]
    assert told["standstill"]["place"]["pending_tool_calls"] == [
        {"id": "call-1", "name": "refund", "arguments": {"amount": 5}}
    ]
    assert (await http.get("/recovery/stuck/nobody's")).status_code == 404

    stats = (await http.get("/recovery/checkpoints")).json()
    assert (stats["count"], stats["agents"][0]["agent"]) == (3, "caller")
    assert (await http.post("/recovery/checkpoints/cleanup", json={"older_than_days": 1})).json() == {"threads": []}


async def test_the_figures_count_dead_letters(shop, http):
    await shop.dead("book")
    text = (await http.get("/metrics")).text
    assert 'outlast_dead_letters{agent_name="shop"} 1.0' in text
    assert "outlast_oldest_dead_letter_seconds 0." in text
