"""API keys in the database: made, shown without their secret, replaced, revoked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from outlast.domain.acting import across_tenants, principal
from outlast.domain.api_key import ApiKey, Minted, key_id_of, mint
from outlast.errors import Conflict, NotFound
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("api_keys")
_MOST: Final = 1000
_SHOWN: Final = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyRecord:
    """What a key opens, as the database said a moment ago."""

    tenant: str
    user: str | None
    scopes: frozenset[str]
    digest: bytes
    revoked: bool
    #: How long it is good from now on; None: without end.
    seconds_left: float | None
    #: Its last use was long ago, or never.
    rested: bool


class ApiKeyStore:
    """Keys of the tenant on whose behalf it is asked; `opened_by` alone looks at all tenants'.

    A key is named by its public id; whoever has only the whole key may give that.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def create(
        self,
        *,
        scopes: frozenset[str],
        user: str | None = None,
        name: str | None = None,
        lifetime: timedelta | None = None,
    ) -> tuple[ApiKey, Minted]:
        """Store a new key for the tenant that acts; `Minted.text` is the only time that its secret is told."""
        minted = mint()
        row = await self._row(
            _SQL.create,
            {
                "key_id": minted.key_id, "user": user, "name": name, "scopes": sorted(scopes),
                "digest": minted.digest, "by": _actor(), "lifetime": lifetime,
            },
        )  # fmt: skip
        return _shown(row or ()), minted

    async def opened_by(self, key_id: str) -> KeyRecord | None:
        """Return what the key opens, of whichever tenant it is; None when there is no such key."""
        with across_tenants():
            row = await self._row(_SQL.opened_by, {"key_id": key_id})
        if row is None:
            return None
        tenant, user, scopes, digest, revoked, seconds_left, rested = row
        return KeyRecord(
            tenant=tenant, user=user, scopes=frozenset(scopes), digest=bytes(digest), revoked=revoked,
            seconds_left=seconds_left, rested=rested,
        )  # fmt: skip

    async def used(self, key_id: str) -> None:
        """Remember that it was used; at most once in ten minutes."""
        with across_tenants():
            async with self._pool.connection() as connection:
                await connection.execute(_SQL.used, {"key_id": key_id})

    async def listed(self, *, everything: bool = False, limit: int = _MOST) -> list[ApiKey]:
        """Return the live keys, the newest first; with `everything` also what is expired or revoked."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.listed, {"all": everything, "limit": limit})
            return [_shown(row) for row in await cursor.fetchall()]

    async def one(self, key_id: str) -> ApiKey:
        """Return a key; raises NotFound."""
        return _found(await self._row(_SQL.one, {"key_id": _id(key_id)}))

    async def revoke(self, key_id: str) -> ApiKey:
        """End a key for ever; again is as good as once. Raises NotFound."""
        return _found(await self._row(_SQL.revoke, {"key_id": _id(key_id)}))

    async def rotate(self, key_id: str, *, grace: timedelta) -> tuple[ApiKey, Minted]:
        """Store a new key that opens what this one does, and let this one end after `grace`.

        Raises NotFound; Conflict for a key that is not live, or has been replaced already: two live at most.
        """
        minted = mint()
        parameters = {
            "key_id": _id(key_id), "new_id": minted.key_id, "digest": minted.digest, "by": _actor(), "grace": grace,
        }  # fmt: skip
        row = await self._row(_SQL.rotate, parameters)
        if row is not None:
            return _shown(row), minted
        old = await self.one(key_id)
        if old.replaced_by is not None:
            raise Conflict(f"key {old.key_id} has been replaced by {old.replaced_by}; rotate that one")
        raise Conflict(f"key {old.key_id} is {old.state}; create a new one")

    async def _row(self, statement: bytes, parameters: Mapping[str, Any]) -> tuple[Any, ...] | None:
        async with self._pool.connection() as connection:
            return await (await connection.execute(statement, parameters)).fetchone()


def _actor() -> str | None:
    who = principal()
    return who.user or who.key_id


def _id(text: str) -> str:
    """Return the id of a key that was named by it, or given whole; raises NotFound, which repeats no secret."""
    key_id = key_id_of(text)
    if key_id is None:
        raise NotFound("API key", text[:_SHOWN])
    return key_id


def _found(row: tuple[Any, ...] | None) -> ApiKey:
    if row is None:
        raise NotFound("API key", "of this id", hint=" in this tenant")
    return _shown(row)


def _shown(row: tuple[Any, ...]) -> ApiKey:
    return ApiKey(
        key_id=row[0], tenant=row[1], user=row[2], name=row[3], scopes=frozenset(row[4]), state=row[5],
        created_at=row[6], expires_at=row[7], revoked_at=row[8], last_used_at=row[9], replaced_by=row[10],
    )  # fmt: skip
