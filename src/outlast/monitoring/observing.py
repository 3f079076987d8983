"""Keeping what runs were like: a row in the database for each run that has ended.

A listener that appends to a bounded buffer, and a task that stores what is there once a second, in one statement; and
what is left at the end. A process that is killed loses at most what it had gathered since then. Without the database it
keeps what fits, and says how much it has lost.
"""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, cast

from outlast.domain.run import RunStatus
from outlast.domain.run_summary import RunSummary
from outlast.errors import DatabaseUnavailable
from outlast.storage.postgres.observations import ENDS, ObservationStore, TakenAway
from outlast.storage.postgres.pool import Pool
from outlast.telemetry import emit, subscribe

_EVERY_SECONDS: Final = 1.0
_BATCH: Final = 1000
_MOST: Final = 20_000
_LAST_SECONDS: Final = 5.0


class Observer:
    """Gathers the ends of runs and stores them."""

    def __init__(self, store: ObservationStore, *, judged: bool = False, most: int = _MOST) -> None:
        """`judged`: nobody compares them with what is usual. `most`: how many are kept while they cannot be stored."""
        self._store = store
        self._judged = judged
        self._waiting: deque[RunSummary | TakenAway] = deque()
        self._flushing = asyncio.Lock()
        self._most = most
        self._lost = 0

    def heard(self, point: str, fields: Mapping[str, Any]) -> None:
        """Keep the end of a run; as a listener of `telemetry`."""
        if point == "run.ended":
            summary = cast("RunSummary", fields["summary"])
            if summary.outcome in ENDS:
                self._keep(summary)
        elif point == "run.taken_away":
            self._keep(TakenAway(fields["run_id"], failed=fields["status"] == RunStatus.FAILED, code=fields["code"]))

    async def flush(self) -> int:
        """Store what was gathered; return how much that was. Without the database it stays for the next time."""
        async with self._flushing:
            stored = await self._flush()
        self._tell_lost()
        return stored

    async def _flush(self) -> int:
        stored = 0
        while self._waiting:
            batch = [self._waiting[place] for place in range(min(_BATCH, len(self._waiting)))]
            try:
                await self._store.add(batch, judged=self._judged)
            except DatabaseUnavailable:
                break
            # Whatever the rows themselves cause would cause it again, and hold back all that come after them.
            except Exception as error:  # noqa: BLE001
                self._lost += len(batch)
                emit("loop.failed", loop="observing", error=type(error).__name__)
            stored += self._taken(len(batch))
        return stored

    async def run(self) -> None:
        """Store once a second, until cancelled."""
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            if self._waiting or self._lost:
                await self.flush()

    async def aclose(self) -> None:
        """Store what is left; what cannot be is lost, and counted."""
        try:
            async with asyncio.timeout(_LAST_SECONDS):
                await self.flush()
        except TimeoutError:
            pass
        self._lost += self._taken(len(self._waiting))
        self._tell_lost()

    def _keep(self, ended: RunSummary | TakenAway) -> None:
        if len(self._waiting) < self._most:
            self._waiting.append(ended)
        else:
            self._lost += 1

    def _taken(self, count: int) -> int:
        for _ in range(count):
            self._waiting.popleft()
        return count

    def _tell_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            emit("telemetry.lost", what="observations", count=lost)


@asynccontextmanager
async def observed(pool: Pool, *, judged: bool) -> AsyncGenerator[Observer]:
    """Store how the runs of this process end, to the end of the block; the pool is needed until then."""
    observer = Observer(ObservationStore(pool), judged=judged)
    leave = subscribe(observer.heard)
    task = asyncio.create_task(observer.run(), name="outlast-observing")
    try:
        yield observer
    finally:
        leave()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await observer.aclose()
