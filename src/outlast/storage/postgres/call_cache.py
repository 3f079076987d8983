"""Answers of model calls, kept for equal questions; they live by the database's clock."""

from datetime import timedelta

from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("call_cache")


class CallCacheStore:
    """Bytes by key, until they expire. Raises DatabaseUnavailable when the server does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept, None if nothing is or it has expired."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.get, {"key": key})).fetchone()
        return None if row is None else row[0]

    async def put(self, key: bytes, body: bytes, *, ttl: timedelta, fence: Fence | None = None) -> None:
        """Keep it for so long, in the place of what was kept under the key.

        With a fence, nothing is kept when the run is not running under that epoch any more: it may have been erased.
        """
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.put, {
                "key": key, "body": body, "seconds": ttl.total_seconds(),
                "run_id": None if fence is None else fence.run_id, "epoch": None if fence is None else fence.epoch,
            })  # fmt: skip
