"""Workers in the database: who lives, who is dead, and what the dead left behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, cast
from uuid import UUID

from psycopg import Connection

from outlast.domain.acting import across_tenants
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("workers")
# The class of our advisory locks; the second number is the worker's lock_key.
LOCK_CLASS = 0x6F75746C


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveWorker:
    """A worker that is believed to live."""

    id: UUID
    host: str
    pid: int
    concurrency: int
    running: int
    state: str
    agents: list[str]
    started_at: datetime
    age_seconds: float


class Liveness:
    """A worker's own side, on the connection of its heartbeat thread; blocking, outside any pool."""

    def __init__(self, connection: Connection[Any], worker_id: UUID) -> None:
        self._connection = connection
        self._worker_id = worker_id

    def register(self, *, host: str, pid: int, concurrency: int, agents: Sequence[str]) -> int:
        """Insert the worker's row; return the key of its lock."""
        cursor = self._connection.execute(
            _SQL.register,
            {"id": self._worker_id, "host": host, "pid": pid, "concurrency": concurrency, "agents": list(agents)},
        )
        return cast("tuple[int]", cursor.fetchone())[0]

    def hold(self, lock_key: int) -> bool:
        """Take the session lock that tells of this process's death; False while an old session still has it."""
        cursor = self._connection.execute(_SQL.hold, {"class_id": LOCK_CLASS, "lock_key": lock_key})
        return cast("tuple[bool]", cursor.fetchone())[0]

    def beat(self, *, running: int) -> bool:
        """Say that this worker lives; False when it was declared dead meanwhile."""
        cursor = self._connection.execute(_SQL.beat, {"id": self._worker_id, "running": running})
        return cursor.fetchone() is not None

    def cancellations(self) -> list[tuple[UUID, int]]:
        """Return this worker's runs that were asked to stop, with their epochs."""
        return self._connection.execute(_SQL.cancellations, {"id": self._worker_id}).fetchall()


class WorkerStore:
    """Everybody else's side, on pooled connections."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def drain(self, worker_id: UUID) -> None:
        """Mark a worker that stops claiming."""
        await self._execute(_SQL.drain, {"id": worker_id})

    async def stop(self, worker_id: UUID) -> None:
        """Mark a worker that has ended in order."""
        await self._execute(_SQL.stop, {"id": worker_id})

    async def release(self, worker_id: UUID) -> list[UUID]:
        """Hand back all runs of a worker whose tasks have really ended; no attempt is counted."""
        return [row[0] for row in await self._fetch(_SQL.release, {"id": worker_id})]

    async def give_back_unknown(self, worker_id: UUID, known: Mapping[UUID, int]) -> list[UUID]:
        """Hand back the runs of a living worker that it does not know of; `known` are its runs with their epochs."""
        parameters = {"id": worker_id, "known": list(known), "epochs": list(known.values())}
        return [row[0] for row in await self._fetch(_SQL.give_back_unknown, parameters)]

    async def declare_dead(self, *, lease: timedelta, grace: timedelta) -> list[tuple[UUID, int, str]]:
        """Mark workers that are gone; return (id, pid, host) of each."""
        parameters = {"lease": lease.total_seconds(), "grace": grace.total_seconds(), "class_id": LOCK_CLASS}
        # PostgreSQL tells nobody when a session has begun but the role that began it.
        async with self._pool.unscoped() as connection:
            return await (await connection.execute(_SQL.declare_dead, parameters)).fetchall()

    async def reap(self, *, limit: int) -> list[tuple[UUID, int, int, float]]:
        """Requeue runs of dead workers under a new epoch.

        Returns (run id, crashes, epoch, seconds since the worker's last sign of life) of each.
        """
        return await self._fetch(_SQL.reap, {"limit": limit})

    async def stranded(self) -> list[tuple[bytes, str]]:
        """Return threads, with their tenants, whose runs are blocked behind nothing."""
        return [(row[0].bytes, row[1]) for row in await self._fetch(_SQL.stranded, {})]

    async def live(self) -> list[LiveWorker]:
        """Return the workers that are believed to live, oldest first."""
        rows = await self._fetch(_SQL.live, {})
        return [
            LiveWorker(
                id=row[0],
                host=row[1],
                pid=row[2],
                concurrency=row[3],
                running=row[4],
                state=row[5],
                agents=row[6],
                started_at=row[7],
                age_seconds=row[8],
            )
            for row in rows
        ]

    async def forget_ended(self) -> None:
        """Delete rows of workers that ended over a day ago."""
        await self._execute(_SQL.forget_ended, {})

    async def _execute(self, statement: bytes, parameters: dict[str, Any]) -> None:
        with across_tenants():
            async with self._pool.connection() as connection:
                await connection.execute(statement, parameters)

    async def _fetch(self, statement: bytes, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(statement, parameters)
                return await cursor.fetchall()
