"""Each figure on a real database: what it counts, and what it leaves out."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from outlast.domain.acting import across_tenants
from outlast.settings_alerts import BUILT_IN, FIGURES
from outlast.storage.postgres.alert_figures import SOURCES, AlertFigures, Looking, sources_of
from outlast.storage.postgres.checkpoints import thread_key

LOOKING = Looking(
    lease=timedelta(seconds=15), silent=timedelta(minutes=10), spans={"daily": "day", "all": "total"}, time_zone="UTC"
)


class Reading:
    """Rows as they stand in the tables, and the figures that are made of them."""

    def __init__(self, room: Any) -> None:
        self.room = room
        self.figures = AlertFigures(room.pool, LOOKING)

    async def __call__(self, source: str) -> dict[tuple[str, str, str], float]:
        rows = await self.figures.read(source)
        assert {row.name for row in rows} <= SOURCES[source][1]
        return {(row.name, row.tenant, row.of): row.value for row in rows}

    async def run(self, agent: str, set_: str = "", *, details: str = "", tenant: str = "default") -> Any:
        run = await self.room.due(agent, tenant)
        if set_:
            await self.room.execute(f"UPDATE runs SET {set_} WHERE id = %s", run)
        if details:
            await self.room.execute(f"UPDATE run_details SET {details} WHERE run_id = %s", run)
        return run

    async def worker(self, *agents: str, set_: str = "") -> Any:
        worker = uuid4()
        await self.room.execute(
            "INSERT INTO workers (id, host, pid, concurrency, agents) VALUES (%s, 'h', 1, 1, %s)", worker, list(agents)
        )
        if set_:
            await self.room.execute(f"UPDATE workers SET {set_} WHERE id = %s", worker)
        return worker


@pytest.fixture
def read(room: Any) -> Reading:
    return Reading(room)


def test_every_figure_has_a_source_and_every_built_in_rule_a_figure() -> None:
    given = frozenset[str]().union(*(figures for _, figures in SOURCES.values()))
    assert given == FIGURES.keys()
    metrics = {rule.metric for rule in BUILT_IN.values() if rule.metric is not None}
    assert metrics <= FIGURES.keys()
    assert "spending" not in sources_of(metrics), "what no rule asks for is not read"


async def test_dead_letters(read: Reading) -> None:
    failed = "status = 'failed', ended_at = now() - interval '2 hours'"
    await read.run("support", failed)
    await read.run("support", failed.replace("2 hours", "1 minute"))
    await read.run("support", f"{failed}, discarded_at = now()")
    await read.run("sales", failed, tenant="acme")
    found = await read("dead_letters")
    assert found["dead_letters", "default", "support"] == 2
    assert found["dead_letters", "acme", "sales"] == 1
    assert found["dead_letters_oldest_seconds", "default", "support"] == pytest.approx(7200, abs=60)


async def test_the_queue_without_what_is_not_due_or_held_back_by_a_kill_switch(read: Reading) -> None:
    hour_ago = "available_at = now() - interval '1 hour'"
    await read.run("support", hour_ago)
    await read.run("support", "available_at = now() + interval '1 hour'")
    await read.run("held", hour_ago)
    await read.run("orphan", hour_ago)
    await read.worker("support", "held")
    await read.worker("orphan", set_="heartbeat_at = now() - interval '1 minute'")
    await read.room.execute(
        "INSERT INTO switches (tenant, kind, name, reason) VALUES ('default', 'agent', 'held', 'wrong')"
    )
    found = await read("queue")
    assert found["queue_depth", "default", "support"] == 1
    assert found["queue_oldest_seconds", "default", "support"] == pytest.approx(3600, abs=60)
    assert found["runs_without_worker", "default", "support"] == 0
    assert found["runs_without_worker", "default", "orphan"] == 1
    assert not [key for key in found if key[2] == "held"]


async def test_runs_of_which_nothing_was_heard(read: Reading) -> None:
    worker = await read.worker("support")
    running = f"status = 'running', worker_id = '{worker}', claimed_at = now() - interval '1 hour'"
    await read.run("silent", running)
    await read.run("young", running.replace("1 hour", "1 minute"))
    await read.run("working", running, details="progress_at = now()")
    saved = await read.run("saved", running)
    saved_long_ago = await read.run("saved_long_ago", running)
    for run, at in ((saved, datetime.now(UTC)), (saved_long_ago, datetime.now(UTC) - timedelta(minutes=11))):
        ticks = int((at - datetime(1582, 10, 15, tzinfo=UTC)) / timedelta(microseconds=1)) * 10
        text = f"{ticks >> 28:08x}-{ticks >> 12 & 0xFFFF:04x}-6{ticks & 0xFFF:03x}-8000-000000000000"
        key = thread_key(str(run)).hex()
        await read.room.execute(
            "INSERT INTO checkpoint_heads (tenant, thread_key, ns, checkpoint_id) VALUES ('default', %s, '', %s)",
            key, text,
        )  # fmt: skip
    found = await read("silent_runs")
    assert {agent: count for (_, _, agent), count in found.items()} == {"silent": 1, "saved_long_ago": 1}


async def test_workers_that_are_there_and_that_died(read: Reading) -> None:
    await read.worker("a")
    await read.worker("a", set_="heartbeat_at = now() - interval '1 minute'")
    await read.worker("a", set_="state = 'dead', ended_at = now()")
    await read.worker("a", set_="state = 'dead', ended_at = now() - interval '1 hour'")
    await read.worker("a", set_="state = 'stopped', ended_at = now()")
    assert await read("workers") == {("workers_live", "default", ""): 1, ("worker_deaths", "default", ""): 1}


async def test_breakers_by_model(read: Reading) -> None:
    for circuit, openings in (("gpt/1", 2), ("gpt/2", 0)):
        await read.room.execute(
            "INSERT INTO breakers (circuit, model, version, openings, since, probe_at)"
            " VALUES (%s, 'openai:gpt', 1, %s, now(), now())", circuit, openings,
        )  # fmt: skip
    assert await read("breakers") == {("breakers_open", "default", "openai:gpt"): 1}


async def test_budgets_beyond_their_soft_limit_in_the_present_period(read: Reading) -> None:
    today, yesterday = "(now() AT TIME ZONE 'UTC')::date", "(now() AT TIME ZONE 'UTC')::date - 1"
    rows = [
        ("daily", "ann", today, "user", 95, True), ("daily", "bob", today, "user", 85, True),
        ("daily", "eve", today, "user", 50, False), ("daily", "old", yesterday, "user", 99, True),
        ("all", "default", "DATE 'epoch'", "tenant", 100, True), ("each", "r", "DATE 'epoch'", "run", 99, True),
        ("nobody_knows", "x", today, "user", 99, True),
    ]  # fmt: skip
    for name, subject, period, per, spent, told in rows:
        await read.room.execute(
            "INSERT INTO budget_counters (tenant, name, subject, period, per, limit_micros, spent_micros, soft_told)"
            f" VALUES ('default', %s, %s, {period}, %s, 100, %s, %s)", name, subject, per, spent, told,
        )  # fmt: skip
    assert await read("budgets") == {
        ("budget_used_ratio", "default", "daily"): 0.95, ("budget_used_ratio", "default", "all"): 1.0,
    }  # fmt: skip


async def test_what_was_counted_in_the_last_ten_minutes(read: Reading) -> None:
    await read.room.store.signal({("default", "loop_failures", "claim"): 3, ("acme", "budget_stops", "daily"): 1})
    await read.room.store.signal({("default", "loop_failures", "claim"): 2})
    await read.room.execute(
        "INSERT INTO alert_signals VALUES ('default', 'loop_failures', 'claim', now() - interval '11 minutes', 50)"
    )
    assert await read("signals") == {
        ("loop_failures", "default", "claim"): 5, ("budget_stops", "acme", "daily"): 1,
    }  # fmt: skip


async def test_shares_of_failed_runs_and_what_the_last_hour_has_cost(read: Reading) -> None:
    async def ended(agent: str, status: str, count: int, minutes: int = 1) -> None:
        await read.room.execute(
            "INSERT INTO run_observations (tenant, agent, run_id, epoch, ended_at, status, seconds, cost_usd, tokens)"
            " SELECT 'default', %s, gen_random_uuid(), 1, now() - make_interval(mins => %s), %s, 1, 0.5, 100"
            " FROM generate_series(1, %s)", agent, minutes, status, count,
        )  # fmt: skip

    await ended("support", "success", 6)
    await ended("support", "error", 4)
    await ended("support", "cancelled", 5)
    await ended("support", "error", 30, minutes=20)
    await ended("rare", "error", 9)
    assert await read("errors") == {("error_ratio", "default", "support"): 0.4}
    found = await read("spending")
    assert (found["cost_usd_hour", "default", "support"], found["runs_hour", "default", "support"]) == (22.5, 45)
    assert found["tokens_hour", "default", "rare"] == 900


async def test_questions_for_which_a_run_waits(read: Reading) -> None:
    waiting = await read.run("support", "status = 'waiting'")
    over = await read.run("support", "status = 'cancelled', ended_at = now()")
    for run in (waiting, over):
        await read.room.execute(
            "INSERT INTO questions (id, tenant, run_id, thread_key, agent, epoch, interrupt_id, kind, hash, allowed,"
            " asked_at) VALUES (gen_random_uuid(), 'default', %s, %s, 'support', 1, 'i', 'review', %s, '{approve}',"
            " now() - interval '5 hours')", run, thread_key(str(run)).hex(), "0" * 64,
        )  # fmt: skip
    found = await read("inbox")
    assert found["inbox_open", "default", ""] == 1
    assert found["inbox_oldest_seconds", "default", ""] == pytest.approx(5 * 3600, abs=60)


async def test_messages_that_were_given_up(read: Reading) -> None:
    for ended in ("now()", "now() - interval '2 hours'"):
        await read.room.execute(
            "INSERT INTO notification_messages (id, tenant, channel, key, state, ended_at)"
            f" VALUES (gen_random_uuid(), 'default', 'ops', 'k', 'failed', {ended})"
        )
    assert await read("undelivered") == {("notifications_failed", "default", "ops"): 1}
    assert await read("effects") == {}
    with across_tenants():
        assert await read.figures.anomalies() == []
