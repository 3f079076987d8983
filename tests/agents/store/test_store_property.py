"""Any sequence of operations finds what LangGraph's in-memory store finds."""

import asyncio
import json
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from langgraph.store.base import GetOp, ListNamespacesOp, MatchCondition, Op, PutOp, SearchOp
from langgraph.store.memory import InMemoryStore

from outlast.agents.store.postgres_store import PostgresStore
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.items import ItemStore
from outlast.storage.postgres.pool import Pool

LABELS = st.sampled_from(["a", "b", "ab", "*b", "%", "_", "é", "a-", "\x1f", "\\"])
NAMESPACE = st.lists(LABELS, min_size=1, max_size=3).map(tuple)
PREFIX = st.lists(LABELS, max_size=2).map(tuple)
KEY = st.sampled_from(["k", "k2", "%", ""])
SCALARS = st.sampled_from([0, 1, 1.0, 2.5, -1, "x", "y", "", None])
VALUE = st.dictionaries(
    st.sampled_from(["n", "s", "d"]),
    st.one_of(
        SCALARS, st.lists(SCALARS, max_size=2), st.dictionaries(st.sampled_from(["n", "s"]), SCALARS, max_size=2)
    ),
    max_size=3,
)
# Its own stores differ on comparisons of what is no number, so those are not here.
WANTED = st.one_of(
    SCALARS,
    st.lists(SCALARS, max_size=2),
    st.builds(lambda operator, wanted: {operator: wanted}, st.sampled_from(["$eq", "$ne"]), SCALARS),
    st.dictionaries(st.sampled_from(["n", "s"]), SCALARS, max_size=2),
)
FILTER = st.none() | st.dictionaries(st.sampled_from(["n", "s", "d", "gone"]), WANTED, max_size=2)
PATH = st.lists(st.one_of(LABELS, st.just("*")), min_size=1, max_size=3).map(tuple)
MATCH = st.tuples(st.sampled_from(["prefix", "suffix"]), PATH).map(lambda given: MatchCondition(*given))
DEPTH = st.none() | st.integers(1, 4)
OPERATIONS = st.one_of(
    st.tuples(NAMESPACE, KEY, st.none() | VALUE).map(lambda given: PutOp(*given)),
    st.tuples(NAMESPACE, KEY, VALUE).map(lambda given: PutOp(*given)),
    st.tuples(NAMESPACE, KEY).map(lambda given: GetOp(*given)),
    st.tuples(PREFIX, FILTER).map(lambda given: SearchOp(*given, limit=1000)),
    st.tuples(st.lists(MATCH, max_size=2).map(tuple), DEPTH).map(lambda given: ListNamespacesOp(*given, limit=1000)),
)


def told(op: Op, result: Any) -> Any:
    """What an answer says, without times and without an order that nobody promised."""
    if isinstance(op, SearchOp):
        return sorted((item.namespace, item.key, json.dumps(item.value, sort_keys=True)) for item in result)
    if isinstance(op, ListNamespacesOp):
        return sorted(result)
    return None if result is None else (result.namespace, result.key, result.value)


def asked(oracle: InMemoryStore, batch: list[Op]) -> list[Any]:
    """Reads first, as in any batch. The oracle would list namespaces that hold nothing, too."""
    results: list[Any] = []
    for op in batch:
        for namespace in [namespace for namespace, items in oracle._data.items() if not items]:
            del oracle._data[namespace]
        results += [None] if isinstance(op, PutOp) else oracle.batch([op])
    oracle.batch([op for op in batch if isinstance(op, PutOp)])
    return results


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(batches=st.lists(st.lists(OPERATIONS, min_size=1, max_size=6), min_size=1, max_size=8))
def test_every_answer_is_that_of_the_store_in_memory(database: DatabaseSettings, batches: list[list[Op]]) -> None:
    async def compare() -> None:
        pool = Pool(database, application_name="store")
        await pool.open()
        try:
            async with pool.connection() as connection:
                await connection.execute("DELETE FROM store_items")
            subject, oracle = PostgresStore(ItemStore(pool)), InMemoryStore()
            for batch in batches:
                results = await subject.abatch(batch)
                for op, ours, theirs in zip(batch, results, asked(oracle, batch), strict=True):
                    assert told(op, ours) == told(op, theirs), op
        finally:
            await pool.close()

    asyncio.run(compare())
