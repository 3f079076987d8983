"""How much there is to do."""

from dataclasses import dataclass
from typing import Any

from outlast.domain.acting import across_tenants
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("metrics")


@dataclass(frozen=True, slots=True, kw_only=True)
class Backlog:
    """Unfinished runs by status (`later`: queued, but not due), how long the first one waits, reports to be sent.

    And failed runs that nobody has replayed or discarded: how many of each agent, and the age of the oldest one.
    """

    runs: dict[str, int]
    oldest_queued_seconds: float
    reports: int
    oldest_report_seconds: float
    #: Messages to people.
    notifications: int
    oldest_notification_seconds: float
    dead_letters: dict[str, int]
    oldest_dead_letter_seconds: float


async def backlog(pool: Pool) -> Backlog:
    """Count it."""
    with across_tenants():
        async with pool.connection() as connection:
            runs: list[tuple[Any, ...]] = await (await connection.execute(_SQL.runs)).fetchall()
            reports = await (await connection.execute(_SQL.webhooks)).fetchone() or (0, 0.0)
            untold = await (await connection.execute(_SQL.notifications)).fetchone() or (0, 0.0)
            dead: list[tuple[Any, ...]] = await (await connection.execute(_SQL.dead_letters)).fetchall()
    return Backlog(
        runs={status: count for status, count, _ in runs},
        oldest_queued_seconds=max((age for _, _, age in runs), default=0.0),
        reports=reports[0],
        oldest_report_seconds=reports[1],
        notifications=untold[0],
        oldest_notification_seconds=untold[1],
        dead_letters={agent: count for agent, count, _ in dead},
        oldest_dead_letter_seconds=max((age for _, _, age in dead), default=0.0),
    )
