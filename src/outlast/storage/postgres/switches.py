"""Kill switches in the database, and the runs that stopped at one."""

from typing import Any
from uuid import UUID

from outlast.domain.acting import across_tenants
from outlast.domain.switch import Switch, SwitchKind
from outlast.errors import LeaseLost
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("switches")


class SwitchStore:
    """Turns things off and on. Who may do so, and for which tenant, is the caller's to know."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def all_off(self) -> list[Switch]:
        """Return what is off, of all tenants, oldest first."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.all_off, {})
                return [_switch(row) for row in await cursor.fetchall()]

    async def turn_off(
        self, kind: SwitchKind, name: str, *, tenant: str, reason: str, by: str | None
    ) -> tuple[Switch, bool]:
        """Turn it off; return the switch, and whether it was on before. One that was off keeps its first reason."""
        parameters = {"tenant": tenant, "kind": kind, "name": name, "reason": reason, "by": by}
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.turn_off, parameters)
                row: Any = await cursor.fetchone()
        return _switch(row), row[6]

    async def turn_on(self, kind: SwitchKind, name: str, *, tenant: str) -> Switch | None:
        """Turn it on: what it held back may be claimed again. Returns what was off; None: it was on."""
        parameters = {"tenant": tenant, "kind": kind, "name": name}
        with across_tenants():
            async with self._pool.transaction() as connection:
                cursor = await connection.execute(_SQL.turn_on, parameters)
                row = await cursor.fetchone()
                if row is not None and kind == "tool":
                    await connection.execute(_SQL.release, {"tenant": tenant, "name": name})
        return None if row is None else _switch(row)

    async def held(self) -> dict[tuple[str, SwitchKind, str], int]:
        """Return how many queued runs each switch holds back."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.waiting_for, {})
                return {(row[0], row[1], row[2]): row[3] for row in await cursor.fetchall()}

    async def hold(self, run_id: UUID, epoch: int, *, tool: str) -> None:
        """Write down at which tool the run stops; raises LeaseLost when it has another owner."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.hold, {"id": run_id, "epoch": epoch, "tool": tool})
            if await cursor.fetchone() is None:
                raise LeaseLost(run_id=str(run_id), epoch=epoch)


def _switch(row: tuple[Any, ...]) -> Switch:
    return Switch(tenant=row[0], kind=row[1], name=row[2], reason=row[3], off_by=row[4], off_at=row[5])
