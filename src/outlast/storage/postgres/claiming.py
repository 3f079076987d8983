"""How runs are handed out: in turns between tenants, and to each no more than it may have running."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID

from outlast.domain.acting import across_tenants
from outlast.storage.postgres.pipelining import Rows
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.together import Step

_SQL = Queries("runs")
# The class of our advisory locks; the second number is the schema.
LOCK_CLASS: Final = 0x6F757463


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningCaps:
    """How many runs of one tenant may run at the same time; None: any number."""

    general: int | None = None
    tenants: Mapping[str, int] = field(default_factory=dict[str, int])

    def __bool__(self) -> bool:
        return self.general is not None or bool(self.tenants)


class Claims:
    """Claims for the workers of this process, and remembers whose turn it was.

    Caps are exact: claims that have to count come one after the other, each with the wait for its commit. Without caps
    nobody waits for anybody.
    """

    def __init__(self, pool: Pool, caps: RunningCaps) -> None:
        self._pool = pool
        self._caps = caps
        self._after = ""

    async def claim(self, worker_id: UUID, agents: Sequence[str], *, limit: int, max_crashes: int) -> Rows:
        """Make up to `limit` due runs this worker's; return them as `claim` of sql/runs.sql says."""
        parameters: dict[str, Any] = {
            "worker_id": worker_id,
            "agents": list(agents),
            "limit": limit,
            "max_crashes": max_crashes,
            "after": self._after,
        }
        with across_tenants():
            rows = await (self._counted(parameters) if self._caps else self._at_once(parameters))
        if rows:
            # The last two columns: the tenant, and the place of its turn.
            self._after = max(rows, key=lambda row: row[-1])[-2]
        return rows

    async def look_further(self, worker_id: UUID) -> None:
        """Let the next claim begin behind the tenants of this one, if they were many and had nothing to claim."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.walk_end, {"worker_id": worker_id, "after": self._after})
                row = await cursor.fetchone()
        if row:
            self._after = row[0]

    async def _at_once(self, parameters: Mapping[str, Any]) -> Rows:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.claim, parameters, binary=True)
            return list(await cursor.fetchall())

    async def _counted(self, parameters: Mapping[str, Any]) -> Rows:
        # Two statements, so that the second one sees what was claimed while it waited.
        caps = {
            "cap": self._caps.general,
            "capped_tenants": list(self._caps.tenants),
            "caps": list(self._caps.tenants.values()),
        }
        alone = Step("runs", "claim_alone", {"class_id": LOCK_CLASS})
        steps = [alone, Step("runs", "claim_capped", {**parameters, **caps})]
        return (await self._pool.together(steps, before_commit=lambda: None))[1]
