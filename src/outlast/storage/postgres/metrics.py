"""How much there is to do."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
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
    #: Open ones, by kind.
    questions: dict[str, int]
    oldest_question_seconds: float


async def backlog(pool: Pool) -> Backlog:
    """Count it."""
    with across_tenants():
        async with pool.connection() as connection:
            runs: list[tuple[Any, ...]] = await (await connection.execute(_SQL.runs)).fetchall()
            reports = await (await connection.execute(_SQL.webhooks)).fetchone() or (0, 0.0)
            untold = await (await connection.execute(_SQL.notifications)).fetchone() or (0, 0.0)
            dead: list[tuple[Any, ...]] = await (await connection.execute(_SQL.dead_letters)).fetchall()
            asked: list[tuple[Any, ...]] = await (await connection.execute(_SQL.questions)).fetchall()
    return Backlog(
        runs={status: count for status, count, _ in runs},
        oldest_queued_seconds=max((age for _, _, age in runs), default=0.0),
        reports=reports[0],
        oldest_report_seconds=reports[1],
        notifications=untold[0],
        oldest_notification_seconds=untold[1],
        dead_letters={agent: count for agent, count, _ in dead},
        oldest_dead_letter_seconds=max((age for _, _, age in dead), default=0.0),
        questions={kind: count for kind, count, _ in asked},
        oldest_question_seconds=max((age for _, _, age in asked), default=0.0),
    )


class SessionStore:
    """Sessions of all tenants, for the process of the oldest live worker alone; moments are the database's."""

    def __init__(self, pool: Pool, *, host: str, pid: int, pause_seconds: float) -> None:
        self._pool = pool
        self._me = {"host": host, "pid": pid}
        self._pause = {"pause": pause_seconds}

    async def turn(self) -> datetime | None:
        """Return until when sessions are over; None: another process counts them."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.session_turn, self._me | self._pause)).fetchone()
        return None if row is None else row[0]

    async def over(self, since: datetime, until: datetime) -> list[tuple[str, float]]:
        """Return the agent of the last run, and the seconds, of each session that went quiet between two moments."""
        parameters = {"since": since, "until": until, **self._pause}
        with across_tenants():
            async with self._pool.connection() as connection:
                return await (await connection.execute(_SQL.sessions, parameters)).fetchall()


async def budget_use(
    pool: Pool, spans: Mapping[str, str], *, zone: str
) -> dict[str, tuple[float | None, float | None]]:
    """Return how full the fullest budget of each span is, in dollars and in tokens; None: nothing is limited in it.

    `spans` are those of the budgets that the database does not know, by name; days and months are those of the zone.
    """
    parameters = {"names": list(spans), "spans": list(spans.values()), "zone": zone}
    with across_tenants():
        async with pool.connection() as connection:
            rows: list[tuple[Any, ...]] = await (await connection.execute(_SQL.budgets, parameters)).fetchall()
    return {span: (usd, tokens) for span, usd, tokens in rows}
