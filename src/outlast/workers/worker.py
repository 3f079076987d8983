"""The worker: claim while there is room, execute, and leave in order.

One `session` is one life under one worker id. A session ends because it was asked to drain, or because it was fenced
(the database was away too long, or declared it dead): then its runs are stopped and a new session begins under a new
id.
"""

import asyncio
import os
import time
from contextlib import suppress
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.errors import DatabaseUnavailable
from outlast.queues.queue import RunQueue
from outlast.settings import DatabaseSettings, RetrySettings, WorkerSettings
from outlast.storage.postgres.pool import CONNECTION_ERRORS
from outlast.storage.postgres.workers import WorkerStore
from outlast.telemetry import emit
from outlast.workers.executor import Execution, Executor
from outlast.workers.heartbeat import EXIT_FENCED, Heartbeat

_TICK_SECONDS = 0.25
# Steps that do not end by themselves are cancelled this long before the drain is over.
_CANCEL_BEFORE_END_SECONDS = 5.0
_STOP_SECONDS = 3.0
# A claim whose answer was lost may still be on its way for as long as the server lets a statement run.
_UNSURE_MARGIN_SECONDS = 5.0
_SHORTEST_WAIT_SECONDS = 0.01


class Worker:
    """Runs until it is drained."""

    def __init__(
        self,
        queue: RunQueue,
        store: WorkerStore,
        executor: Executor,
        *,
        agents: tuple[str, ...],
        database: DatabaseSettings,
        settings: WorkerSettings,
        retry: RetrySettings,
    ) -> None:
        self._queue = queue
        self._store = store
        self._executor = executor
        self._agents = agents
        self._database = database
        self._settings = settings
        self._retry = retry
        # By run and epoch: a run that was taken away may come back while its older attempt is still ending here.
        self._executions: dict[tuple[UUID, int], Execution] = {}
        self._wake = asyncio.Event()
        self._draining = False
        self._fenced = False
        # There may be more to claim than there was room for; if not, whoever queues something says so.
        self._more = True
        # Until then there may be runs that are ours and that we do not know of.
        self._unsure_until = 0.0
        # Before the next look at runs that are due and could not be claimed.
        self._patience = _SHORTEST_WAIT_SECONDS
        self.id: UUID | None = None

    async def run(self) -> None:
        """Work until `drain` is called and everything is handed back."""
        unsubscribe = (self._queue.on_queued(self._wake.set), self._queue.on_cancel(self._on_cancel_hint))
        try:
            while not self._draining:
                await self._session()
        finally:
            for stop in unsubscribe:
                stop()

    def drain(self) -> None:
        """Stop claiming and ask the graphs to stop at their next step boundary."""
        if not self._draining:
            self._draining = True
            emit("worker.draining", worker_id=self.id)
            for execution in self._executions.values():
                execution.control.request_drain("shutdown")
            self._wake.set()

    async def _session(self) -> None:
        self._fenced = False
        self.id = uuid_utils.uuid7()
        heartbeat = await self._registered(self.id)
        if heartbeat is None:
            return
        emit("worker.started", worker_id=self.id, pid=os.getpid())
        ticking = asyncio.create_task(self._tick(heartbeat), name="outlast-tick")
        try:
            while not self._draining and not self._fenced:
                await self._fill()
            if self._fenced:
                await self._abandon()
            else:
                await self._hand_back(self.id)
        finally:
            ticking.cancel()
            heartbeat.stop()
            await asyncio.to_thread(heartbeat.join, _STOP_SECONDS)
        await self._leave(self.id)

    async def _registered(self, worker_id: UUID) -> Heartbeat | None:
        """Register, waiting for the database as long as it takes; None when asked to drain meanwhile."""
        delay = 0.1
        while not self._draining:
            heartbeat = Heartbeat(
                self._database, self._settings, worker_id=worker_id, agents=self._agents,
                on_fenced=self._on_fenced, on_cancel=self._on_cancel,
            )  # fmt: skip
            try:
                await asyncio.to_thread(heartbeat.register)
            except CONNECTION_ERRORS as error:
                emit("loop.failed", loop="register", error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)
            else:
                heartbeat.start()
                return heartbeat
        return None

    async def _fill(self) -> None:
        """Claim what fits, or wait until there may be something or a place is free."""
        self._wake.clear()
        free = self._settings.concurrency - len(self._executions)
        claimed = 0
        wait = self._settings.poll.total_seconds()
        if free > 0 and self.id is not None:
            self._more = True
            try:
                await self._give_back_unknown(self.id)
                runs = await self._queue.claim(self.id, self._agents, limit=free, max_crashes=self._retry.max_crashes)
                for run in runs:
                    self._start(Execution(run))
                claimed = len(runs)
                # Where runs are counted, one that ends makes room for another one of its tenant.
                self._more = claimed == free or self._queue.store.capped
                if claimed:
                    self._patience = _SHORTEST_WAIT_SECONDS
                else:
                    wait = await self._until_due(wait)
            # The loop must outlive whatever one round meets.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="claim", error=type(error).__name__)
                self._become_unsure()
        if claimed < free or free <= 0:
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    def _become_unsure(self) -> None:
        seconds = self._database.statement_timeout_ms / 1000 + _UNSURE_MARGIN_SECONDS
        self._unsure_until = time.monotonic() + seconds

    async def _give_back_unknown(self, worker_id: UUID) -> None:
        """Hand back runs that are ours in the database and not here; while they stay, nobody executes them."""
        if time.monotonic() < self._unsure_until:
            known = dict(sorted(self._executions))
            if await self._store.give_back_unknown(worker_id, known):
                self._wake.set()

    async def _until_due(self, longest: float) -> float:
        due = await self._queue.store.next_due(self._agents, max_crashes=self._retry.max_crashes)
        if due is None or due > 0:
            return longest if due is None else min(longest, max(due, _SHORTEST_WAIT_SECONDS))
        # Due, and not to be had: in somebody else's hands for a moment, held back until something ends, or of a tenant
        # behind many others.
        if self.id is not None:
            await self._queue.store.look_further(self.id)
        wait, self._patience = self._patience, min(self._patience * 2, longest)
        return wait

    def _start(self, execution: Execution) -> None:
        run = execution.run
        for older in self._of(run.id):
            # Nothing of it can be stored any more, and two at a time would only be in each other's way.
            older.drop()
        self._executions[run.id, run.epoch] = execution
        if self._draining:
            # Claimed while the worker was asked to stop.
            execution.control.request_drain("shutdown")
        execution.task = asyncio.create_task(self._executor.execute(execution), name=f"run-{run.id}")
        execution.task.add_done_callback(lambda task: self._ended(execution, task))

    def _ended(self, execution: Execution, task: "asyncio.Task[None]") -> None:
        del self._executions[execution.run.id, execution.run.epoch]
        if self._more:
            self._wake.set()
        error = None if task.cancelled() else task.exception()
        if error is not None:
            # Nothing of a run may end the worker.
            run = execution.run
            emit("loop.failed", loop="run", error=type(error).__name__, run_id=run.id, thread_id=run.thread_id)
        if error is not None or task.cancelled():
            self._become_unsure()

    async def _tick(self, heartbeat: Heartbeat) -> None:
        """Show the heartbeat thread that the loop turns, and obey the deadline if the thread cannot."""
        while True:
            heartbeat.loop_seen_at = time.monotonic()
            heartbeat.running = len(self._executions)
            if time.monotonic() > heartbeat.deadline:
                self._on_fenced()
            await asyncio.sleep(_TICK_SECONDS)

    def _on_fenced(self) -> None:
        if not self._fenced:
            self._fenced = True
            emit("worker.fenced", worker_id=self.id)
            self._wake.set()

    def _on_cancel(self, cancelled: list[tuple[UUID, int]]) -> None:
        for key in cancelled:
            # An older epoch's cancellation is not ours.
            self._cancel(self._executions.get(key))

    def _on_cancel_hint(self, run_ids: list[UUID]) -> None:
        # The hint is sent after the request is stored; without ids the next heartbeat brings them.
        for run_id in run_ids:
            for execution in self._of(run_id)[-1:]:
                self._cancel(execution)

    def _cancel(self, execution: Execution | None) -> None:
        if execution is not None and not execution.cancelled:
            execution.cancel()

    def _of(self, run_id: UUID) -> list[Execution]:
        """Return the attempts of a run that have not ended here, oldest first."""
        return [execution for (known, _), execution in self._executions.items() if known == run_id]

    async def _abandon(self) -> None:
        """Stop everything now: others may own it. A task that does not stop takes the process with it."""
        if await self._cancel_all():
            os._exit(EXIT_FENCED)

    async def _hand_back(self, worker_id: UUID) -> None:
        """Let steps end, then cancel what is left."""
        with suppress(DatabaseUnavailable):
            await self._store.drain(worker_id)
        patience = max(self._settings.drain.total_seconds() - _CANCEL_BEFORE_END_SECONDS, 0.1)
        tasks = self._tasks()
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        await self._cancel_all()

    async def _cancel_all(self) -> bool:
        """Cancel all tasks; True when some did not end in time."""
        tasks = self._tasks()
        for task in tasks:
            task.cancel()
        if not tasks:
            return False
        _, still_running = await asyncio.wait(tasks, timeout=_STOP_SECONDS)
        return bool(still_running)

    async def _leave(self, worker_id: UUID) -> None:
        """Give back what is still ours, once nothing of it runs any more."""
        try:
            if not self._executions:
                await self._store.release(worker_id)
            await self._store.stop(worker_id)
        except DatabaseUnavailable as error:
            # Recovery finds the runs by the missing heartbeat.
            emit("loop.failed", loop="leave", error=type(error).__name__)
        emit("worker.stopped", worker_id=worker_id)

    def _tasks(self) -> "list[asyncio.Task[None]]":
        return [execution.task for execution in self._executions.values() if execution.task is not None]
