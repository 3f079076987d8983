"""How PostgreSQL finds what is due among much that is not."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest
from psycopg import AsyncConnection

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import connect
from outlast.storage.postgres.queries import Queries

RETENTION, WEBHOOKS, EVENTS = Queries("retention"), Queries("webhooks"), Queries("events")
NOTIFICATIONS = Queries("notifications")
LONG = UUID(int=1)

_FILL = """
INSERT INTO threads (key, thread_id) SELECT md5('t' || n)::uuid, 't' || n FROM generate_series(1, 20000) AS n;
INSERT INTO threads (key, thread_id) VALUES ('00000000-0000-0000-0000-000000000001', 'long');
INSERT INTO thread_details (thread_key, expires_at)
SELECT md5('t' || n)::uuid, clock_timestamp() + (n - 5) * interval '1 hour' FROM generate_series(1, 20000) AS n;
INSERT INTO store_items (path, key, value, ttl_minutes, expires_at)
SELECT '.notes.', 'k' || n, '{}', 60, clock_timestamp() + (n - 5) * interval '1 hour'
FROM generate_series(1, 20000) AS n;
INSERT INTO runs (id, thread_key, agent, status, epoch, claimed_at, created_at, ended_at)
SELECT md5('r' || n)::uuid, '00000000-0000-0000-0000-000000000001', 'a', 'succeeded', 1,
       clock_timestamp() - n * interval '1 day', clock_timestamp() - n * interval '1 day',
       clock_timestamp() - n * interval '1 day'
FROM generate_series(1, 20000) AS n;
INSERT INTO run_details (run_id, input) SELECT id, '{}' FROM runs;
INSERT INTO webhook_deliveries (run_id, epoch, url, due_at)
SELECT md5('r' || n)::uuid, 1, 'https://example.com', clock_timestamp() + (n - 5) * interval '1 hour'
FROM generate_series(1, 20000) AS n;
INSERT INTO webhook_deliveries (run_id, epoch, url, state, due_at)
SELECT md5('r' || n)::uuid, 2, 'https://example.com', 'failed', clock_timestamp() + (n - 5) * interval '1 hour'
FROM generate_series(1, 20000) AS n;
INSERT INTO notifications (id, key, event, run_id, agent, kind, routed_at)
SELECT md5('n' || n)::uuid, 'failed:' || n, 'failed', md5('r' || n)::uuid, 'a', 'error',
       CASE WHEN n > 5 THEN clock_timestamp() END
FROM generate_series(1, 20000) AS n;
INSERT INTO notification_messages (id, channel, key, state, due_at, ended_at, created_at)
SELECT md5('m' || n || state)::uuid, 'ops', 'run:' || n, state, clock_timestamp() + (n - 5) * interval '1 hour',
       CASE WHEN state = 'sent' THEN clock_timestamp() + (n - 5) * interval '1 hour' END,
       clock_timestamp() - n * interval '1 hour'
FROM generate_series(1, 20000) AS n, (VALUES ('pending'), ('sent')) AS s (state);
INSERT INTO notification_items (notification_id, channel, message_id)
SELECT md5('n' || n)::uuid, 'ops', md5('m' || n || 'sent')::uuid FROM generate_series(1, 20000) AS n;
ANALYZE
"""


@pytest.fixture(scope="module")
async def filled(database_of_module: DatabaseSettings) -> AsyncIterator[AsyncConnection[Any]]:
    settings = database_of_module.model_copy(update={"statement_timeout_ms": 0})
    async with await connect(settings, application_name="plans") as connection:
        for statement in _FILL.split(";"):
            await connection.execute(statement.encode())
        yield connection


async def plan(connection: AsyncConnection[Any], statement: bytes, **parameters: Any) -> dict[str, Any]:
    """Execute and take everything back."""
    async with connection.transaction(force_rollback=True):
        cursor = await connection.execute(b"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + statement, parameters)
        ((found,),) = await cursor.fetchall()
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


async def blocks(connection: AsyncConnection[Any], statement: bytes, **parameters: Any) -> int:
    """Execute, take everything back and return how many pages were read."""
    whole = await plan(connection, statement, **parameters)
    return whole["Shared Hit Blocks"] + whole["Shared Read Blocks"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


async def test_upkeep_does_not_read_threads_that_live_on(filled: AsyncConnection[Any]) -> None:
    found = await plan(filled, RETENTION.expired_threads, limit=1000)

    (details,) = [node for node in nodes(found) if node.get("Relation Name") == "thread_details"]
    assert details["Actual Rows"] == 5
    assert details["Shared Hit Blocks"] + details["Shared Read Blocks"] < 20
    assert ("Seq Scan", "threads") not in {(node["Node Type"], node.get("Relation Name")) for node in nodes(found)}


async def test_upkeep_does_not_read_items_that_live_on(filled: AsyncConnection[Any]) -> None:
    assert await blocks(filled, RETENTION.forget_items, limit=1000) < 200


async def test_a_sender_does_not_read_reports_that_are_due_later(filled: AsyncConnection[Any]) -> None:
    assert await blocks(filled, WEBHOOKS.take, own=False, limit=10, lease_seconds=30.0) < 200


async def test_a_sender_does_not_read_messages_that_were_sent_or_are_due_later(
    filled: AsyncConnection[Any],
) -> None:
    assert await blocks(filled, NOTIFICATIONS.unrouted, limit=100) < 100
    assert await blocks(filled, NOTIFICATIONS.take, limit=10, lease_seconds=30.0) < 300
    lately = {"tenants": ["default"], "channels": ["ops"], "window_seconds": 60.0}
    assert await blocks(filled, NOTIFICATIONS.lately, **lately) < 100
    assert await blocks(filled, NOTIFICATIONS.close_incidents) < 100


async def test_upkeep_does_not_read_messages_that_are_kept(filled: AsyncConnection[Any]) -> None:
    assert await blocks(filled, NOTIFICATIONS.forget_messages, age=0.0, limit=10) < 300
    assert await blocks(filled, NOTIFICATIONS.forget_told, age=86400.0 * 30000, limit=10) < 100


async def test_upkeep_does_not_read_reports_that_are_kept(filled: AsyncConnection[Any]) -> None:
    assert await blocks(filled, RETENTION.forget_deliveries, before=datetime.now(UTC), limit=1000) < 200


async def test_following_a_thread_begins_without_reading_its_past(filled: AsyncConnection[Any]) -> None:
    assert await blocks(filled, EVENTS.births, threads=[LONG], slack=5.0) < 100


async def test_news_of_a_thread_are_not_looked_for_in_its_past(filled: AsyncConnection[Any]) -> None:
    read = await blocks(
        filled, EVENTS.news, threads=[LONG], after=[0], runs=[None], limit=256, bytes=1 << 20,
        ended_threads=[LONG], since=["2020-01-01T00:00:00Z"], most_ends=256, asked=[],
    )  # fmt: skip

    assert read < 100
