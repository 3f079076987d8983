"""How PostgreSQL answers the store's questions in a store of a size that matters."""

import json
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from psycopg import AsyncConnection, sql

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import connect
from outlast.storage.postgres.queries import numbered

_FILL = """
INSERT INTO store_items (path, key, value)
SELECT '.users.u' || n % 2000 || '.notes.', 'k' || n, jsonb_build_object('n', n, 'kind', n % 7)
FROM generate_series(1, 60000) AS n;
INSERT INTO store_vectors (path, key, part, embedding)
SELECT path, key, 0, ARRAY[1, 0, 0, 0]::real[] FROM store_items;
INSERT INTO assistants (id, graph_id, name) SELECT md5('a' || n)::uuid, 'g', 'n' FROM generate_series(1, 100) AS n;
INSERT INTO crons (id, assistant_id, schedule, next_run_at, payload, template)
SELECT md5('c' || n)::uuid, md5('a' || abs(n) % 100 + 1)::uuid, '* * * * *',
       clock_timestamp() + n * interval '1 hour', '{}', '{}'
FROM generate_series(-5, 20000) AS n;
ANALYZE
"""
ONE = {"from": ".users.u7.", "below": ".users.u7/", "limit": 10, "offset": 0}


@pytest.fixture(scope="module")
async def filled(database_of_module: DatabaseSettings) -> AsyncIterator[AsyncConnection[Any]]:
    settings = database_of_module.model_copy(update={"statement_timeout_ms": 0})
    async with await connect(settings, application_name="plans") as connection:
        for statement in _FILL.split(";"):
            await connection.execute(statement.encode())
        # As a statement that is executed again and again.
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        yield connection


async def plan(
    connection: AsyncConnection[Any], concept: str, name: str, *flags: str, **parameters: Any
) -> dict[str, Any]:
    """Execute a statement that was prepared once, for any parameters."""
    statement = numbered(concept, name, *flags)
    given = sql.SQL(", ").join(sql.Literal(value) for value in statement.arguments(parameters))
    types = sql.SQL(", ").join(sql.SQL("unknown") for _ in statement.names)
    await connection.execute(
        sql.SQL("PREPARE s ({}) AS ").format(types) + sql.SQL(statement.text.decode()), prepare=False
    )
    explain = sql.SQL("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE s ({})").format(given)
    ((found,),) = await (await connection.execute(explain, prepare=False)).fetchall()
    await connection.execute("DEALLOCATE s", prepare=False)
    return (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from nodes(inner)


def blocks(plan: dict[str, Any]) -> int:
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def whole_tables(plan: dict[str, Any]) -> list[str]:
    return [node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan"]


@pytest.mark.parametrize("flags", [(), ("contains",), ("conditions",)])
async def test_a_search_reads_its_namespace_and_no_other(filled: AsyncConnection[Any], flags: tuple[str, ...]) -> None:
    found = await plan(filled, "items", "search", *flags, **ONE, contains='{"kind": 3}', conditions="[]")

    assert whole_tables(found) == []
    assert blocks(found) < 200


async def test_a_search_by_meaning_reads_its_namespace_and_no_other(filled: AsyncConnection[Any]) -> None:
    found = await plan(filled, "items", "nearest", **ONE, vector=[1.0, 0.0, 0.0, 0.0])

    assert whole_tables(found) == []
    assert blocks(found) < 1000


async def test_a_list_of_namespaces_reads_as_many_as_it_shows(filled: AsyncConnection[Any]) -> None:
    every = {"from": ".", "below": "/", "patterns": [], "limit": 10, "offset": 0}
    deep = await plan(filled, "items", "namespaces", **every, depth=2**31 - 1)
    cut = await plan(filled, "items", "namespaces", **every, depth=1)

    assert (deep["Actual Rows"], cut["Actual Rows"]) == (10, 1)
    for found in (deep, cut):
        assert whole_tables(found) == []
        assert blocks(found) < 300


@pytest.mark.parametrize("name", ["due", "next_due"])
async def test_the_clock_does_not_read_what_is_not_due(filled: AsyncConnection[Any], name: str) -> None:
    found = await plan(filled, "crons", name, agents=["g"], limit=20)

    assert "crons" not in whole_tables(found)
    assert blocks(found) < 100
