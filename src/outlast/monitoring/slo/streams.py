"""Streams that came to their end, and those that did not: counted where they are served, as no table knows of them."""

import asyncio
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.slo import Count, SloStore
from outlast.telemetry import emit, rounds_for_ever, subscribe

#: A process that is killed takes so much with it.
_EVERY_SECONDS: Final = 5.0
#: A client that leaves says nothing about us.
_GOOD: Final[Mapping[str, bool]] = {"complete": True, "error": False}


class StreamCounts:
    """A listener that counts in memory, and what stores that."""

    def __init__(self, pool: Pool) -> None:
        self._store = SloStore(pool)
        self._lock = threading.Lock()
        self._counts: dict[str, Count] = {}

    def __call__(self, point: str, fields: Mapping[str, Any]) -> None:
        """Count the end of a stream."""
        if point != "stream.ended" or (good := _GOOD.get(fields["outcome"])) is None:
            return
        self._add({fields.get("agent") or "": Count(int(good), 1)})

    async def store(self) -> None:
        """Store what was counted since; what cannot be stored is kept for the next time."""
        with self._lock:
            counts, self._counts = self._counts, {}
        if not counts:
            return
        try:
            await self._store.add("streams", counts)
        # Nothing is lost by an error, nor by being cancelled.
        except BaseException:
            self._add(counts)
            raise

    async def run(self) -> None:
        """Store again and again."""
        await rounds_for_ever(self.store, seconds=_EVERY_SECONDS, loop="slo.streams", at_once=False)

    def _add(self, counts: Mapping[str, Count]) -> None:
        with self._lock:
            for agent, count in counts.items():
                self._counts[agent] = self._counts.get(agent, Count()).plus(count)


@asynccontextmanager
async def streams_counted(pool: Pool) -> AsyncGenerator[None]:
    """Count the streams of this process, to the end of the block; all that was counted is stored before it ends."""
    counts = StreamCounts(pool)
    leave = subscribe(counts)
    storing = asyncio.create_task(counts.run(), name="outlast-slo-streams")
    try:
        yield
    finally:
        leave()
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        try:
            await counts.store()
        # A process that ends while the database is away has to end all the same.
        except Exception as error:  # noqa: BLE001
            emit("loop.failed", loop="slo.streams", error=type(error).__name__)
