"""The durable queue of runs, as the rest of the program uses it."""

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

from outlast.domain.outcome import Settlement
from outlast.domain.run import ClaimedRun, NewRun, RunStatus, RunView
from outlast.queues.wakeup import CANCEL, QUEUED, SETTLED, Wakeup
from outlast.storage.postgres.runs import RunStore


class RunQueue:
    """Every change of a run that others may wait for, and the waiting."""

    def __init__(self, store: RunStore, wakeup: Wakeup) -> None:
        self.store = store
        self._wakeup = wakeup
        self._waiters: dict[UUID, set[asyncio.Event]] = {}
        wakeup.subscribe(self._heard)

    async def enqueue(self, run: NewRun, *, key: tuple[str, str, bytes] | None = None) -> UUID:
        """Store a run durably and wake a worker; see `RunStore.enqueue`. Returns the id of the run for this key."""
        run_id, status = await self.store.enqueue(run, key=key)
        if status is RunStatus.QUEUED:
            self._wakeup.tell(QUEUED)
        return run_id

    async def claim(self, worker_id: UUID, agents: Sequence[str], *, limit: int, max_crashes: int) -> list[ClaimedRun]:
        """Make due runs this worker's."""
        return await self.store.claim(worker_id, agents, limit=limit, max_crashes=max_crashes)

    async def settle(self, run: ClaimedRun, settlement: Settlement) -> None:
        """Store how an attempt ended and tell who waits; raises LeaseLost when the run has another owner."""
        status, unblocked = await self.store.settle(run, settlement)
        if status is not RunStatus.QUEUED:
            self._wakeup.tell(SETTLED, [run.id])
        if unblocked or status is RunStatus.QUEUED:
            self._wakeup.tell(QUEUED)

    async def cancel(self, run_id: UUID) -> RunStatus:
        """Ask a run to end; `running` in the answer means that its worker was told."""
        status = await self.store.cancel(run_id)
        if status is RunStatus.RUNNING:
            self._wakeup.tell(CANCEL, [run_id])
        else:
            self._wakeup.tell(SETTLED, [run_id])
            self._wakeup.tell(QUEUED)
        return status

    async def answer(self, run_id: UUID, answer: Any) -> None:
        """Give a waiting run its answer; raises Conflict when it was answered already."""
        await self.store.answer(run_id, answer)
        self._wakeup.tell(QUEUED)

    async def replay(self, run_id: UUID) -> RunStatus:
        """Give a failed run another set of attempts."""
        status = await self.store.replay(run_id)
        self._wakeup.tell(QUEUED)
        return status

    async def wait(self, run_id: UUID, *, timeout: timedelta) -> RunView:  # noqa: ASYNC109 - not an error but an answer
        """Return the run when it has ended or waits for a person, or as it is when the time is over."""
        stopped = asyncio.Event()
        self._waiters.setdefault(run_id, set()).add(stopped)
        try:
            async with asyncio.timeout(timeout.total_seconds()):
                while not (view := await self.store.get(run_id)).ended and view.status is not RunStatus.WAITING:
                    await self._next(stopped)
                return view
        except TimeoutError:
            return await self.store.get(run_id)
        finally:
            self._waiters[run_id].discard(stopped)
            if not self._waiters[run_id]:
                del self._waiters[run_id]

    async def _next(self, stopped: asyncio.Event) -> None:
        """Wait for a hint about the run, or long enough for a lost one."""
        try:
            await asyncio.wait_for(stopped.wait(), timeout=1.0)
        except TimeoutError:
            return
        stopped.clear()

    def on_queued(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when there may be something to claim."""
        return self._wakeup.subscribe(lambda topic, _ids: callback() if topic == QUEUED else None)

    def on_cancel(self, callback: Callable[[list[UUID]], None]) -> Callable[[], None]:
        """Call back when running runs were cancelled; an empty list means that any may be."""
        return self._wakeup.subscribe(lambda topic, ids: callback(ids) if topic == CANCEL else None)

    def _heard(self, topic: str, ids: list[UUID]) -> None:
        if topic != SETTLED:
            return
        for run_id in ids or list(self._waiters):
            for stopped in self._waiters.get(run_id, ()):
                stopped.set()
