"""Judging in the database: each run counts once, one process at a time, and findings are what the rows say."""

import asyncio
from collections.abc import Iterator, Mapping
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest

from outlast.domain.acting import across_tenants, acting_for
from outlast.domain.anomaly import Anomaly, AnomalyQuery
from outlast.monitoring.anomalies.judge import Judge
from outlast.monitoring.anomalies.outputs import UnusualOutputs
from outlast.settings_anomalies import AnomalySettings
from outlast.settings_escalation import EscalationSettings
from outlast.storage.postgres.anomalies import AnomalyStore
from outlast.storage.postgres.listing import Page
from outlast.storage.postgres.pool import Pool
from outlast.telemetry import FaultInjected, subscribe
from outlast.validation.escalation import Subject

SETTINGS = AnomalySettings(warm_up=50, hold=0)


class Told:
    """What was told of findings."""

    def __init__(self) -> None:
        self.points: list[tuple[str, Mapping[str, Any]]] = []

    def __call__(self, point: str, fields: Mapping[str, Any]) -> None:
        if point.startswith("anomaly."):
            self.points.append((point, fields))


@pytest.fixture
def told() -> Iterator[Told]:
    heard = Told()
    leave = subscribe(heard)
    yield heard
    leave()


@pytest.fixture
def pool(pool_of_module: Pool) -> Pool:
    return pool_of_module


async def execute(pool: Pool, statement: str, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with across_tenants():
        async with pool.transaction() as connection:
            cursor = await connection.execute(statement.encode(), dict(parameters))
            return await cursor.fetchall() if cursor.description else []


async def observe(pool: Pool, agent: str, *lengths: int, tenant: str = "default", **columns: Any) -> None:
    given = {
        "tenant": tenant, "agent": agent, "model": "gpt-4o", "epoch": 1, "status": "success", "seconds": 1.0, **columns
    }  # fmt: skip
    names, values = ", ".join(given), ", ".join(f"%({name})s" for name in given)
    await execute(
        pool,
        f"INSERT INTO run_observations (run_id, output_length, {names})"
        f" SELECT gen_random_uuid(), length, {values} FROM unnest(%(lengths)s::int[]) AS length",
        {**given, "lengths": list(lengths)},
    )


async def found(pool: Pool, agent: str, *, tenant: str = "default") -> list[Anomaly]:
    with acting_for(tenant):
        return (await AnomalyStore(pool).find(AnomalyQuery(agent=agent), page=Page(10)))[0]


def judge(pool: Pool, settings: AnomalySettings = SETTINGS) -> Judge:
    return Judge(AnomalyStore(pool), settings)


HEALTHY = tuple(1600 + 40 * (number % 10) for number in range(60))
SHORT = (40, 42, 41, 40)


async def test_a_finding_is_stored_and_then_told_once(pool: Pool, told: Told):
    await observe(pool, "told", *HEALTHY, *SHORT)
    await judge(pool).catch_up()
    [anomaly] = await found(pool, "told")
    assert (anomaly.model, anomaly.kind, anomaly.ended_at, anomaly.seen_runs) == ("gpt-4o", "length", None, 4)
    [(point, fields), *grown] = told.points
    assert (point, fields["anomaly_id"], fields["agent"]) == ("anomaly.found", anomaly.id, "told")
    assert [each["severity"] for _, each in grown] == ["warning"], "one run by itself had only been info"
    assert await judge(pool).catch_up() == 0

    await observe(pool, "told", *HEALTHY[:12])
    await judge(pool).catch_up()
    [anomaly] = await found(pool, "told")
    assert anomaly.ended_as == "normal"
    assert told.points[-1] == ("anomaly.ended", {
        "agent": "told", "model": "gpt-4o", "kind": "length", "anomaly_id": anomaly.id, "tenant": "default",
        "ended_as": "normal",
    })  # fmt: skip


async def test_one_process_judges_at_a_time_and_the_next_goes_on_where_it_stopped(pool: Pool):
    await observe(pool, "shared", *HEALTHY, *SHORT[:2])
    async with AnomalyStore(pool).judging() as judging:
        assert judging is not None
        assert await judge(pool).catch_up() == 0, "somebody else is at it"
    await asyncio.gather(*(judge(pool).catch_up() for _ in range(3)))
    await observe(pool, "shared", *SHORT)
    await asyncio.gather(*(judge(pool).catch_up() for _ in range(3)))
    assert len(await found(pool, "shared")) == 1
    [[runs]] = await execute(pool, "SELECT runs FROM anomaly_baselines WHERE agent = 'shared'", {})
    assert runs == 66


async def test_what_was_not_stored_to_the_end_is_judged_again_and_counts_once(pool: Pool, told: Told):
    await observe(pool, "killed", *HEALTHY, *SHORT)

    class Dying(Judge):
        async def _judged(self, judging: Any, runs: Any) -> Any:
            await super()._judged(judging, runs)
            raise FaultInjected

    with pytest.raises(FaultInjected):
        await Dying(AnomalyStore(pool), SETTINGS).catch_up()
    assert (await found(pool, "killed"), told.points) == ([], [])
    await judge(pool).catch_up()
    assert len(await found(pool, "killed")) == 1
    [[runs]] = await execute(pool, "SELECT runs FROM anomaly_baselines WHERE agent = 'killed'", {})
    assert runs == 64


async def test_what_a_run_said_is_forgotten_as_soon_as_it_was_compared(pool: Pool):
    await observe(pool, "prints", *HEALTHY, output_print=7, input_print=9)
    await judge(pool).catch_up()
    left = "SELECT count(*) FROM run_observations WHERE coalesce(output_print, input_print) IS NOT NULL"
    assert await execute(pool, left, {}) == [(0,)]


async def test_each_tenant_has_its_own_usual_and_sees_its_own_findings(pool: Pool):
    await observe(pool, "both", *HEALTHY, *SHORT, tenant="acme")
    await observe(pool, "both", *SHORT * 20, tenant="other")
    await judge(pool).catch_up()
    assert len(await found(pool, "both", tenant="acme")) == 1
    assert await found(pool, "both", tenant="other") == []
    assert await found(pool, "both") == []


async def test_failing_before_a_model_was_asked_counts_for_the_model_that_is_usual(pool: Pool):
    await observe(pool, "early", *HEALTHY)
    await judge(pool).catch_up()
    for _ in range(8):
        await observe(pool, "early", 0, model="", status="error", error_class="KeyError")
    await judge(pool).catch_up()
    [anomaly] = [each for each in await found(pool, "early") if each.kind == "errors"]
    assert anomaly.model == "gpt-4o"
    assert "failed with KeyError" in anomaly.text


async def test_what_is_open_of_an_agent_that_runs_no_more_ends(pool: Pool, told: Told):
    await observe(pool, "gone", *HEALTHY, *SHORT)
    await judge(pool).catch_up()
    [anomaly] = await found(pool, "gone")
    for statement in (
        "UPDATE anomalies SET found_at = now() - interval '2 days' WHERE agent = 'gone'",
        "UPDATE anomaly_baselines SET changed_at = now() - interval '2 days' WHERE agent = 'gone'",
    ):
        await execute(pool, statement, {})
    await judge(pool).catch_up()
    [anomaly] = await found(pool, "gone")
    assert anomaly.ended_as == "silent"
    assert told.points[-1][1]["anomaly_id"] == anomaly.id


async def test_a_finding_that_somebody_has_ended_is_ended_for_the_judge_too(pool: Pool):
    await observe(pool, "closed", *HEALTHY, *SHORT)
    await judge(pool).catch_up()
    await execute(
        pool,
        "UPDATE anomalies SET ended_at = now(), ended_as = 'usual' WHERE agent = 'closed' AND ended_at IS NULL",
        {},
    )
    await observe(pool, "closed", *SHORT)
    await judge(pool).catch_up()
    assert [each.ended_as for each in await found(pool, "closed")] == [None, "usual"]


async def test_a_single_output_is_unusual_beyond_what_is_learned_of_its_agent(pool: Pool):
    await observe(pool, "looked", *HEALTHY, confidence=0.8)
    await judge(pool).catch_up()
    outputs = UnusualOutputs(AnomalyStore(pool), SETTINGS, EscalationSettings())

    async def reasons(output: Any, agent: str = "looked") -> list[str]:
        return [reason.text for reason in await outputs.look(Subject(agent=agent, input=None, output=output))]

    assert await reasons("word " * 350) == []
    assert await reasons("no") == ["this is not as usual: length 2 against a median of 1,780 over 60 runs"]
    assert await reasons("") == ["this is not as usual: the agent said nothing, as in 0% of its runs"]
    assert await reasons("no", agent=f"unknown-{uuid4()}") == [], "nothing is known of it"
    [unsure] = await reasons({"text": "word " * 350, "confidence": 0.2})
    assert unsure == "this is not as usual: confidence 0.20 against a median of 0.80 over 60 runs"
    off = UnusualOutputs(
        AnomalyStore(pool), SETTINGS.model_copy(update={"off": ("length",)}), EscalationSettings()
    )  # fmt: skip
    assert await off.look(Subject(agent="looked", input=None, output="no")) == []


async def test_a_baseline_nobody_needs_any_more_is_forgotten(pool: Pool):
    await observe(pool, "old", *HEALTHY)
    await judge(pool).catch_up()
    age = "UPDATE anomaly_baselines SET changed_at = now() - interval '31 days' WHERE agent = 'old'"
    await execute(pool, age, {})
    await judge(pool, SETTINGS.model_copy(update={"silence": timedelta(days=1)})).catch_up()
    assert await execute(pool, "SELECT 1 FROM anomaly_baselines WHERE agent = 'old'", {}) == []
