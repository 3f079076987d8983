"""Runs and workers as rows, made and read without the code under test where that code is what is tested."""

from typing import Any
from uuid import UUID, uuid4

from outlast.domain.run import ClaimedRun, NewRun
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore

AGENTS = ("a",)
MAX_CRASHES = 3
#: What the statement of the claim is told where no tenant was served before.
ANY_TURN: dict[str, Any] = {"after": ""}


def new_run(thread_id: str = "t", **given: Any) -> NewRun:
    fields: dict[str, Any] = {
        "id": uuid4(), "thread_id": thread_id, "agent": "a", "input": {"n": 1}, "config": {}, "metadata": {}
    }  # fmt: skip
    return NewRun(**(fields | given))


async def add_worker(pool: Pool, *, state: str = "live", age: float = 0.0) -> UUID:
    """Insert a worker whose lock nobody holds, last heard of `age` seconds ago."""
    worker_id = uuid4()
    async with pool.connection() as connection:
        await connection.execute(
            "INSERT INTO workers (id, host, pid, concurrency, agents, state, heartbeat_at, ended_at)"
            " VALUES (%s, 'here', 1, 8, '{a}', %s, clock_timestamp() - make_interval(secs => %s),"
            " CASE WHEN %s IN ('dead', 'stopped') THEN clock_timestamp() END)",
            [worker_id, state, age, state],
        )
    return worker_id


async def rows(pool: Pool, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    async with pool.unscoped() as connection:
        cursor = await connection.execute(statement.encode(), parameters)
        return await cursor.fetchall()


async def claim_one(store: RunStore, worker_id: UUID) -> ClaimedRun:
    (claimed,) = await store.claim(worker_id, AGENTS, limit=1, max_crashes=MAX_CRASHES)
    return claimed
