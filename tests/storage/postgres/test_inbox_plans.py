"""What the inbox costs while many runs wait."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from psycopg import AsyncConnection

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import connect
from outlast.storage.postgres.queries import Queries

INBOX = Queries("inbox")
_FILL = """
INSERT INTO threads (key, thread_id) SELECT md5('t' || n)::uuid, 't' || n FROM generate_series(1, 10000) AS n;
INSERT INTO runs (id, thread_key, agent, status, epoch)
SELECT md5('r' || n)::uuid, md5('t' || n)::uuid, 'a', 'waiting', 1 FROM generate_series(1, 10000) AS n;
INSERT INTO run_details (run_id, input) SELECT id, '{}' FROM runs;
INSERT INTO questions (id, run_id, thread_key, agent, epoch, interrupt_id, kind, value, hash, allowed, due_at, look_at)
SELECT md5('q' || n)::uuid, md5('r' || n)::uuid, md5('t' || n)::uuid, 'a', 1, repeat('a', 32), 'interrupt', '{}',
       repeat('0', 64), '{approve}', d.at, d.at
FROM generate_series(1, 10000) AS n, LATERAL (
    SELECT CASE WHEN n % 2 = 0 THEN clock_timestamp() + (n - 5) * interval '1 hour' END AS at
) AS d;
ANALYZE
"""


@pytest.fixture(scope="module")
async def waiting(database_of_module: DatabaseSettings) -> AsyncIterator[AsyncConnection[Any]]:
    async with await connect(database_of_module, application_name="plans") as connection:
        for statement in _FILL.split(";"):
            await connection.execute(statement.encode())
        yield connection


async def blocks(connection: AsyncConnection[Any], statement: bytes, **parameters: Any) -> int:
    """Execute, take everything back, and return how many blocks were looked at."""
    async with connection.transaction(force_rollback=True):
        cursor = await connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, parameters)
        ((found,),) = await cursor.fetchall()
    (explained,) = json.loads(found) if isinstance(found, str) else found
    return explained["Plan"]["Shared Hit Blocks"] + explained["Plan"]["Shared Read Blocks"]


async def test_a_look_for_deadlines_is_one_probe_of_an_index_however_many_runs_wait(
    waiting: AsyncConnection[Any],
) -> None:
    assert await blocks(waiting, INBOX.due, limit=100) <= 12


async def test_an_answer_looks_at_nothing_but_its_own_rows(waiting: AsyncConnection[Any]) -> None:
    ((question,),) = await (await waiting.execute(b"SELECT md5('q7')::uuid")).fetchall()
    ((thread,),) = await (await waiting.execute(b"SELECT md5('t7')::uuid")).fetchall()
    assert await blocks(waiting, INBOX.get, id=question) <= 30
    assert await blocks(waiting, INBOX.lock, id=question) <= 40
    assert await blocks(waiting, INBOX.asked_last, thread_key=thread) <= 40
    answer = {"decision": "approve", "by": "ann", "answer": b"{}", "told": b"{}"}
    assert await blocks(waiting, INBOX.close_alone, id=question, **answer) <= 150
