"""What became of the attempt of a run before the present one."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL: Final = Queries("attempts")


@dataclass(frozen=True, slots=True, kw_only=True)
class LastAttempt:
    """The newest attempt of a run that ended badly."""

    epoch: int
    #: Its worker died, or it was taken from it: nobody says what it did.
    lost: bool
    worker_id: UUID | None
    began_at: datetime | None
    ended_at: datetime


async def last_attempt(pool: Pool, run_id: UUID) -> LastAttempt | None:
    """Return it; None when no attempt of the run has ended badly."""
    async with pool.connection() as connection:
        row = await (await connection.execute(_SQL.last, {"id": run_id})).fetchone()
    if row is None:
        return None
    return LastAttempt(epoch=row[0], lost=row[1] != "error", worker_id=row[2], began_at=row[3], ended_at=row[4])
