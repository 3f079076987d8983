"""How much there is to do."""

from dataclasses import dataclass
from typing import Any

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Unfinished runs by status (`later`: queued, but not due), how long the first one waits, reports to be sent."""

    runs: dict[str, int]
    oldest_queued_seconds: float
    reports: int
    oldest_report_seconds: float


async def backlog(pool: Pool) -> Backlog:
    """Count it."""
    async with pool.connection(across=True) as connection:
        runs: list[tuple[Any, ...]] = await (await connection.execute(_SQL.runs)).fetchall()
        reports = await (await connection.execute(_SQL.webhooks)).fetchone() or (0, 0.0)
    return Backlog(
        runs={status: count for status, count, _ in runs},
        oldest_queued_seconds=max((age for _, _, age in runs), default=0.0),
        reports=reports[0],
        oldest_report_seconds=reports[1],
    )
