"""What is deleted by age, in bounded steps that other processes may take at the same time."""

from datetime import datetime, timedelta
from enum import Enum, IntEnum
from typing import Any, Final
from uuid import UUID

from psycopg import AsyncConnection

from outlast.domain.acting import across_tenants
from outlast.domain.positions import base_of
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.threads import ThreadStore

_SQL = Queries("retention")
_CALLS_SQL = Queries("calls")
_USAGE_SQL = Queries("usage")
_CACHE_SQL = Queries("call_cache")
_LIMITS_SQL = Queries("rate_limits")
_ADMISSION_SQL = Queries("admission")
_OBSERVATIONS_SQL = Queries("observations")
_ANOMALIES_SQL = Queries("anomalies")
# The class of our advisory locks; the second number is the task.
_LOCK_CLASS: Final = 0x6F75746D
_FIRST: Final = UUID(int=0)
#: Where a walk through the ended runs has come to.
Cursor = tuple[datetime, UUID]


class Task(IntEnum):
    """What only one process at a time does."""

    ITEMS = 1
    EVENTS = 2
    OUTPUTS = 3
    DELIVERIES = 4
    JOURNAL = 5
    USAGE = 14
    CACHE = 6
    LIMITS = 7
    EFFECTS = 11
    ADMISSION_LIMITS = 17
    RUNS = 21
    DECISIONS = 22
    USAGE_DAYS = 23
    BUDGETS = 24
    TOMBSTONES = 25
    OBSERVATIONS = 28
    ANOMALIES = 29


class Aged(Enum):
    """Kinds of rows that are deleted for their age alone, by the name of their setting."""

    RUNS = "forget_runs"
    DECISIONS = "forget_decisions"
    USAGE_DAYS = "forget_usage_days"
    BUDGETS = "forget_budgets"
    TOMBSTONES = "forget_tombstones"
    OBSERVATIONS = "forget_observations"
    ANOMALIES = "forget_anomalies"

    @property
    def statement(self) -> bytes:
        """The SQL that deletes a batch of them."""
        return {
            Aged.RUNS: _SQL.forget_runs, Aged.DECISIONS: _SQL.forget_decisions,
            Aged.USAGE_DAYS: _SQL.forget_usage_days, Aged.BUDGETS: _SQL.forget_budgets,
            Aged.TOMBSTONES: _SQL.forget_tombstones, Aged.OBSERVATIONS: _OBSERVATIONS_SQL.forget,
            Aged.ANOMALIES: _ANOMALIES_SQL.forget,
        }[self]  # fmt: skip


class RetentionStore:
    """Deletes what is old enough; each call returns how much that was, and has a bound."""

    def __init__(self, pool: Pool, threads: ThreadStore) -> None:
        self._pool = pool
        self._threads = threads

    async def now(self) -> datetime:
        """Return the database's time, by which everything here is old or not."""
        with across_tenants():
            async with self._pool.connection() as connection:
                row = await (await connection.execute(_SQL.now)).fetchone()
        assert row is not None  # noqa: S101 - a SELECT of one value
        return row[0]

    async def expired_threads(self, *, limit: int) -> list[tuple[str, str]]:
        """Return threads, with their tenants, whose time has come and that nothing holds back, the oldest first."""
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.expired_threads, {"limit": limit})).fetchall()
        return [(thread_id, tenant) for thread_id, tenant in rows]

    async def idle_threads(self, *, age: timedelta, limit: int) -> list[tuple[str, str]]:
        """Return threads without a TTL, with their tenants, on which nothing has happened for so long; oldest first."""
        parameters = {"age": age.total_seconds(), "limit": limit}
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.idle_threads, parameters)).fetchall()
        return [(thread_id, tenant) for thread_id, tenant in rows]

    async def expire(self, thread_id: str, *, idle: timedelta | None = None) -> bool:
        """Delete a thread, or its history, as its TTL says; False when it is in use again or somebody else did it.

        With `idle` it is one without a TTL, on which nothing has happened for so long.
        """
        parameters = {"thread_key": UUID(bytes=thread_key(thread_id)), "age": idle and idle.total_seconds()}
        async with self._pool.transaction() as connection:
            if await (await connection.execute(_SQL.lock_expired, parameters)).fetchone() is None:
                return False
            still = _SQL.still_expired if idle is None else _SQL.still_idle
            row = await (await connection.execute(still, parameters)).fetchone()
            if row is None:
                return False
            await self._threads.expire_in(connection, thread_id, strategy=row[0])
            # Of a thread that lives on without its history; it expires again once it has been used again.
            await connection.execute(_SQL.forget_expiry, parameters)
        return True

    async def forget_aged(self, kind: "Aged", *, age: timedelta, limit: int) -> int:
        """Delete rows of a kind that are older."""
        return await self._alone(Task[kind.name], kind.statement, {"age": age.total_seconds(), "limit": limit})

    async def forget_items(self, *, limit: int) -> int:
        """Delete items of the store whose time has come."""
        return await self._alone(Task.ITEMS, _SQL.forget_items, {"limit": limit})

    async def forget_old_events(self, *, before: datetime, limit: int) -> int:
        """Delete records of streams that are older than anybody may ask for."""
        return await self._alone(
            Task.EVENTS, _SQL.forget_old_events, {"before": base_of(before, after=0), "limit": limit}
        )

    async def forget_events_of_ended(self, *, after: datetime, until: datetime) -> int:
        """Delete what the runs streamed that ended between two moments and are not resumable."""
        return await self._alone(Task.EVENTS, _SQL.forget_events_of_ended, {"after": after, "until": until})

    async def forget_outputs(self, cursor: Cursor | None, *, until: datetime, limit: int) -> Cursor | None:
        """Forget the outputs of the next runs that ended before `until`, and the answers that those had that succeeded.

        Returns where to go on, None at the end.
        """
        after, after_id = cursor or (datetime.min.replace(tzinfo=until.tzinfo), _FIRST)
        with across_tenants():
            async with self._pool.transaction() as connection:
                parameters = {"after": after, "after_id": after_id, "until": until, "limit": limit}
                rows = await (await connection.execute(_SQL.ended_between, parameters)).fetchall()
                if rows and await _is_alone(connection, Task.OUTPUTS):
                    ended = {"ids": [run_id for run_id, _ in rows]}
                    await connection.execute(_SQL.forget_outputs, ended)
                    await connection.execute(_CALLS_SQL.forget_of_runs, ended)
        return (rows[-1][1], rows[-1][0]) if rows else None

    async def forget_deliveries(self, *, before: datetime, limit: int) -> int:
        """Delete reports that were delivered or given up."""
        return await self._alone(Task.DELIVERIES, _SQL.forget_deliveries, {"before": before, "limit": limit})

    async def fold_usage(self, *, before: datetime, limit: int) -> int:
        """Add the usage of the oldest model calls to its days, and delete it.

        One statement: whatever happens, each call is found once, by itself or in its day.
        """
        return await self._alone(Task.USAGE, _USAGE_SQL.fold, {"before": before, "limit": limit})

    async def forget_effects(self, *, age: timedelta, limit: int) -> int:
        """Delete effects that ended long ago, of threads on which nothing of theirs can be executed again."""
        return await self._alone(Task.EFFECTS, _SQL.forget_effects, {"age": age.total_seconds(), "limit": limit})

    async def forget_answers(self, *, age: timedelta, limit: int) -> int:
        """Delete what the journal holds of runs that ended long ago and did not succeed."""
        return await self._alone(Task.JOURNAL, _CALLS_SQL.forget_old, {"age": age.total_seconds(), "limit": limit})

    async def forget_cached_answers(self, *, limit: int) -> int:
        """Delete answers in the cache of model calls that have expired."""
        return await self._alone(Task.CACHE, _CACHE_SQL.forget, {"limit": limit})

    async def forget_rate_limits(self, *, limit: int) -> int:
        """Delete rate limits of keys that nobody uses any more."""
        return await self._alone(Task.LIMITS, _LIMITS_SQL.forget, {"limit": limit})

    async def forget_admission_limits(self, *, limit: int) -> int:
        """Delete limits of requests of which nothing counts any more."""
        return await self._alone(Task.ADMISSION_LIMITS, _ADMISSION_SQL.forget_limits, {"limit": limit})

    async def _alone(self, task: Task, statement: bytes, parameters: dict[str, Any]) -> int:
        with across_tenants():
            async with self._pool.transaction() as connection:
                if not await _is_alone(connection, task):
                    return 0
                return (await connection.execute(statement, parameters)).rowcount


async def _is_alone(connection: AsyncConnection[Any], task: Task) -> bool:
    row = await (await connection.execute(_SQL.alone, {"class_id": _LOCK_CLASS, "task": int(task)})).fetchone()
    return row is not None and row[0]
