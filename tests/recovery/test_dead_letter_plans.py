"""Dead letters and stuck runs are found without reading the runs that are well."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from psycopg import AsyncConnection

from outlast.storage.postgres.pool import connect
from outlast.storage.postgres.queries import Queries, numbered
from outlast.storage.postgres.roles import app_role, as_role, claim_role
from outlast.storage.postgres.scoping import SCOPE_NAMED

METRICS, LETTERS, STUCK = Queries("metrics"), Queries("dead_letters"), Queries("stuck_runs")
_FILL = """
INSERT INTO threads (key, tenant, thread_id)
SELECT md5('t' || n)::uuid, 'acme', 't' || n FROM generate_series(1, 20000) AS n;
INSERT INTO runs (id, thread_key, agent, status, ended_at, discarded_at, tenant)
SELECT md5('r' || n)::uuid, md5('t' || n)::uuid, 'a', CASE WHEN n <= 5000 THEN 'failed' ELSE 'succeeded' END,
       clock_timestamp() - n * interval '1 s', CASE WHEN n BETWEEN 201 AND 5000 THEN clock_timestamp() END, 'acme'
FROM generate_series(1, 20000) AS n;
INSERT INTO run_details (run_id, input, error_code, tenant) SELECT id, '{}', 'KeyError', 'acme' FROM runs
"""


@pytest.fixture(scope="module")
async def filled(database_of_module) -> AsyncIterator[AsyncConnection[Any]]:
    settings = database_of_module.model_copy(update={"statement_timeout_ms": 0})
    async with await connect(settings, application_name="plans") as connection:
        await connection.execute(as_role(claim_role(settings.schema_name)))
        for statement in _FILL.split(";"):
            await connection.execute(statement.encode())
        await connection.execute(b"RESET ROLE")
        await connection.execute(b"VACUUM ANALYZE runs")
        yield connection


async def plan(connection, role: str, statement: bytes, arguments: Any = ()) -> dict[str, Any]:
    async with connection.transaction(force_rollback=True):
        await connection.execute(SCOPE_NAMED, {"tenant": "acme", "role": role})
        cursor = await connection.execute(b"EXPLAIN (FORMAT JSON) " + statement, arguments)
        ((found,),) = await cursor.fetchall()
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def indexes(plan: dict[str, Any]) -> Iterator[str]:
    if plan.get("Relation Name") == "runs":
        yield plan.get("Index Name", plan["Node Type"])
    for inner in plan.get("Plans", ()):
        yield from indexes(inner)


async def test_the_figures_are_read_from_one_small_index(filled, database_of_module):
    found = await plan(filled, claim_role(database_of_module.schema_name), METRICS.dead_letters)
    assert set(indexes(found)) == {"runs_dead"}


async def test_a_list_of_letters_reads_failed_runs_alone(filled, database_of_module):
    statement = numbered("dead_letters", "find").text.replace(b"$1", b"20").replace(b"$2", b"0")
    found = await plan(filled, app_role(database_of_module.schema_name), statement)
    assert set(indexes(found)) <= {"runs_dead", "runs_failed"}


async def test_a_scan_for_stuck_runs_reads_no_run_that_is_well(filled, database_of_module):
    parameters = {"lease": 15, "silent": 600, "patience": 30, "limit": 100, "agent": None}
    found = await plan(filled, claim_role(database_of_module.schema_name), STUCK.suspects, parameters)
    assert "Seq Scan" not in set(indexes(found))
