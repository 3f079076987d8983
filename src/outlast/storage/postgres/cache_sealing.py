"""Cached answers, encrypted before they go to whatever keeps them: PostgreSQL or Redis."""

from datetime import timedelta
from typing import Protocol

from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.storage.postgres.sealed_columns import CACHED_ANSWER
from outlast.storage.postgres.sealing import Sealing


class Backend(Protocol):
    """Bytes by key, until they expire."""

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept, None if nothing is or it has expired."""
        ...

    async def put(self, key: bytes, body: bytes, *, ttl: timedelta, fence: Fence | None = None) -> None:
        """Keep it for so long, in the place of what was kept under the key."""
        ...


class SealedCache:
    """A backend that keeps nothing that could be read; raises Undecipherable for what was changed there."""

    def __init__(self, backend: Backend, sealing: Sealing) -> None:
        self._backend = backend
        self._sealing = sealing

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept, None if nothing is or it has expired."""
        return await self._sealing.open(CACHED_ANSWER, await self._backend.get(key), key)

    async def put(self, key: bytes, body: bytes, *, ttl: timedelta, fence: Fence | None = None) -> None:
        """Keep it for so long, in the place of what was kept under the key."""
        await self._backend.put(key, await self._sealing.seal(CACHED_ANSWER, body, key) or b"", ttl=ttl, fence=fence)
