"""Every way to start a run passes the same gate, and a refusal tells programs what to do."""

from datetime import timedelta

import pytest
from server_api import Api, client_of

from outlast.refusals import BudgetExceeded
from outlast.settings_admission import LimitSettings

RUN = {"assistant_id": "echo", "input": {}}
WAYS = {
    "/agent/start": {"agent": "echo", "input": {}},
    "/agent/run": {"agent": "echo", "input": {}},
    "/chat": {"message": "hi", "user_id": "ann", "agent": "chat"},
    "/runs": RUN,
    "/runs/wait": RUN,
    "/runs/stream": RUN,
    "/runs/batch": [RUN],
    "/threads/{thread}/runs": RUN,
    "/threads/{thread}/runs/wait": RUN,
    "/threads/{thread}/runs/stream": RUN,
    "/threads/{thread}/commands": {"id": 1, "method": "run.start", "params": RUN},
}


@pytest.fixture(scope="module")
async def used_up(databases, open_runtime):
    """An API whose only run of the day has been started already."""
    url = await databases.create()
    async with (
        open_runtime(url, limits=LimitSettings(rules=("1/day per everybody",))) as runtime,
        client_of(runtime) as http,
    ):
        api = Api(runtime, http)
        await api.start(agent="echo", input={})
        yield api
    await databases.leave(url)


@pytest.fixture(scope="module")
async def full(databases, open_runtime):
    """An API whose queue is full."""
    url = await databases.create()
    limits = LimitSettings(queued=1, queue_look=timedelta(hours=1))
    async with open_runtime(url, limits=limits) as runtime, client_of(runtime) as http:
        api = Api(runtime, http)
        await api.start(agent="echo", input={})
        yield api
    await databases.leave(url)


@pytest.mark.parametrize("way", WAYS)
async def test_what_a_limit_refuses_is_429_on_every_way_in(used_up, way):
    thread = (await used_up.http.post("/threads", json={})).json()["thread_id"]

    response = await used_up.http.post(way.format(thread=thread), json=WAYS[way])

    problem = response.json()
    assert (response.status_code, problem["code"]) == (429, "rate_limited"), response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["rule"] == "1/day per everybody"
    assert 86_000 < int(response.headers["retry-after"]) <= 86_400 + 1440
    assert response.headers["ratelimit-limit"] == "1"
    assert response.headers["ratelimit-remaining"] == "0"
    assert response.headers["ratelimit-reset"] == response.headers["retry-after"]
    assert response.headers["ratelimit-policy"] == "1;w=86400"


async def test_a_batch_that_never_fits_is_not_told_to_come_back(used_up):
    response = await used_up.http.post("/runs/batch", json=[RUN] * 2)

    assert response.status_code == 429
    assert "retry-after" not in response.headers


async def test_a_full_queue_is_503_and_says_when_to_come_back(full):
    response = await full.http.post("/agent/start", json=WAYS["/agent/start"])

    assert (response.status_code, response.json()["code"]) == (503, "overloaded")
    assert response.json()["setting"] == "limits.queued"
    assert response.headers["retry-after"] == "5"


async def test_a_tick_of_a_cron_that_a_limit_refuses_is_skipped_and_kept_with_its_reason(used_up):
    cron = {"schedule": "0 0 1 1 *", "assistant_id": "count", "input": {}}
    made = await used_up.http.post("/runs/crons", json=cron)
    assert made.status_code == 200, made.text
    async with used_up.runtime.pool.connection() as connection:
        await connection.execute("UPDATE crons SET next_run_at = clock_timestamp()", {})
    before = len(await used_up.runtime.admission.find(verdict="refuse"))

    await used_up.runtime.scheduler().round()

    after = await used_up.runtime.admission.find(verdict="refuse")
    assert len(after) - before == 1
    assert [kept.decision.code for kept in after if kept.agent == "count"] == ["rate_limited"]
    assert len(await used_up.runtime.queue.store.find()) == 1


async def test_a_budget_is_402_with_its_figures(idle_api, monkeypatch):
    async def refuse(_pipeline, _run, **_how):
        message = "budget 'team' is spent"
        raise BudgetExceeded(message, budget="team", limit=5_000_000, spent=5_000_000, unit="usd_micros")

    monkeypatch.setattr("outlast.admission.pipeline.Pipeline.decide", refuse)
    response = await idle_api.http.post("/agent/start", json=WAYS["/agent/start"])

    problem = response.json()
    assert (response.status_code, problem["code"]) == (402, "budget_exceeded")
    assert (problem["budget"], problem["limit"], problem["unit"]) == ("team", 5_000_000, "usd_micros")
    assert "retry-after" not in response.headers
