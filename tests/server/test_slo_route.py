"""GET /slo, with runs that really ran."""

import pytest

from outlast.domain.acting import across_tenants
from outlast.monitoring.slo.rollup import Rollup
from outlast.telemetry import emit
from waiting import until

OBJECTIVES = ["first_byte", "streams", "tools", "runs", "resumes", "recovery"]


async def observed(api, count):
    """Wait until so many runs were observed, and have them counted."""

    async def there():
        with across_tenants():
            async with api.runtime.pool.connection() as connection:
                rows = await (await connection.execute("SELECT count(*) FROM run_observations")).fetchall()
        return rows == [(count,)]

    await until(there)
    with across_tenants():
        async with api.runtime.pool.connection() as connection:
            await connection.execute("UPDATE slo_rollups SET rolled_at = 'epoch'")
    await Rollup(api.runtime.pool, api.runtime.settings.slo).turn()


async def test_runs_are_counted_as_they_ended(api):
    before = (await api.http.get("/slo")).json()
    assert [found["slo"] for found in before["objectives"]] == OBJECTIVES
    for agent in ("echo", "echo", "broken"):
        await api.ended((await api.start(agent=agent, input=1, max_attempts=1))["task_id"])
    await observed(api, 3)

    response = await api.http.get("/slo")
    assert response.status_code == 200
    report = response.json()
    assert report["counted_to"] is not None
    runs = next(found for found in report["objectives"] if found["slo"] == "runs")
    assert (runs["events"], runs["bad"], runs["agent"], runs["goal"], runs["limit"]) == (3, 1, None, 0.99, None)
    assert runs["promise"] == "99 % of runs without an error"
    assert runs["kept"] == pytest.approx(2 / 3)
    assert runs["budget_left"] == pytest.approx(1 - 100 / 3)
    assert runs["burn"] == {name: pytest.approx(100 / 3) for name in ("hour", "hours_6", "days_3")}
    # One failure is no proof that it burns; the budget is spent all the same.
    assert (runs["state"], runs["severity"], runs["text"]) == ("spent", None, None)
    cost = [found for found in report["objectives"] if found["slo"] == "cost"]
    assert cost == []


async def test_metrics_have_what_was_ever_counted(api):
    emit("stream.ended", protocol="v1", outcome="complete", first_byte_seconds=None, seconds=1.0)
    text = (await api.http.get("/metrics")).text
    assert 'outlast_slo_objective{slo="streams"} 0.995' in text
    assert 'outlast_slo_good_total{slo="runs"}' in text
    assert 'outlast_slo_events_total{slo="runs"}' in text


async def test_a_service_level_without_events_has_no_state(idle_api):
    objectives = (await idle_api.http.get("/slo")).json()["objectives"]
    assert {found["state"] for found in objectives} == {"none"}
    assert {found["kept"] for found in objectives} == {None}
