"""What has nothing but its age is deleted when it is old, and nothing else with it."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from outlast.agents.checkpoints import erasing
from outlast.recovery.upkeep import Sweeps, Upkeep
from outlast.settings import RetentionSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.retention import RetentionStore
from outlast.storage.postgres.threads import ThreadStore
from planted_rows import insert, plant

DAY = timedelta(days=1)


def upkeep(pool: Pool, **ages: timedelta) -> Upkeep:
    return Upkeep(RetentionStore(pool, ThreadStore(pool, erasing)), RetentionSettings(**ages), Sweeps())


async def execute(pool: Pool, statement: str, *parameters: Any) -> None:
    async with pool.transaction() as connection:
        await connection.execute(statement.encode(), parameters)


async def ids(pool: Pool, statement: str) -> set[Any]:
    async with pool.transaction() as connection:
        return {row[0] for row in await (await connection.execute(statement.encode())).fetchall()}


async def a_run(pool: Pool, thread_id: str, days: int, **more: Any) -> UUID:
    run = await plant(pool, user="ann", thread_id=thread_id, canary=f"{thread_id}-{days}", **more)
    await execute(pool, "DELETE FROM webhook_deliveries WHERE run_id = %s", run)
    if "status" not in more:
        await execute(pool, "UPDATE runs SET ended_at = now() - %s * interval '1 day' WHERE id = %s", days, run)
    return run


async def test_old_runs_go_with_all_that_is_theirs(pool):
    old, new = await a_run(pool, "one", 40), await a_run(pool, "two", 20)
    assert await upkeep(pool, runs=DAY * 30).aged() == 1
    assert await ids(pool, "SELECT id FROM runs") == {new}
    assert await ids(pool, "SELECT lineage FROM call_journal") == {new}
    assert old not in await ids(pool, "SELECT run_id FROM run_details")


async def test_runs_stay_for_ever_where_nothing_else_was_said(pool):
    run = await a_run(pool, "one", 4000)
    await upkeep(pool).aged()
    assert await ids(pool, "SELECT id FROM runs") == {run}


async def test_an_old_run_stays_while_its_thread_is_busy_or_a_report_is_not_sent(pool):
    busy, reported = await a_run(pool, "one", 40), await a_run(pool, "two", 40)
    row = {"id": uuid4(), "agent": "a", "status": "queued"}
    async with pool.transaction() as connection:
        cursor = await connection.execute("SELECT thread_key FROM runs WHERE id = %s", [busy])
        [key] = await cursor.fetchone() or [None]
        await insert(connection, "runs", {**row, "thread_key": key})
        await insert(connection, "webhook_deliveries", {"run_id": reported, "epoch": 1, "url": "https://example.org"})
    assert await upkeep(pool, runs=DAY * 30).aged() == 0


async def test_idle_threads_are_deleted_unless_they_have_a_time_of_their_own(pool):
    for thread_id, days in (("idle", 40), ("used", 20), ("own", 40), ("busy", 40)):
        await a_run(pool, thread_id, days, **({"status": "waiting"} if thread_id == "busy" else {}))
        await execute(
            pool, "UPDATE thread_details SET updated_at = now() - %s * interval '1 day' WHERE thread_key ="
            " (SELECT key FROM threads WHERE thread_id = %s)", days, thread_id,
        )  # fmt: skip
    await execute(
        pool, "UPDATE thread_details SET expires_at = now() + interval '1 day', ttl_minutes = 1,"
        " ttl_strategy = 'delete' WHERE thread_key = (SELECT key FROM threads WHERE thread_id = 'own')",
    )  # fmt: skip

    assert await upkeep(pool, threads=DAY * 30).threads() == 1

    assert await ids(pool, "SELECT thread_id FROM threads WHERE deleted_at IS NULL") == {"used", "own", "busy"}


async def test_tombstones_decisions_days_and_budgets_go_by_their_ages(pool):
    await a_run(pool, "one", 1)
    async with pool.transaction() as connection:
        for name, days in (("old", 31), ("new", 29)):
            await insert(connection, "threads", {"key": uuid4(), "thread_id": name})
            await connection.execute(
                "UPDATE threads SET deleted_at = now() - %s * interval '1 day' WHERE thread_id = %s", [days, name]
            )
    await execute(pool, "UPDATE admission_decisions SET at = now() - interval '31 days'")
    await execute(pool, "UPDATE usage_days SET day = now() - interval '400 days' WHERE user_id IS NULL")
    await execute(pool, "UPDATE budget_counters SET changed_at = now() - interval '401 days'")
    await execute(pool, "UPDATE budget_counters SET period = '1970-01-01', reserved_micros = 1 WHERE per = 'run'")
    await execute(pool, "UPDATE budget_counters SET period = '1970-01-01' WHERE per = 'user'")

    await upkeep(pool, usage_days=DAY * 399).aged()

    assert await ids(pool, "SELECT thread_id FROM threads") == {"one", "new"}
    assert await ids(pool, "SELECT id FROM admission_decisions") == set()
    assert await ids(pool, "SELECT user_id FROM usage_days") == {"ann"}
    # What is reserved is still to be settled, and a user's total counts for ever.
    assert await ids(pool, "SELECT per FROM budget_counters") == {"user", "run"}
