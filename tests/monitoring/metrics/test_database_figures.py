"""What the database knows, in figures."""

from datetime import timedelta
from typing import Any

import pytest

from budget_rows import execute
from outlast.domain.acting import acting_for
from outlast.monitoring.metrics.database import figures
from outlast.monitoring.metrics.sample import Sample
from outlast.monitoring.metrics.sessions import Sessions
from outlast.monitoring.metrics.table import FIGURES
from outlast.settings import Settings
from outlast.settings_budgets import BudgetRule, BudgetSettings
from outlast.settings_metrics import MetricsSettings
from outlast.storage.postgres.metrics import SessionStore

TODAY = "(clock_timestamp() AT TIME ZONE 'UTC')::date"
MONTH = f"date_trunc('month', {TODAY})::date"


async def values(pool, name: str, **budgets: Any) -> dict[tuple[str, ...], float]:
    settings = Settings(budgets=BudgetSettings(rules=budgets))
    found = [sample for sample in await figures(pool, settings) if sample.name == name]
    return {tuple(sample.labels.values()): sample.value for sample in found}


async def counter(pool, name: str, period: str, *, tenant: str = "default", **columns: Any) -> None:
    names, given = ", ".join(columns), ", ".join(f"%({column})s" for column in columns)
    with acting_for(tenant):
        async with pool.connection() as connection:
            await connection.execute(
                f"INSERT INTO budget_counters (name, subject, period, per, {names})"
                f" VALUES ('{name}', '', {period}, 'tenant', {given})",
                columns,
            )


async def test_every_sample_is_in_the_table_and_has_its_labels(pool):
    for sample in await figures(pool, Settings()):
        figure = FIGURES[sample.name]
        assert figure.source == "database"
        assert sample.labels.keys() == figure.labels.keys()


async def test_the_fullest_budget_of_each_span_is_shown_whoever_has_it(pool):
    await counter(pool, "daily", TODAY, limit_micros=1000, spent_micros=100, reserved_micros=150)
    await counter(pool, "daily", TODAY, tenant="acme", limit_micros=1000, spent_micros=900, limit_tokens=10)
    await counter(pool, "daily", "DATE '2020-01-01'", limit_micros=1000, spent_micros=1000)
    await counter(pool, "monthly", MONTH, limit_tokens=200, spent_tokens=50)
    await counter(pool, "ever", "DATE 'epoch'", limit_tokens=100, spent_tokens=110)
    await counter(pool, "nothing", "DATE 'epoch'", limit_micros=0, spent_micros=0)

    used = await values(
        pool, "outlast_budget_used_ratio",
        daily=BudgetRule(period="day", usd=1), monthly=BudgetRule(period="month", tokens=200),
    )  # fmt: skip

    assert used == {("day", "usd"): 0.9, ("day", "tokens"): 0.0, ("month", "tokens"): 0.25, ("total", "tokens"): 1.1}


async def test_a_breaker_is_closed_tries_or_is_open(pool):
    await execute(
        pool,
        "INSERT INTO breakers (circuit, model, version, openings, since, probe_at, probe_by, probe_until) VALUES"
        " ('a', 'openai:closed', 1, 0, clock_timestamp(), clock_timestamp(), NULL, NULL),"
        " ('b', 'openai:open', 1, 1, clock_timestamp(), clock_timestamp(), NULL, NULL),"
        " ('c', 'openai:open', 1, 0, clock_timestamp(), clock_timestamp(), NULL, NULL),"
        " ('d', 'openai:trying', 1, 2, clock_timestamp(), clock_timestamp(), gen_random_uuid(),"
        "  clock_timestamp() + interval '1 minute')",
    )
    assert await values(pool, "outlast_breaker_state") == {
        ("openai:closed",): 0, ("openai:open",): 2, ("openai:trying",): 1
    }  # fmt: skip
    assert await values(pool, "outlast_breakers_open") == {
        ("openai:closed",): 0, ("openai:open",): 1, ("openai:trying",): 1
    }  # fmt: skip


def test_a_sample_reads_like_a_line_of_prometheus():
    assert Sample("outlast_runs", {"status": "queued"}, 3)._asdict() == {
        "name": "outlast_runs", "labels": {"status": "queued"}, "value": 3
    }  # fmt: skip


async def ended(pool, thread: int, began_minutes_ago: float, ended_minutes_ago: float | None, *, agent: str = "shop"):
    """Insert a run by its times; None: it goes on."""
    await execute(
        pool,
        "INSERT INTO threads (key, thread_id) VALUES (md5(%(thread)s)::uuid, %(thread)s) ON CONFLICT DO NOTHING",
        thread=f"thread {thread}",
    )
    await execute(
        pool,
        "INSERT INTO runs (id, thread_key, agent, status, created_at, ended_at) VALUES (gen_random_uuid(),"
        " md5(%(thread)s)::uuid, %(agent)s, CASE WHEN %(ended)s::float8 IS NULL THEN 'waiting' ELSE 'succeeded' END,"
        " clock_timestamp() - make_interval(secs => %(began)s::float8 * 60),"
        " clock_timestamp() - make_interval(secs => %(ended)s::float8 * 60))",
        thread=f"thread {thread}", agent=agent, began=began_minutes_ago, ended=ended_minutes_ago,
    )  # fmt: skip


@pytest.fixture
async def counts_sessions(pool):
    """The process of the oldest live worker."""
    await execute(
        pool,
        "INSERT INTO workers (id, host, pid, concurrency, agents, state, started_at) VALUES"
        " (gen_random_uuid(), 'here', 1, 1, '{}', 'live', clock_timestamp() - interval '1 day'),"
        " (gen_random_uuid(), 'there', 2, 1, '{}', 'live', clock_timestamp())",
    )
    return SessionStore(pool, host="here", pid=1, pause_seconds=1800)


async def test_sessions_that_went_quiet_are_counted_by_the_process_of_the_oldest_worker(pool, counts_sessions):
    # Ended half an hour ago, after a pause of 20 minutes, and a session of long ago.
    await ended(pool, 1, 500, 490)
    await ended(pool, 1, 91, 81)
    await ended(pool, 1, 61, 31)
    # Goes on; too new; too old.
    await ended(pool, 2, 61, 31)
    await ended(pool, 2, 10, None)
    await ended(pool, 3, 20, 10)
    await ended(pool, 4, 200, 100)

    until = await counts_sessions.turn()
    assert until is not None
    (session,) = await counts_sessions.over(until - timedelta(minutes=2), until)
    assert session == ("shop", pytest.approx(3600, abs=1))
    assert await SessionStore(pool, host="there", pid=2, pause_seconds=1800).turn() is None


async def test_the_first_look_only_finds_out_where_to_begin(pool, counts_sessions):
    await ended(pool, 1, 61, 31)
    sessions = Sessions(pool, MetricsSettings())
    sessions._store = counts_sessions
    assert await sessions.round() == 0
    sessions._since -= timedelta(minutes=2)
    assert await sessions.round() == 1
    assert await sessions.round() == 0, "each is counted once"


async def test_figures_see_all_tenants(pool):
    await ended(pool, 1, 10, None)
    with acting_for("acme"):
        assert (await values(pool, "outlast_runs"))["waiting",] == 1
