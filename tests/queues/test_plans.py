"""How PostgreSQL executes the hot statements on a table of a size that matters."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any
from uuid import uuid4

import pytest
from psycopg import AsyncConnection
from run_rows import AGENTS, ANY_TURN, MAX_CRASHES

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import connect
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.roles import as_role, claim_role
from outlast.storage.postgres.workers import LOCK_CLASS

RUNS, INTAKE, ENDS, WORKERS = Queries("runs"), Queries("run_intake"), Queries("run_ends"), Queries("workers")
QUEUED, ENDED, BLOCKED, WAITING, RUNNING = 20_000, 50_000, 500, 500, 100

_FILL = """
INSERT INTO threads (key, thread_id)
SELECT md5('t' || n)::uuid, 't' || n FROM generate_series(1, %(threads)s) AS n;
INSERT INTO workers (id, host, pid, concurrency, agents, state, ended_at)
SELECT md5('w' || n)::uuid, 'h', n, 8, '{a}', CASE WHEN n <= 10 THEN 'live' ELSE 'dead' END,
       CASE WHEN n > 10 THEN clock_timestamp() END
FROM generate_series(1, 2000) AS n;
INSERT INTO runs (id, thread_key, agent, status, priority, available_at, ended_at, worker_id, epoch)
SELECT md5('r' || n)::uuid, md5('t' || n)::uuid, 'a',
       CASE WHEN n <= 20000 THEN 'queued' WHEN n <= 20500 THEN 'waiting' WHEN n <= 20600 THEN 'running'
            ELSE 'succeeded' END,
       n %% 3, clock_timestamp() - interval '1 hour' + n * interval '10 ms',
       CASE WHEN n > 20600 THEN clock_timestamp() END,
       CASE WHEN n BETWEEN 20501 AND 20600 THEN md5('w' || n %% 10 + 1)::uuid END, 1
FROM generate_series(1, %(threads)s) AS n;
INSERT INTO runs (id, thread_key, agent, status) SELECT md5('b' || n)::uuid, md5('t' || n)::uuid, 'a', 'blocked'
FROM generate_series(1, 500) AS n;
INSERT INTO run_details (run_id, input) SELECT id, '{}' FROM runs;
ANALYZE
"""


@pytest.fixture(scope="module")
async def filled(database_of_module: DatabaseSettings) -> AsyncIterator[AsyncConnection[Any]]:
    settings = database_of_module.model_copy(update={"statement_timeout_ms": 0})
    async with await connect(settings, application_name="plans") as connection:
        for statement in _FILL.split(";"):
            await connection.execute(statement.encode(), {"threads": QUEUED + WAITING + RUNNING + ENDED})
        # As workers and recovery look.
        await connection.execute(as_role(claim_role(settings.schema_name)))
        yield connection


async def plan(connection: AsyncConnection[Any], statement: bytes, **parameters: Any) -> dict[str, Any]:
    """Execute and take everything back."""
    async with connection.transaction(force_rollback=True):
        cursor = await connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, parameters)
        ((found,),) = await cursor.fetchall()
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def scanned(plan: dict[str, Any], table: str) -> set[str]:
    """How a table was read: the names of indexes, or of the kind of scan."""
    return {
        node.get("Index Name", node["Node Type"])
        for node in nodes(plan)
        if node.get("Relation Name") == table and "Scan" in node["Node Type"] and "Bitmap" not in node["Node Type"]
    } | {
        node["Index Name"]
        for node in nodes(plan)
        if node["Node Type"] == "Bitmap Index Scan" and table in node["Index Name"]
    }  # fmt: skip


def blocks(plan: dict[str, Any]) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


async def test_a_claim_reads_the_index_of_what_is_claimable_and_nothing_else(filled: AsyncConnection[Any]) -> None:
    found = await plan(
        filled, RUNS.claim, worker_id=await _live_worker(filled), agents=list(AGENTS), limit=8, max_crashes=MAX_CRASHES,
        **ANY_TURN,
    )  # fmt: skip

    assert scanned(found, "runs") == {"runs_claimable", "runs_pkey"}
    assert found["Actual Rows"] == 8
    assert blocks(found) < 1000


async def _live_worker(connection: AsyncConnection[Any]) -> Any:
    cursor = await connection.execute("SELECT id FROM workers WHERE state = 'live' LIMIT 1")
    row = await cursor.fetchone()
    assert row is not None
    return row[0]


async def test_recovery_reads_indexes_only(filled: AsyncConnection[Any]) -> None:
    dead = await plan(filled, WORKERS.declare_dead, lease=15.0, grace=1.5, class_id=LOCK_CLASS)
    reap = await plan(filled, WORKERS.reap, limit=200)
    stranded = await plan(filled, WORKERS.stranded)
    unknown = await plan(filled, WORKERS.give_back_unknown, id=await _live_worker(filled), known=[], epochs=[])

    assert scanned(dead, "workers") == {"workers_live"}
    assert scanned(reap, "runs") <= {"runs_by_worker", "runs_front", "runs_pkey"}
    assert scanned(stranded, "runs") <= {"runs_blocked", "runs_front"}
    assert scanned(unknown, "runs") == {"runs_by_worker"}


@pytest.mark.parametrize("name", ["force_cancelled", "overdue", "buried"])
async def test_the_search_for_runs_without_a_future_does_not_read_what_has_ended(
    name: str, filled: AsyncConnection[Any]
) -> None:
    found = await plan(filled, getattr(RUNS, name), grace=30.0, max_crashes=3)

    assert "Seq Scan" not in scanned(found, "runs")


async def test_the_end_of_a_run_and_what_follows_it_read_indexes_only(filled: AsyncConnection[Any]) -> None:
    cursor = await filled.execute("SELECT id, thread_key FROM runs WHERE status = 'running' LIMIT 1")
    row = await cursor.fetchone()
    assert row is not None
    settled = await plan(
        filled, ENDS.settle, id=row[0], epoch=1, status="succeeded", errors=0, delay=0.0, output=b"{}", interrupts=None,
        waiting_at=None, error_code=None, error_message=None, last_pos=None, thread_state="idle", thread_values=None,
        questions=None, thread_waiting_at=None, stands_at=None, thread_error=None, thread_pos=None, grace=1.0,
    )  # fmt: skip
    unblocked = await plan(filled, ENDS.unblock, thread_key=row[1])
    still = await plan(filled, RUNS.moving_among, ids=[uuid4() for _ in range(50)])

    assert scanned(settled, "runs") == {"runs_pkey"}
    assert scanned(unblocked, "runs") <= {"runs_blocked", "runs_front", "runs_by_thread", "runs_pkey"}
    assert scanned(still, "runs") == {"runs_pkey"}
    assert blocks(unblocked) < 50


async def test_a_run_is_taken_in_without_reading_what_its_thread_did_before(filled: AsyncConnection[Any]) -> None:
    cursor = await filled.execute("SELECT thread_key FROM runs WHERE status = 'waiting' LIMIT 1")
    row = await cursor.fetchone()
    assert row is not None
    standing = await plan(filled, INTAKE.standing, thread_key=row[0])
    superseded = await plan(filled, INTAKE.supersede, thread_key=row[0])
    stepped_back = await plan(filled, INTAKE.step_back, thread_key=row[0], delay=0.0)
    asked = await plan(filled, INTAKE.asked, thread_key=row[0])

    for found in (standing, superseded, stepped_back, asked):
        assert scanned(found, "runs") <= {"runs_front", "runs_blocked"}
        assert blocks(found) < 50


async def test_those_who_cancel_everything_do_not_read_what_has_ended(filled: AsyncConnection[Any]) -> None:
    found = await plan(filled, ENDS.cancellable, thread_key=None, statuses=["blocked"], access=None)

    assert "Seq Scan" not in scanned(found, "runs")
    assert found["Actual Rows"] == 500


async def test_the_time_until_something_is_due_does_not_read_what_has_ended(filled: AsyncConnection[Any]) -> None:
    found = await plan(filled, RUNS.next_due, agents=list(AGENTS), max_crashes=3)

    assert "Seq Scan" not in scanned(found, "runs")
