"""The keys of tenants: made, looked up, rotated, wrapped anew, destroyed.

An unwrapped key lives in memory only. What other processes change is seen within `refresh`: a rotated key goes on
sealing for so long, a destroyed one goes on opening.
"""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from os import urandom
from typing import Any, Final, Literal
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.domain.acting import across_tenants
from outlast.domain.key_provider import KeyProvider
from outlast.errors import ConfigurationError, DatabaseUnavailable, OutlastError
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealing import NOBODY, OFF, DataKey, Sealed, Sealing

_SQL = Queries("data_keys")
_KEY_BYTES: Final = 32
_REWRAPPED_AT_ONCE: Final = 100

State = Literal["enabling", "on"]


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantKeys:
    """How many keys a tenant has."""

    tenant: str
    keys: int
    #: Of them, those that have been rotated out and still have rows of their own.
    retiring: int
    retired: int
    #: Wrapped by another master key than the one that wraps now.
    foreign: int
    newest_at: datetime


class DataKeys:
    """The keys that a process knows; see `sealing.Keys`."""

    def __init__(self, pool: Pool, provider: KeyProvider, *, refresh: timedelta = timedelta(seconds=10)) -> None:
        self._pool = pool
        self._provider = provider
        self._refresh = refresh.total_seconds()
        self._active: dict[str, DataKey] = {}
        self._known: dict[UUID, DataKey] = {}
        self._state: State | None = None
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()

    @property
    def accepts_plain(self) -> bool:
        """Whether the database is being encrypted, so that plain content is still to be expected."""
        return self._state == "enabling"

    async def active(self, tenant: str) -> DataKey:
        """Return the key that seals for a tenant now; made when there is none."""
        await self._look()
        return self._active.get(tenant) or await self._load_active(tenant)

    def active_now(self, tenant: str) -> DataKey | None:
        """Return it if this process knows it."""
        return self._active.get(tenant)

    async def of_id(self, key_id: UUID) -> DataKey | None:
        """Return any key; None when there is no such key (any more)."""
        await self._look()
        if key_id not in self._known and (row := await self._row(_SQL.of_id, {"id": key_id})) is not None:
            self._known[key_id] = await self._unwrapped(row)
        return self._known.get(key_id)

    async def state(self) -> State | None:
        """Return whether the database is encrypted, as it stands there now."""
        row = await self._row(_SQL.state, {})
        self._state = None if row is None else row[0]
        return self._state

    async def begin(self, *, with_content: State | None) -> State | None:
        """Mark the database as encrypted: `on` when it is empty, else as is said; None leaves it as it is."""
        await self._row(_SQL.begin, {"with_content": with_content}, returns=False)
        return await self.state()

    async def rotate(self, tenant: str | None = None) -> list[str]:
        """Give a tenant, or each of them, a new key; return whose. The old ones still open what they have sealed."""
        with across_tenants():
            async with self._pool.transaction() as connection:
                rows = await (await connection.execute(_SQL.retire, {"tenant": tenant})).fetchall()
                for (name,) in rows:
                    await connection.execute(_SQL.add, await self._new(name))
        self._looked_at = float("-inf")
        return sorted(name for (name,) in rows)

    async def rewrap(self) -> int:
        """Wrap every key with the master key that is first now; return how many that were."""
        count = 0
        while True:
            parameters = {"master": self._provider.name, "limit": _REWRAPPED_AT_ONCE}
            with across_tenants():
                async with self._pool.connection() as connection:
                    rows = await (await connection.execute(_SQL.wrapped_by_others, parameters)).fetchall()
            if not rows:
                return count
            for row in rows:
                await self._rewrap(*row)
                count += 1

    async def _rewrap(self, key_id: UUID, tenant: str, wrapped: bytes) -> None:
        context = _context(key_id, tenant)
        key = await self._provider.unwrap(wrapped, context=context)
        parameters = {
            "id": key_id, "before": wrapped, "wrapped": await self._provider.wrap(key, context=context),
            "master": self._provider.name,
        }  # fmt: skip
        await self._row(_SQL.rewrap, parameters, returns=False)

    async def destroy(self, tenant: str) -> int:
        """Delete every key of a tenant; return how many that were.

        What they have sealed can be read by nobody from here on, backups of the other tables included; processes that
        know them forget them within `refresh`. What is written afterwards gets a new key.
        """
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.destroy, {"tenant": tenant})).fetchall()
        for (key_id,) in rows:
            self._known.pop(key_id, None)
        self._active.pop(tenant, None)
        return len(rows)

    @property
    def master(self) -> str:
        """The name of the master key that wraps now."""
        return self._provider.name

    async def live_workers(self) -> int:
        """Return how many workers are running."""
        row = await self._row(_SQL.live_workers, {})
        return row[0]

    async def forget_transient(self) -> None:
        """Delete what is not sealed anew because it does not live long: records of streams, cached answers."""
        await self._row(_SQL.forget_transient, {}, returns=False)

    async def counts(self) -> list[TenantKeys]:
        """Return how many keys there are, by tenant."""
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.counts, {"master": self._provider.name})).fetchall()
        return [
            TenantKeys(tenant=row[0], keys=row[1], retiring=row[2], retired=row[3], foreign=row[4], newest_at=row[5])
            for row in rows
        ]

    async def _look(self) -> None:
        """See what other processes have changed, now and then."""
        now = asyncio.get_running_loop().time()
        if now - self._looked_at < self._refresh or self._looking.locked():
            return
        async with self._looking:
            with across_tenants():
                async with self._pool.connection() as connection:
                    parameters = {"known": list(self._known)}
                    rows = await (await connection.execute(_SQL.present, parameters)).fetchall()
            self._state = rows[-1][2]
            active = {key_id for key_id, is_active, _ in rows if is_active}
            present = {key_id for key_id, _, _ in rows}
            self._known = {key_id: key for key_id, key in self._known.items() if key_id in present}
            self._active = {tenant: key for tenant, key in self._active.items() if key.id in active}
            self._looked_at = now
        if NOBODY not in self._active:
            # Always there: what cannot wait for a key takes this one.
            await self._load_active(NOBODY)

    async def _load_active(self, tenant: str) -> DataKey:
        row = await self._row(_SQL.active, {"tenant": tenant})
        if row is None:
            await self._row(_SQL.add, await self._new(tenant), returns=False)
            row = await self._row(_SQL.active, {"tenant": tenant})
        if row is None:
            msg = f"the keys of tenant {tenant!r} are being changed; try again"
            raise DatabaseUnavailable(msg)
        key = self._known.get(row[0]) or await self._unwrapped(row)
        self._known[key.id] = self._active[tenant] = key
        return key

    async def _new(self, tenant: str) -> dict[str, Any]:
        key_id = uuid_utils.uuid7()
        wrapped = await self._provider.wrap(urandom(_KEY_BYTES), context=_context(key_id, tenant))
        return {"id": key_id, "tenant": tenant, "wrapped": wrapped, "master": self._provider.name}

    async def _unwrapped(self, row: tuple[UUID, str, bytes]) -> DataKey:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415 - only where it is used

        key_id, tenant, wrapped = row
        try:
            key = await self._provider.unwrap(wrapped, context=_context(key_id, tenant))
        except (OutlastError, asyncio.CancelledError):
            raise
        # A KMS that is away is no other than a database that is: nothing is lost, and it can be tried again.
        except Exception as error:
            msg = f"the key provider {self._provider.name} does not unwrap a key ({type(error).__name__}); try again"
            raise DatabaseUnavailable(msg) from error
        return DataKey(key_id, tenant, AESGCM(key))

    async def _row(self, statement: bytes, parameters: dict[str, Any], *, returns: bool = True) -> Any:
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(statement, parameters)
                return await cursor.fetchone() if returns else None


def _context(key_id: UUID, tenant: str) -> bytes:
    return b"outlast data key\0" + key_id.bytes + tenant.encode()


@asynccontextmanager
async def sealing_of(pool: Pool, provider: KeyProvider | None, *, refresh: timedelta) -> AsyncGenerator[Sealing]:
    """Provide what seals the rows of a database, as it and the settings say; the keys are forgotten at the end.

    Raises ConfigurationError when one of them says that everything is encrypted and the other does not.
    """
    if provider is None:
        await _require_plain(pool)
        yield OFF
        return
    async with opened_keys(pool, provider, refresh=refresh) as keys:
        if await keys.begin(with_content=None) is None:
            msg = (
                "there is a master key, but this database holds content that is not encrypted; run `outlast encryption "
                "enable` once, then start again"
            )
            raise ConfigurationError(msg)
        await keys.active(NOBODY)
        yield Sealed(keys)


@asynccontextmanager
async def opened_keys(pool: Pool, provider: KeyProvider, *, refresh: timedelta) -> AsyncGenerator[DataKeys]:
    """Open what knows the keys. It has a connection of its own: whoever asks for a key may hold all others."""
    own = Pool(pool.settings, application_name="outlast-keys", size=1)
    await own.open()
    try:
        yield DataKeys(own, provider, refresh=refresh)
    finally:
        await own.close()


async def _require_plain(pool: Pool) -> None:
    with across_tenants():
        async with pool.connection() as connection:
            row = await (await connection.execute(_SQL.state, {})).fetchone()
    if row is not None:
        msg = (
            "this database is encrypted, and there is no master key; set encryption.master_key "
            "(OUTLAST_ENCRYPTION__MASTER_KEY_FILE) as it was when it was written"
        )
        raise ConfigurationError(msg)
