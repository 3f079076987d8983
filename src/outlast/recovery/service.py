"""The reaper: it runs inside every worker, and any number of them may run at once.

Each round: declare workers dead (`workers.sql` says when), give their runs back under a new epoch, end runs that have
no future (killed three workers, cancelled but not stopped, over their time limit and not stopped), and unblock threads
whose front is empty. A round that fails is followed by the next one; nothing it does depends on the one before.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from outlast.domain.acting import acting_for
from outlast.domain.run import RunStatus
from outlast.queues.wakeup import QUEUED, SETTLED, Wakeup
from outlast.settings import RecoverySettings, RetrySettings, WorkerSettings
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.workers import WorkerStore
from outlast.telemetry import emit, rounds_for_ever

# Beats a worker may miss, once its lock is gone, before its runs are taken.
_GRACE_BEATS = 1.5
# How long an owner has to stop a run that was cancelled or is over its time, before the run is taken from it.
_STOP_GRACE = timedelta(seconds=30)
_FORGET_EVERY_ROUNDS = 7200
_MESSAGES = {
    "crashed": "the run's worker died {max_crashes} times; it is not tried again, since it may be what killed them",
    "timed_out": "the attempt did not stop at its time limit",
    "cancelled": None,
}


class Recovery:
    """Finds and repairs; `run` until cancelled."""

    def __init__(
        self,
        runs: RunStore,
        workers: WorkerStore,
        wakeup: Wakeup,
        *,
        recovery: RecoverySettings,
        worker: WorkerSettings,
        retry: RetrySettings,
        release: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._runs = runs
        self._workers = workers
        self._wakeup = wakeup
        self._settings = recovery
        self._worker = worker
        self._retry = retry
        #: Gives back what dead attempts had reserved.
        self._release = release
        self._rounds = 0

    async def run(self) -> None:
        """Scan for ever."""
        await rounds_for_ever(self.round, seconds=self._settings.scan.total_seconds(), loop="recovery")

    async def round(self) -> int:
        """Look once; return how many runs were given back."""
        dead = await self._workers.declare_dead(lease=self._worker.lease, grace=self._worker.heartbeat * _GRACE_BEATS)
        if dead:
            emit("recovery.before_reap", workers=[str(worker_id) for worker_id, _, _ in dead])
        reaped = await self._workers.reap(limit=self._settings.batch)
        if reaped:
            silent = [seconds for *_, seconds in reaped]
            emit("recovery.reaped", runs=[str(run_id) for run_id, *_ in reaped], silent_seconds=silent)
            self._wakeup.tell(QUEUED)
        if reaped or self._rounds % 10 == 0:
            await self._end_hopeless()
            await self._unblock_stranded()
            if self._release is not None:
                await self._release()
        if self._rounds % _FORGET_EVERY_ROUNDS == 0:
            await self._workers.forget_ended()
        self._rounds += 1
        return len(reaped)

    async def _end_hopeless(self) -> None:
        hopeless = await self._runs.without_future(grace=_STOP_GRACE, max_crashes=self._retry.max_crashes)
        for run_id, thread, epoch, tenant, why in hopeless:
            message = _MESSAGES[why]
            with acting_for(tenant):
                taken = await self._runs.take_away(
                    run_id,
                    thread,
                    epoch,
                    status=RunStatus.CANCELLED if why == "cancelled" else RunStatus.FAILED,
                    code=None if why == "cancelled" else why,
                    message=None if message is None else message.format(max_crashes=self._retry.max_crashes),
                )
            if taken:
                self._wakeup.tell(SETTLED, [run_id])
                self._wakeup.tell(QUEUED)

    async def _unblock_stranded(self) -> None:
        for thread, tenant in await self._workers.stranded():
            with acting_for(tenant):
                if await self._runs.unblock(thread):
                    self._wakeup.tell(QUEUED)
