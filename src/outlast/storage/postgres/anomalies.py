"""What is usual for agents, and what was found not to be, in the database.

Judging is one transaction: whoever has its lock reads the ends of runs that nobody has judged, and what is learned; and
stores what was learned, what was found and that they were judged, or nothing of it. So each run counts once, in
whatever process and whatever dies.
"""

from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from outlast.domain.acting import across_tenants
from outlast.domain.anomaly import Anomaly, AnomalyQuery, EndedAs, Observation, Severity
from outlast.errors import NotFound
from outlast.storage.postgres.listing import Listing, Page
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("anomalies")
_OBSERVATIONS_SQL = Queries("observations")
# The class of our advisory locks; the second number is the schema.
_LOCK_CLASS: Final = 0x616E6F6D

#: A tenant, its agent, and the model.
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenAnomaly:
    """What was found and has not ended."""

    id: UUID
    key: Key
    kind: str
    severity: Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What is not as usual, and the run that shows it."""

    id: UUID
    key: Key
    kind: str
    run_id: UUID
    severity: Severity
    text: str
    value: float
    expected: float


class Judging:
    """One transaction in which nobody else judges."""

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection

    async def unjudged(self, *, limit: int) -> list[Observation]:
        """Return the next ends of runs, in order."""
        cursor = await self._connection.execute(_OBSERVATIONS_SQL.unjudged, {"limit": limit})
        return [_observation(row) for row in await cursor.fetchall()]

    async def learned(self, agents: Collection[tuple[str, str]]) -> dict[Key, Mapping[str, Any]]:
        """Return what is learned of agents (tenant and name) with each model; the one that ran last comes last."""
        rows = await (await self._connection.execute(_SQL.baselines, _agents(agents))).fetchall()
        return {(tenant, agent, model): state for tenant, agent, model, state in rows}

    async def open(self, agents: Collection[tuple[str, str]]) -> list[OpenAnomaly]:
        """Return what is open of agents."""
        rows = await (await self._connection.execute(_SQL.open, _agents(agents))).fetchall()
        return [
            OpenAnomaly(id=id_, key=(tenant, agent, model), kind=kind, severity=severity)
            for id_, tenant, agent, model, kind, severity in rows
        ]

    async def learn(self, states: Mapping[Key, tuple[int, Mapping[str, Any]]]) -> None:
        """Store what was learned, with the number of runs that it was learned from."""
        keys = list(states)
        await self._connection.execute(_SQL.learned, {
            **_columns(keys),
            "states": [orjson.dumps(states[key][1]).decode() for key in keys],
            "runs": [states[key][0] for key in keys],
        })  # fmt: skip

    async def found(self, found: Found) -> None:
        """Store what was found."""
        tenant, agent, model = found.key
        await self._connection.execute(_SQL.found, {
            "id": found.id, "tenant": tenant, "agent": agent, "model": model, "kind": found.kind,
            "run_id": found.run_id, "severity": found.severity, "text": found.text, "value": found.value,
            "expected": found.expected,
        })  # fmt: skip

    async def grown(self, found: Found) -> None:
        """Say of what is open already that it is worse than it seemed."""
        await self._connection.execute(_SQL.grown, {
            "id": found.id, "severity": found.severity, "text": found.text, "value": found.value,
            "expected": found.expected,
        })  # fmt: skip

    async def seen_again(self, id_: UUID, *, runs: int) -> None:
        """Count runs that show what is open."""
        await self._connection.execute(_SQL.seen_again, {"id": id_, "runs": runs})

    async def ended(self, id_: UUID, ended_as: EndedAs) -> None:
        """Close it."""
        await self._connection.execute(_SQL.ended, {"id": id_, "ended_as": ended_as})

    async def silent(self, *, age: timedelta) -> list[tuple[UUID, Key, str]]:
        """Close what was found of agents that have not run for so long; return ids, keys and kinds."""
        rows = await (await self._connection.execute(_SQL.silent, {"age": age.total_seconds()})).fetchall()
        return [(id_, (tenant, agent, model), kind) for id_, tenant, agent, model, kind in rows]

    async def judged(self, observations: Sequence[Observation]) -> None:
        """Say that nobody has to judge them any more."""
        await self._connection.execute(_OBSERVATIONS_SQL.judged, {"ids": [each.id for each in observations]})

    async def forget_baselines(self, *, age: timedelta) -> None:
        """Forget what was learned of agents that have not run for so long."""
        await self._connection.execute(_SQL.forget_baselines, {"age": age.total_seconds()})


@dataclass(frozen=True, slots=True)
class _Wanted:
    query: AnomalyQuery

    @property
    def flags(self) -> set[str]:
        """The parts of the statement that are needed."""
        query = self.query
        given: dict[str, object] = {
            "agent": query.agent, "kind": query.kind, "since": query.since, "open": query.open or None
        }  # fmt: skip
        return {name for name, value in given.items() if value is not None}

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all parts."""
        return {"agent": self.query.agent, "kind": self.query.kind, "since": self.query.since}


@dataclass(frozen=True, slots=True, kw_only=True)
class ObservedRun:
    """A run round the time of a finding."""

    run_id: UUID
    ended_at: datetime
    status: str
    error: str | None
    output_length: int | None
    confidence: float | None
    tokens: int
    cost_usd: float
    seconds: float
    tool_calls: int


class AnomalyStore:
    """Acts for the tenant of the context, but for `judging`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._list = Listing(pool, ("anomalies", "find"), ("anomalies", "count"), _anomaly)

    async def find(self, query: AnomalyQuery, *, page: Page) -> tuple[list[Anomaly], int]:
        """Return one page, newest first, and how many match."""
        return await self._list.search(_Wanted(query), page=page)

    async def get(self, id_: UUID) -> Anomaly:
        """Return one; raises NotFound."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.get, {"id": id_})).fetchone()
        if row is None:
            raise NotFound("anomaly", str(id_), hint="; see `outlast anomalies list`")
        return _anomaly(row)

    async def runs_of(self, anomaly: Anomaly, *, limit: int) -> list[ObservedRun]:
        """Return what runs of the agent with the model were like at the time, newest first."""
        given = {
            "agent": anomaly.agent, "model": anomaly.model, "since": anomaly.found_at, "until": anomaly.ended_at,
            "limit": limit,
        }  # fmt: skip
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.runs_since, given)).fetchall()
        return [
            ObservedRun(
                run_id=row[0], ended_at=row[1], status=row[2], error=row[3], output_length=row[4], confidence=row[5],
                tokens=row[6], cost_usd=row[7], seconds=row[8], tool_calls=row[9],
            )
            for row in rows
        ]  # fmt: skip

    async def learned_of(self, agent: str) -> list[tuple[str, Mapping[str, Any]]]:
        """Return what is learned of an agent, by model; the one that ran last comes first."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.baselines_of, {"agent": agent})).fetchall()
        return [(model, state) for model, state in rows]

    @asynccontextmanager
    async def judging(self) -> AsyncGenerator[Judging | None]:
        """Judge the runs of all tenants, in one transaction; None: somebody else is at it."""
        with across_tenants():
            async with self._pool.transaction() as connection:
                row = await (await connection.execute(_SQL.alone, {"class_id": _LOCK_CLASS})).fetchone()
                yield Judging(connection) if row is not None and row[0] else None


def _agents(agents: Collection[tuple[str, str]]) -> dict[str, list[str]]:
    return {"tenants": [tenant for tenant, _ in agents], "agents": [agent for _, agent in agents]}


def _columns(keys: Sequence[Key]) -> dict[str, list[str]]:
    tenants, agents, models = zip(*keys, strict=True)
    return {"tenants": list(tenants), "agents": list(agents), "models": list(models)}


def _observation(row: tuple[Any, ...]) -> Observation:
    return Observation(
        id=row[0], tenant=row[1], agent=row[2], model=row[3], run_id=row[4], ended_at=row[5], status=row[6],
        error_class=row[7], output_length=row[8], confidence=row[9], tokens=row[10], cost_usd=row[11], seconds=row[12],
        tool_calls=row[13], tool_errors=row[14], refused=row[15], empty=row[16], invalid=row[17], output_print=row[18],
        input_print=row[19],
    )  # fmt: skip


def _anomaly(row: tuple[Any, ...]) -> Anomaly:
    return Anomaly(
        id=row[0], agent=row[1], model=row[2], kind=row[3], run_id=row[4], found_at=row[5], ended_at=row[6],
        ended_as=row[7], severity=row[8], text=row[9], value=row[10], expected=row[11], seen_runs=row[12],
        tenant=row[13],
    )  # fmt: skip
