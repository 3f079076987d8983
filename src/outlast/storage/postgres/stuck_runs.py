"""Runs that may not go on by themselves, and the facts that say why."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from outlast.domain.run import RunStatus
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import RUN_ERROR

_SQL = Queries("stuck_runs")
# Of uuid6: 100 ns since this day.
_UUID_EPOCH: Final = datetime(1582, 10, 15, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """A run, and what says whether it goes on."""

    thread_id: str
    tenant: str
    run_id: UUID
    agent: str
    status: RunStatus
    error_code: str | None
    error_message: str | None
    discarded: bool
    #: Since when it stands as it does; of what runs, its last sign of life.
    since: datetime | None
    #: Its owner is a live worker; there is a live worker that runs its agent.
    owned: bool
    has_worker: bool
    switched_off: bool
    quarantine_reason: str | None
    #: By the database's clock.
    now: datetime


#: A thread's name, its tenant, and why its state cannot be read, if it cannot.
Thread = tuple[str, str, str | None]


class StuckRunStore:
    """Acts for the tenant of the context, or for all of them. `lease`: a worker that was silent for longer is dead."""

    def __init__(self, pool: Pool, *, lease: timedelta) -> None:
        self._pool = pool
        self._lease = {"lease": lease.total_seconds()}

    async def suspects(
        self, *, silent: timedelta, patience: timedelta, agent: str | None, limit: int
    ) -> list[Suspect]:  # fmt: skip
        """Return runs that failed, run without a sign of life, are due and not taken, or are blocked by nothing."""
        parameters = {
            **self._lease, "silent": silent.total_seconds(), "patience": patience.total_seconds(), "agent": agent,
            "limit": limit,
        }  # fmt: skip
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.suspects, parameters)).fetchall()
        return [await self._suspect(row) for row in rows]

    async def of_thread(self, thread_id: str) -> Suspect | None:
        """Return the run at the front of a thread, else its newest; None when it has none."""
        parameters = {**self._lease, "thread_key": UUID(bytes=thread_key(thread_id))}
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.of_thread, parameters)).fetchone()
        return None if row is None else await self._suspect(row)

    async def thread(self, thread_id: str) -> Thread | None:
        """Return a thread; None when there is none."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.thread, {"thread_key": UUID(bytes=thread_key(thread_id))})
            row = await cursor.fetchone()
        return None if row is None else (row[0], row[1], row[2])

    async def quarantined(self, *, limit: int) -> list[Thread]:
        """Return threads whose state cannot be restored."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.quarantined, {"limit": limit})).fetchall()
        return [(row[0], row[1], row[2]) for row in rows]

    async def _suspect(self, row: tuple[Any, ...]) -> Suspect:
        status, since = RunStatus(row[4]), row[7]
        if status is RunStatus.RUNNING and (saved := time_of(row[8])) is not None:
            since = max(saved, since) if since is not None else saved
        return Suspect(
            thread_id=row[0], tenant=row[1], run_id=row[2], agent=row[3], status=status, error_code=row[5],
            discarded=row[6], since=since, owned=row[9], has_worker=row[10], switched_off=row[11],
            quarantine_reason=row[12], now=row[13],
            error_message=await self._pool.sealing.open_text(RUN_ERROR, row[14], row[2]),
        )  # fmt: skip


def time_of(checkpoint_id: UUID | None) -> datetime | None:
    """Return when a checkpoint was made, by the clock of whoever made it; None for an id that tells no time."""
    if checkpoint_id is None or checkpoint_id.version != 6:  # noqa: PLR2004 - the version with a time in front
        return None
    ticks = (checkpoint_id.int >> 80) << 12 | (checkpoint_id.int >> 64) & 0xFFF
    return _UUID_EPOCH + timedelta(microseconds=ticks // 10)
