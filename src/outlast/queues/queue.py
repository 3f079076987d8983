"""The durable queue of runs, as the rest of the program uses it."""

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

from outlast.domain.acting import across_tenants
from outlast.domain.intake import Intake
from outlast.domain.options import CancelAction
from outlast.domain.outcome import Settlement
from outlast.domain.run import ClaimedRun, NewRun, RunStatus, RunView
from outlast.errors import Conflict, RunEnded
from outlast.queues.wakeup import CANCEL, QUEUED, SETTLED, SWITCHED, Wakeup
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.run_intake import Admission, Key
from outlast.storage.postgres.runs import RunStore
from outlast.telemetry import emit

_POLL_SECONDS: Final = 1.0
# Of those that nobody waits for.
_MOST_NEW: Final = 4096


class RunQueue:
    """Every change of a run that others may wait for, and the waiting."""

    def __init__(self, store: RunStore, wakeup: Wakeup, *, audit: AuditLog | None = None) -> None:
        self.store = store
        self._audit = audit
        self._wakeup = wakeup
        self._waiters: dict[UUID, set[asyncio.Event]] = {}
        #: Admitted here, and nothing was heard of them since: whoever waits for one need not look whether it has ended.
        self._new: dict[UUID, None] = {}
        self._poll: asyncio.Task[None] | None = None
        wakeup.subscribe(self._heard)

    async def enqueue(self, run: NewRun, *, key: Key | None = None) -> UUID:
        """Store a run durably and wake a worker; see `RunStore.enqueue`. Returns the id of the run for this key."""
        return (await self.admit(run, Intake(), key=key)).run_id

    async def admit(self, run: NewRun, intake: Intake, *, key: Key | None = None) -> Admission:
        """Store a run under the rules of its intake and tell who is concerned; raises as `RunIntake.admit`."""
        # Before the commit, since its end may be heard of before its beginning is answered.
        self._new[run.id] = None
        if len(self._new) > _MOST_NEW:
            del self._new[next(iter(self._new))]
        admission = await self.store.intake.admit(run, intake, key=key)
        self.tell(admission)
        if intake.resume is not None:
            await self._note("run.answered", admission.run_id, intake.resume.value)
        return admission

    async def admit_all(self, runs: Sequence[tuple[NewRun, Intake]], *, key: Key | None = None) -> list[Admission]:
        """Store runs of new threads, all or none; raises as `RunIntake.admit_all`."""
        admissions = await self.store.intake.admit_all(runs, key=key)
        self.tell(*admissions)
        return admissions

    def tell(self, *admissions: Admission) -> None:
        """Tell who is concerned by runs that were stored, once that is committed."""
        if ended := [run_id for admission in admissions for run_id in admission.ended]:
            self._wakeup.tell(SETTLED, ended)
        if cancelled := [run_id for admission in admissions for run_id in admission.cancelled]:
            self._wakeup.tell(CANCEL, cancelled)
        if any(admission.status is RunStatus.QUEUED for admission in admissions):
            self._wakeup.tell(QUEUED)

    async def claim(self, worker_id: UUID, agents: Sequence[str], *, limit: int, max_crashes: int) -> list[ClaimedRun]:
        """Make due runs this worker's."""
        return await self.store.claim(worker_id, agents, limit=limit, max_crashes=max_crashes)

    async def settle(self, run: ClaimedRun, settlement: Settlement) -> RunStatus:
        """Store how an attempt ended and tell who waits; return what was stored.

        Raises LeaseLost when the run has another owner.
        """
        status, unblocked = await self.store.settle(run, settlement)
        if status is not RunStatus.QUEUED:
            self._wakeup.tell(SETTLED, [run.id])
        if unblocked or status is RunStatus.QUEUED:
            self._wakeup.tell(QUEUED)
        return status

    async def cancel(
        self, run_id: UUID, *, action: CancelAction = "interrupt", reason: str | None = None, access: str | None = None
    ) -> RunStatus:
        """Ask a run to end; `running` in the answer means that its worker was told.

        Raises NotFound, also for a run whose thread `access` does not allow, and RunEnded.
        """
        status = await self.store.cancel(run_id, action=action, reason=reason, access=access)
        self._tell_cancelled([(run_id, status)])
        return status

    async def cancel_where(
        self,
        *,
        statuses: Sequence[RunStatus],
        thread_id: str | None = None,
        run_ids: Sequence[UUID] | None = None,
        action: CancelAction = "interrupt",
        reason: str | None = None,
        access: str | None = None,
    ) -> list[tuple[UUID, RunStatus]]:
        """Ask all runs of these statuses to end, of a thread, of a list of ids, or all there are; see `cancel`.

        Returns those that were asked, `running` where the worker has still to stop it.
        """
        done = await self.store.ends.cancel_where(
            statuses=statuses, thread_id=thread_id, run_ids=run_ids, action=action, reason=reason, access=access
        )
        self._tell_cancelled(done)
        return done

    def _tell_cancelled(self, runs: Sequence[tuple[UUID, RunStatus]]) -> None:
        running = [run_id for run_id, status in runs if status is RunStatus.RUNNING]
        ended = [run_id for run_id, status in runs if status is not RunStatus.RUNNING]
        if running:
            self._wakeup.tell(CANCEL, running)
        if ended:
            self._wakeup.tell(SETTLED, ended)
            self._wakeup.tell(QUEUED)

    async def _note(self, action: str, run_id: UUID, payload: object = None) -> None:
        if self._audit is not None:
            # A hash of what was said, which whoever has it can compare.
            said = None if payload is None else json.dumps(payload, default=repr, sort_keys=True).encode()
            await self._audit.note(action, f"run:{run_id}", payload=said)

    async def delete(self, run_id: UUID, *, timeout: timedelta, access: str | None = None) -> None:  # noqa: ASYNC109 - as `wait`
        """Delete a run; one that runs is cancelled first. What it wrote into its thread stays.

        Raises NotFound, and Conflict when it has not stopped in time.
        """
        try:
            await self.store.ends.delete(run_id, access=access)
        except Conflict:
            # It may end by itself just now.
            with suppress(RunEnded):
                await self.cancel(run_id, reason="deleted", access=access)
            await self.wait(run_id, timeout=timeout)
            await self.store.ends.delete(run_id, access=access)
        self._wakeup.tell(SETTLED, [run_id])
        self._wakeup.tell(QUEUED)

    async def answer(self, run_id: UUID, answer: Any) -> RunStatus:
        """Give a waiting run its answer; return its status. Raises as `RunStore.answer`."""
        status = await self.store.answer(run_id, answer)
        self.tell_answered(run_id, ended=status is not RunStatus.QUEUED)
        await self._note("run.answered", run_id, answer)
        return status

    def tell_answered(self, run_id: UUID, *, ended: bool) -> None:
        """Tell that a run goes on with an answer, or that it has ended with that, once it is committed."""
        if ended:
            self._wakeup.tell(SETTLED, [run_id])
        self._wakeup.tell(QUEUED)

    def switched(self) -> None:
        """Tell that something was switched off or on: who holds runs back looks again, and so do workers."""
        self._wakeup.tell(SWITCHED)
        self._wakeup.tell(QUEUED)

    async def replay(self, run_id: UUID, *, delay: timedelta = timedelta(0), most: int | None = None) -> RunStatus:
        """Give a failed run another set of attempts; raises as `RunStore.replay`."""
        status = await self.store.replay(run_id, delay=delay, most=most)
        self._wakeup.tell(QUEUED)
        await self._note("run.replayed", run_id)
        return status

    async def wait(self, run_id: UUID, *, timeout: timedelta | None) -> RunView:  # noqa: ASYNC109 - not an error but an answer
        """Return the run when it has ended or waits for a person, or as it is when the time (None: for ever) is over.

        No connection is held meanwhile. Raises NotFound, also when it was rolled back or deleted while we waited.
        """
        moved = asyncio.Event()
        self._waiters.setdefault(run_id, set()).add(moved)
        self._begin_polling()
        new = run_id in self._new
        self._new.pop(run_id, None)
        try:
            async with asyncio.timeout(None if timeout is None else timeout.total_seconds()):
                if new:
                    await _next(moved)
                while not (view := await self.store.get(run_id)).ended and view.status is not RunStatus.WAITING:
                    await _next(moved)
                return view
        except TimeoutError:
            return await self.store.get(run_id)
        finally:
            self._waiters[run_id].discard(moved)
            if not self._waiters[run_id]:
                del self._waiters[run_id]

    def _begin_polling(self) -> None:
        if self._poll is None or self._poll.done():
            self._poll = asyncio.create_task(self._look_for_lost_hints(), name="outlast-waits")

    async def _look_for_lost_hints(self) -> None:
        """Look once a second for all who wait, with one statement, for as long as anybody does."""
        while self._waiters:
            await asyncio.sleep(_POLL_SECONDS)
            waited = list(self._waiters)
            try:
                # Whoever began to wait first has started this task, and it looks for all of them.
                with across_tenants():
                    still = await self.store.standing_still(waited) if waited else set[UUID]()
            # Whoever waits must not wait for ever because the database was away for a moment.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="waits", error=type(error).__name__)
                continue
            self._wake(still)

    def on_queued(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call back when there may be something to claim."""
        return self._wakeup.subscribe(lambda topic, _ids: callback() if topic == QUEUED else None)

    def on_cancel(self, callback: Callable[[list[UUID]], None]) -> Callable[[], None]:
        """Call back when running runs were cancelled; an empty list means that any may be."""
        return self._wakeup.subscribe(lambda topic, ids: callback(ids) if topic == CANCEL else None)

    def _heard(self, topic: str, ids: list[UUID]) -> None:
        if topic == SETTLED:
            for run_id in ids or list(self._new):
                self._new.pop(run_id, None)
            self._wake(ids or self._waiters)

    def _wake(self, run_ids: Iterable[UUID]) -> None:
        for run_id in run_ids:
            for moved in self._waiters.get(run_id, ()):
                moved.set()


async def _next(moved: asyncio.Event) -> None:
    await moved.wait()
    moved.clear()
