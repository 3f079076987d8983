"""What admission keeps in the database: limits, decisions, and how long the queue is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import UUID

from psycopg.adapt import Transformer
from psycopg.pq import Format

from outlast.domain.acting import across_tenants, principal
from outlast.domain.decision import Decision
from outlast.domain.limits import Taken, Wanted
from outlast.domain.run import NewRun
from outlast.storage.postgres.pipelining import Encoded, Sending, encode
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries, numbered

_SQL = Queries("admission")


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """How many runs are queued or blocked, and for how many seconds the oldest one has been due."""

    runs: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A decision as it was kept."""

    id: UUID
    at: datetime
    agent: str
    user: str | None
    key_id: str | None
    #: Of refused requests.
    thread_id: str | None
    decision: Decision
    #: How many equal ones within a second.
    times: int


class AdmissionStore:
    """Limits by the database's clock, and decisions with their reasons. Raises DatabaseUnavailable."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, wanted: Sequence[Wanted], *, cost: int = 1) -> Taken:
        """Take from all windows, or from none when one of them means a longer wait than its patience.

        One statement, whoever asks at the same time from wherever; `cost` must fit into each window.
        """
        parameters = _taking(wanted, cost=cost)
        async with self._pool.connection() as connection:
            while True:
                taken = taken_of(await (await connection.execute(_SQL.take, parameters)).fetchall(), wanted)
                if taken is not None:
                    return taken
                # The first request of this subject ever, or after a long pause.
                await connection.execute(_SQL.create, {"keys": parameters["keys"]})

    async def queue(self) -> dict[str, Depth]:
        """Return how long the queue is, by tenant."""
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.queue, {})).fetchall()
        return {tenant: Depth(runs=runs, seconds=max(0.0, seconds or 0.0)) for tenant, runs, seconds in rows}

    async def refused(self, run: NewRun, decision: Decision) -> None:
        """Keep a refusal under the id that the run would have had."""
        parameters = {**decision_parameters(run.id, decision), "agent": run.agent, "thread_id": run.thread_id}
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.refused, parameters)

    async def refused_again(self, decision_id: UUID, *, times: int) -> None:
        """Count further refusals that were the same."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.refused_again, {"id": decision_id, "times": times})

    async def of_run(self, run_id: UUID) -> Recorded | None:
        """Return what was decided about a run; None when nothing was kept."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.of_run, {"id": run_id})).fetchone()
        return _recorded(row) if row else None

    async def find(
        self,
        *,
        verdict: str | None = None,
        agent: str | None = None,
        user: str | None = None,
        objections: bool = False,
        limit: int = 50,
    ) -> list[Recorded]:
        """Return decisions, newest first; with `objections` only those in which a stage had something to say."""
        parameters = {
            "verdict": verdict, "agent": agent, "user_id": user, "objections": objections, "limit": limit
        }  # fmt: skip
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.find, parameters)).fetchall()
        return [_recorded(row) for row in rows]


def taking(wanted: tuple[Wanted, ...], *, provides: str) -> Encoded:
    """Return the statement that takes it; `provides` is what the session is told when all was taken at once."""
    encoded, place = _encoded(wanted)
    values = [*encoded.values]
    values[place] = provides.encode()
    return encoded._replace(values=values)


# The same user asks the same limits.
@lru_cache(maxsize=1024)
def _encoded(wanted: tuple[Wanted, ...]) -> tuple[Encoded, int]:
    statement = numbered("admission", "take")
    encoded = encode(Sending(statement, _taking(wanted), Format.BINARY), Transformer())
    return encoded, statement.names.index("provides")


def _taking(wanted: Sequence[Wanted], *, cost: int = 1, provides: str = "") -> dict[str, Any]:
    return {
        "keys": [want.key for want in wanted],
        "slices": [want.window.slice_micros for want in wanted],
        "most": [want.window.most for want in wanted],
        "patience": [round(want.patience * 1_000_000) for want in wanted],
        "cost": cost,
        "provides": provides,
    }


def taken_of(rows: Sequence[tuple[Any, ...]], wanted: Sequence[Wanted]) -> Taken | None:
    """Read what `take` has answered; None: some windows were never asked before, and have to be made."""
    known, granted, wait, waits, remaining, _ = rows[0]
    return Taken(granted=granted, wait=wait, waits=waits, remaining=remaining) if known == len(wanted) else None


def decision_parameters(run_id: UUID, decision: Decision) -> dict[str, Any]:
    """Return what the statements about decisions take, of whoever is acting."""
    who = principal()
    return {
        "id": run_id, "user_id": who.user, "key_id": who.key_id, "verdict": decision.verdict, "stage": decision.stage,
        "code": decision.code, "reason": decision.reason, "delay_seconds": decision.delay_seconds,
    }  # fmt: skip


def _recorded(row: tuple[Any, ...]) -> Recorded:
    decision = Decision(verdict=row[6], stage=row[7], code=row[8], reason=row[9], delay_seconds=row[10])
    return Recorded(
        id=row[0], at=row[1], agent=row[2], user=row[3], key_id=row[4], thread_id=row[5], decision=decision,
        times=row[11],
    )  # fmt: skip
