"""GET /usage: what calls cost, for whoever may see it."""

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import pytest
from auth_servers import bearer, guarded, sdk_of

from usage_rows import insert_thread, insert_usage, moment

JANUARY = {"from": "2026-01-01", "to": "2026-02-01"}
#: Every test has a day of its own.
AT = {day: moment(f"2026-01-{day:02d}T12:00:00Z") for day in range(1, 29)}


async def rows(server: Any, headers: Any = None, **parameters: Any) -> list[dict[str, Any]]:
    response = await server.http.get("/usage", params=parameters, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["rows"]


def day(number: int) -> dict[str, str]:
    return {"from": f"2026-01-{number:02d}", "to": f"2026-01-{number + 1:02d}"}


async def test_one_row_has_all_figures(idle_server):
    pool = idle_server.runtime.pool
    await insert_usage(pool, at=AT[1], cache_read_tokens=5, reasoning_tokens=3, cache_write_tokens=2)
    await insert_usage(pool, at=AT[1], outcome="failed", cost_micros=None, input_tokens=0, output_tokens=0)
    await insert_usage(pool, at=AT[1], outcome="cache", cost_micros=0, saved_micros=350)
    response = await idle_server.http.get("/usage", params=day(1))
    assert response.json() == {
        "from": "2026-01-01T00:00:00+00:00",
        "to": "2026-01-02T00:00:00+00:00",
        "by": [],
        "rows": [
            {
                "day": None, "tenant": None, "user": None, "agent": None, "provider": None, "model": None,
                "run_id": None, "thread_id": None, "calls": 2, "cached": 1, "failed": 1, "input_tokens": 100,
                "output_tokens": 10, "cache_read_tokens": 5, "cache_write_tokens": 2, "reasoning_tokens": 3,
                "cost_usd": "0.000350", "saved_usd": "0.000350", "unpriced_calls": 1,
            }
        ],
        "more": False,
    }  # fmt: skip


async def test_what_it_is_summed_by(idle_server):
    pool = idle_server.runtime.pool
    for model in ("gpt-4o", "gpt-4o", "mine"):
        await insert_usage(pool, at=AT[2], model=model, user_id="ada")
    for by in ("model,user", ["model", "user"]):
        found = await rows(idle_server, by=by, **day(2))
        assert [(row["model"], row["user"], row["calls"], row["day"]) for row in found] == [
            ("gpt-4o", "ada", 2, None), ("mine", "ada", 1, None),
        ]  # fmt: skip
    [row] = await rows(idle_server, by="day", **day(2))
    assert row["day"] == "2026-01-02"


async def test_the_limit_says_that_there_is_more(idle_server):
    pool = idle_server.runtime.pool
    for number in range(3):
        await insert_usage(pool, at=AT[3], model=f"model-{number}", cost_micros=number)
    response = await idle_server.http.get("/usage", params={"by": "model", "limit": 2, **day(3)})
    assert [row["model"] for row in response.json()["rows"]] == ["model-2", "model-1"]
    assert response.json()["more"] is True


async def test_filters(idle_server):
    pool, run = idle_server.runtime.pool, uuid4()
    await insert_thread(pool, "a thread")
    await insert_usage(pool, at=AT[4], run_id=run, thread_id="a thread", user_id="ada", agent="x", model="m")
    await insert_usage(pool, at=AT[4])
    for name, value in (
        ("run_id", str(run)), ("thread_id", "a thread"), ("user", "ada"), ("agent", "x"), ("model", "m"),
    ):  # fmt: skip
        assert [row["calls"] for row in await rows(idle_server, **{name: value}, **day(4))] == [1], name
        assert [row["calls"] for row in await rows(idle_server, **{name: value}, **day(5))] == [], name
    # Of a run and of a thread whenever it was; otherwise of the last days.
    assert [row["calls"] for row in await rows(idle_server, run_id=str(run))] == [1]
    assert [row["calls"] for row in await rows(idle_server, thread_id="a thread")] == [1]
    assert [row["calls"] for row in await rows(idle_server, agent="x")] == []


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"by": "modle"}, "by"),
        ({"by": ["day", "colour"]}, "by"),
        ({"by": ""}, "by"),
        ({"from": "yesterday"}, "from"),
        ({"to": "2026-13-01"}, "to"),
        ({"from": "2026-02-01", "to": "2026-01-01"}, "to"),
        ({"run_id": "x"}, "run_id"),
        ({"thread_id": ""}, "thread_id"),
        ({"thread_id": "a\0b"}, "thread_id"),
        ({"user": "a\0b"}, "user"),
        ({"model": "x" * 501}, "model"),
        ({"limit": 0}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"limit": 10_001}, "limit"),
        ({"form": "2026-01-01"}, "form"),
    ],
)
async def test_a_wrong_parameter_is_named(idle_server, parameters, field):
    response = await idle_server.http.get("/usage", params=parameters)
    assert response.status_code == 422, response.text
    assert response.json()["field"].partition("[")[0] == field


@pytest.mark.parametrize(
    "parameters",
    [
        {"from": "0001-01-01T00:00:00+14:00"}, {"to": "9999-12-31T23:59:59-14:00"}, {"from": "-1"},
        {"to": "0001-01-01"}, {"user": "\u202e\U0001f600"}, {"by": "day,day,day"},
        {"thread_id": "0190A000-0000-7000-8000-00000000ADA0"},
    ],
)  # fmt: skip
async def test_an_odd_parameter_is_no_error(idle_server, parameters):
    assert (await idle_server.http.get("/usage", params=parameters)).status_code == 200


async def test_it_is_in_the_description(idle_server):
    schema = (await idle_server.http.get("/openapi.json")).json()
    operation = schema["paths"]["/usage"]["get"]
    assert {parameter["name"] for parameter in operation["parameters"]} == {
        "by", "from", "to", "run_id", "thread_id", "user", "agent", "model", "provider", "limit",
    }  # fmt: skip
    assert "cost_usd" in schema["components"]["schemas"]["UsageBody"]["properties"]


@pytest.fixture(scope="module")
async def guard(databases: Any, open_runtime: Any, tmp_path_factory: Any) -> AsyncIterator[Any]:
    async with guarded(databases, open_runtime, tmp_path_factory.mktemp("usage_auth")) as server:
        yield server


async def test_it_is_asked_who_is_calling(guard):
    assert (await guard.http.get("/usage")).status_code == 401
    assert (await guard.http.get("/usage", headers=bearer("ada:deny"))).status_code == 403


async def test_a_caller_sees_the_usage_of_threads_that_are_his(guard):
    pool = guard.runtime.pool
    for name in ("ada", "eve"):
        thread = await sdk_of(guard, name).threads.create()
        await insert_usage(pool, thread_id=thread["thread_id"], agent=name)
    await insert_usage(pool, thread_id="of nobody", agent="gone")
    assert [row["agent"] for row in await rows(guard, bearer("ada"), by="agent")] == ["ada"]
    assert [row["agent"] for row in await rows(guard, bearer("eve"), by="agent")] == ["eve"]
    everybody = await rows(guard, bearer("root:admin"), by="agent")
    assert {row["agent"] for row in everybody} == {"ada", "eve", "gone"}
