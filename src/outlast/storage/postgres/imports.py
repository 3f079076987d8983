"""What an import asks of the database that it fills, besides what the checkpointer does."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from outlast.domain.thread import ThreadMark
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.langgraph_source import Place
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.threads import ThreadStore

_SQL = Queries("imports")
_UNFINISHED = "its import has not ended; run the same `outlast import` again"


class Imports:
    """The target of an import."""

    def __init__(self, pool: Pool, threads: ThreadStore) -> None:
        self._pool = pool
        self._threads = threads

    async def present(self, thread_id: str) -> set[Place]:
        """Return the checkpoints that a thread has here."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.present, _key(thread_id))
            return {Place(str(checkpoint_id), ns) for checkpoint_id, ns in await cursor.fetchall()}

    async def begin(self, thread_id: str, *, metadata: Mapping[str, Any]) -> None:
        """Make the thread, unless it is there; until `finish`, no run may start on it."""
        await self._threads.create(thread_id, metadata=metadata, exist_ok=True)
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.hold, {**_key(thread_id), "reason": _UNFINISHED})

    async def finish(self, thread_id: str, mark: ThreadMark | None, *, created_at: datetime | None) -> None:
        """Write down how the thread stands and since when there is such a thread, and let runs start on it."""
        if mark is not None:
            await self._threads.mark(thread_id, mark)
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.release, {**_key(thread_id), "created_at": created_at, "reason": _UNFINISHED})

    async def discard(self, thread_id: str) -> None:
        """Take back a thread whose import has failed."""
        await self._threads.delete(thread_id)


def _key(thread_id: str) -> dict[str, UUID]:
    return {"thread_key": UUID(bytes=thread_key(thread_id))}
