"""Usage is summed by whatever is asked for, and the sums stay the same when old rows become days."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from psycopg import AsyncRawCursor

from outlast.recovery.upkeep import Sweeps, Upkeep
from outlast.settings import RetentionSettings
from outlast.storage.postgres.pool import Pool, connect
from outlast.storage.postgres.queries import numbered
from outlast.storage.postgres.retention import RetentionStore
from outlast.storage.postgres.usage import DIMENSIONS, UsageQuery, UsageStore
from usage_rows import insert_thread, insert_usage, moment

OLD, NEW = moment("2026-01-31T23:59:00+00:00"), moment("2026-02-01T00:01:00+00:00")


async def sums(pool: Pool, *by: Any, limit: int = 100, **filters: Any) -> list[Any]:
    return await UsageStore(pool).summary(UsageQuery(by=by, **filters), limit=limit)


async def fold(pool: Pool, before: Any, limit: int = 100) -> int:
    threads: Any = None
    return await RetentionStore(pool, threads).fold_usage(before=before, limit=limit)


async def some_usage(pool: Pool) -> None:
    run = uuid4()
    for at in (OLD, NEW):
        await insert_usage(pool, at=at, run_id=run, user_id="ada", cache_read_tokens=40)
        await insert_usage(pool, at=at, user_id="ada", agent="other", model="mine", cost_micros=None)
        await insert_usage(pool, at=at, user_id="eve", outcome="cache", cost_micros=0, saved_micros=350)
        call = await insert_usage(
            pool, at=at, outcome="failed", input_tokens=0, output_tokens=0, cost_micros=0, provider="anthropic"
        )
        await insert_usage(pool, at=at, call_id=call, **{"try": 2}, thread_id="second", reasoning_tokens=7)


async def test_figures_of_all_calls_together(pool):
    await some_usage(pool)
    [row] = await sums(pool)
    assert (row.calls, row.cached, row.failed, row.unpriced) == (8, 2, 2, 2)
    # What came out of the cache was paid for by another call.
    assert (row.input_tokens, row.output_tokens) == (600, 60)
    assert (row.cache_read_tokens, row.reasoning_tokens) == (80, 14)
    assert (row.cost_micros, row.cost_usd, row.saved_usd) == (1400, "0.001400", "0.000700")
    assert [getattr(row, name) for name in ("day", "tenant", "user", "model", "run_id", "thread_id")] == [None] * 6


async def test_what_is_summed_by_and_filtered_by(pool):
    await insert_thread(pool, "thread")
    await some_usage(pool)
    assert {(row.user, row.calls) for row in await sums(pool, "user")} == {("ada", 4), ("eve", 2), (None, 2)}
    days = await sums(pool, "day", "model", user="ada")
    assert [(str(row.day), row.model, row.cost_micros) for row in days] == [
        ("2026-02-01", "gpt-4o", 350), ("2026-02-01", "mine", 0),
        ("2026-01-31", "gpt-4o", 350), ("2026-01-31", "mine", 0),
    ]  # fmt: skip
    [row] = await sums(pool, "provider", provider="anthropic")
    assert (row.provider, row.calls, row.failed) == ("anthropic", 0, 2)
    threads = {row.thread_id: row.calls for row in await sums(pool, "thread")}
    assert threads == {"thread": 6, None: 2}, "the thread of the last one is gone"
    [row] = await sums(pool, thread_id="second")
    assert row.calls == 2
    [of_run] = [row for row in await sums(pool, "run") if row.calls == 2]
    [row] = await sums(pool, run_id=of_run.run_id)
    assert (row.calls, row.cache_read_tokens) == (2, 80)
    assert [row.calls for row in await sums(pool, after=NEW)] == [4]
    assert [row.calls for row in await sums(pool, before=NEW)] == [4]
    assert len(await sums(pool, *DIMENSIONS, limit=3)) == 3


async def test_a_filter_that_matches_nothing_has_no_rows(pool):
    await some_usage(pool)
    assert await sums(pool, model="no-such-model") == []
    assert await sums(pool, run_id=uuid4()) == []


@pytest.mark.parametrize("by", [(), ("day",), ("user", "model"), ("day", "agent", "provider", "tenant")])
async def test_what_is_folded_into_days_changes_no_sum(pool, by):
    await some_usage(pool)
    before = await sums(pool, *by)
    assert await fold(pool, NEW) == 5
    assert await sums(pool, *by) == before
    assert await fold(pool, NEW) == 0
    assert await fold(pool, moment("2026-03-01T00:00:00Z")) == 5
    assert await sums(pool, *by) == before


async def test_a_day_that_is_folded_in_parts_is_one_day(pool):
    for _ in range(5):
        await insert_usage(pool, at=OLD)
    assert [await fold(pool, NEW, limit=2) for _ in range(4)] == [2, 2, 1, 0]
    async with pool.connection() as connection:
        days = await (await connection.execute("SELECT calls, cost_micros FROM usage_days")).fetchall()
    assert days == [(5, 1750)]
    assert [row.calls for row in await sums(pool)] == [5]


async def test_a_day_is_in_a_range_if_its_beginning_is(pool):
    await insert_usage(pool, at=OLD)
    await fold(pool, NEW)
    day = moment("2026-01-31T00:00:00Z")
    assert [row.calls for row in await sums(pool, after=day, before=NEW)] == [1]
    assert await sums(pool, after=moment("2026-01-31T00:00:01Z")) == []
    assert await sums(pool, before=day) == []


async def test_days_do_not_know_runs_threads_and_owners(pool):
    await insert_thread(pool, "thread", '{"owner": "ada"}')
    await insert_usage(pool, at=OLD)
    run = uuid4()
    await insert_usage(pool, at=NEW, run_id=run)
    await fold(pool, NEW)
    assert sorted(row.calls for row in await sums(pool, "run")) == [1, 1]
    for filters in (
        {"run_id": run},
        {"thread_id": "thread"},
        {"access": '$.owner == "ada"'},
        {"metadata": {"owner": "ada"}},
    ):
        assert [row.calls for row in await sums(pool, **filters)] == [1], filters


async def test_who_may_not_see_a_thread_does_not_see_its_usage(pool):
    for owner in ("ada", "eve"):
        await insert_thread(pool, owner, f'{{"owner": "{owner}"}}')
        await insert_usage(pool, thread_id=owner)
    await insert_usage(pool, thread_id="nobody's")
    rows = await sums(pool, "thread", access='$.owner == "ada"')
    assert [row.thread_id for row in rows] == ["ada"]
    assert [row.thread_id for row in await sums(pool, "thread", metadata={"owner": "eve"})] == ["eve"]


async def test_processes_that_fold_at_the_same_time_count_each_call_once(pool):
    for number in range(40):
        await insert_usage(pool, at=OLD, model=f"model-{number % 3}")

    async def all_of_them() -> None:
        while True:
            await fold(pool, NEW, limit=3)
            async with pool.connection() as connection:
                left = await (await connection.execute("SELECT count(*) FROM call_usage")).fetchone()
            if left == (0,):
                return

    await asyncio.gather(*(all_of_them() for _ in range(3)))
    assert [row.calls for row in await sums(pool)] == [40]


async def test_upkeep_folds_what_is_older_than_the_retention_and_keeps_the_rest(pool):
    async with pool.connection() as connection:
        now = await (await connection.execute("SELECT clock_timestamp()")).fetchone()
    for days in (80, 89, 91, 400):
        await insert_usage(pool, at=now[0] - timedelta(days=days))
    before = await sums(pool, "day")
    threads: Any = None
    upkeep = Upkeep(RetentionStore(pool, threads), RetentionSettings(), Sweeps())
    assert await upkeep.usage() == 2
    assert await upkeep.usage() == 0
    async with pool.connection() as connection:
        left = await (await connection.execute("SELECT count(*) FROM call_usage")).fetchone()
    assert left == (2,)
    assert await sums(pool, "day") == before


async def test_what_a_run_has_used_is_found_by_an_index(pool, database):
    # As the owner: nobody else may tell the planner what a table holds.
    async with await connect(database, application_name="test") as connection:
        await connection.execute(
            "INSERT INTO call_usage (call_id, try, run_id, lineage, thread_key, tenant, agent, provider, model,"
            " input_tokens, output_tokens, cache_read_tokens, cache_write_tokens, reasoning_tokens, outcome, seconds)"
            " SELECT gen_random_uuid(), 1, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), 'default', 'a',"
            " 'openai', 'gpt-4o', 1, 1, 0, 0, 0, 'answered', 0 FROM generate_series(1, 3000)"
        )
        await connection.execute("ANALYZE call_usage")
        for statement, parameters in (
            (numbered("usage", "spent_by"), {"run_id": uuid4()}),
            (numbered("usage", "summary", "run"), {**UsageQuery(run_id=uuid4()).parameters, "limit": 10}),
            (numbered("usage", "fold"), {"before": OLD, "limit": 10}),
        ):
            async with AsyncRawCursor(connection) as cursor:
                await cursor.execute(b"EXPLAIN " + statement.text, statement.arguments(parameters))
                plan = "\n".join(line for (line,) in await cursor.fetchall())
            assert "Seq Scan on call_usage" not in plan, plan


async def test_what_a_run_has_used_counts_calls_and_not_tries(pool):
    run = uuid4()
    call = await insert_usage(pool, run_id=run, outcome="failed", cost_micros=5, output_tokens=0)
    await insert_usage(pool, run_id=run, call_id=call, **{"try": 2})
    await insert_usage(pool, run_id=run, outcome="cache", cost_micros=0)
    await insert_usage(pool, run_id=run, cost_micros=None)
    await insert_usage(pool)
    assert await UsageStore(pool).spent_by(run) == (3, 320, 355)
    assert await UsageStore(pool).spent_by(uuid4()) == (0, 0, 0)
