"""Figures about checkpoints, and threads whose history can go."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.stuck_runs import time_of

_SQL = Queries("checkpoint_stats")
#: Behind which thread to go on: when something happened to it last, and its key.
Place = tuple[datetime, UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentCheckpoints:
    """Checkpoints of one agent; an empty name: of graphs that were run outside of Outlast."""

    agent: str
    count: int
    threads: int
    oldest_at: datetime | None
    newest_at: datetime | None
    #: Of the checkpoints themselves, without values that they share.
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckpointStats:
    """All of a tenant."""

    agents: list[AgentCheckpoints]
    #: Values that checkpoints of a thread share (lists such as messages, large values), and writes of their tasks.
    shared_bytes: int
    writes_bytes: int

    @property
    def count(self) -> int:
        """How many checkpoints there are."""
        return sum(agent.count for agent in self.agents)

    @property
    def size_bytes(self) -> int:
        """What all of it weighs: content, without indexes and row headers."""
        return sum(agent.size_bytes for agent in self.agents) + self.shared_bytes + self.writes_bytes


class CheckpointStatsStore:
    """Acts for the tenant of the context."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def stats(self) -> CheckpointStats:
        """Count and weigh them; reads every checkpoint once."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.by_agent, {})).fetchall()
            beside: Any = await (await connection.execute(_SQL.beside, {})).fetchone()
        agents = [
            AgentCheckpoints(
                agent=row[0], count=row[1], threads=row[2], oldest_at=time_of(UUID(row[3])),
                newest_at=time_of(UUID(row[4])), size_bytes=row[5],
            )
            for row in rows
        ]  # fmt: skip
        return CheckpointStats(agents=agents, shared_bytes=beside[0] + beside[1], writes_bytes=beside[2])

    async def with_history(
        self, *, age: timedelta, whole: bool, after: Place | None, limit: int
    ) -> list[tuple[str, Place]]:  # fmt: skip
        """Return threads on which nothing has happened for `age`, with their places in this order, oldest first.

        Only those that have a history, unless they go as a `whole`; none that a run may still go on from.
        """
        parameters = {
            "age": age.total_seconds(), "whole": whole, "limit": limit, "after": None if after is None else after[0],
            "after_key": None if after is None else after[1],
        }  # fmt: skip
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.with_history, parameters)).fetchall()
        return [(row[0], (row[1], row[2])) for row in rows]
