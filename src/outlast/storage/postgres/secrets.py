"""Random keys that all processes of a database share: whoever needs one first makes it."""

import secrets

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import SHARED_SECRET

_SQL = Queries("secrets")
_BYTES = 32


class SharedSecrets:
    """Keys by name; each is read once in a process, and never changes."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._known: dict[str, bytes] = {}

    async def get(self, name: str) -> bytes:
        """Return the key, the same in every process."""
        if name not in self._known:
            proposed = await self._pool.sealing.seal(SHARED_SECRET, secrets.token_bytes(_BYTES), name)
            async with self._pool.connection() as connection:
                await connection.execute(_SQL.propose, {"name": name, "value": proposed})
                row = await (await connection.execute(_SQL.read, {"name": name})).fetchone()
            if row is None:
                msg = f"secret {name!r} was deleted while it was being read"
                raise LookupError(msg)
            self._known[name] = await self._pool.sealing.open(SHARED_SECRET, bytes(row[0]), name) or b""
        return self._known[name]
