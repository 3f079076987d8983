"""One run, from claim to settlement."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import TypeVar

from langgraph.errors import GraphBubbleUp
from langgraph.runtime import RunControl
from langgraph.store.base import BaseStore

from outlast.agents import calling, places, progress, runner
from outlast.agents.checking import Checks
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.failures import classify
from outlast.agents.node_events import NodeEvents
from outlast.agents.recording import Recorder
from outlast.agents.registry import Registry
from outlast.agents.spanning import spans
from outlast.calls import scope
from outlast.calls.deadline import Deadline
from outlast.calls.services import Calls
from outlast.calls.spending import Spent
from outlast.domain.acting import Principal, acting_for
from outlast.domain.backoff import full_jitter
from outlast.domain.outcome import Cancelled, Drained, Failed, Outcome, Settlement, settle
from outlast.domain.run import ClaimedRun, RunStatus
from outlast.errors import DatabaseUnavailable, LeaseLost, ThreadConflict
from outlast.queues.queue import RunQueue
from outlast.settings import RetrySettings, WorkerSettings
from outlast.storage.postgres.checkpoint_rows import Fence
from outlast.streams.hub import EventHub
from outlast.telemetry import about, emit
from outlast.workers import attempt_spans, review_answers
from outlast.workers.reviewing import Attempt, Reviewer
from outlast.workers.summing import Account, Summing, trace_of, user_of
from outlast.workers.switching import is_off, stop_of, under_switches

T = TypeVar("T")
# A run that has taken two workers with it gets a process of its own: the third time it may only kill itself.
ISOLATE_FROM_CRASHES = 2

Isolate = Callable[[ClaimedRun, RunControl], Awaitable[None]]


@dataclass(slots=True)
class Execution:
    """A run while this worker executes it."""

    run: ClaimedRun
    control: RunControl = field(default_factory=RunControl)
    cancelled: bool = False
    #: The attempt has ended: its outcome is being stored, and whoever cancels now is too late.
    ended: bool = False
    task: "asyncio.Task[None] | None" = None
    #: What the run writes its checkpoints with, once it has begun.
    saver: Checkpointer | None = None
    #: For what is told of it when it has ended.
    account: Account = field(default_factory=Account)

    @property
    def wrote(self) -> bool:
        """Whether this attempt has stored anything."""
        return self.saver is not None and self.saver.accepted.rows > 0

    @property
    def moved(self) -> bool:
        """Whether the thread stands where this attempt has brought it."""
        return self.saver is not None and self.saver.accepted.stands_at is not None

    def cancel(self) -> None:
        """Stop it because a person asked to."""
        if self.ended:
            return
        self.cancelled = True
        self.control.request_drain("cancelled")
        if self.task is not None:
            self.task.cancel()

    def drop(self) -> None:
        """Stop it because the run is another attempt's by now."""
        if self.task is not None:
            self.task.cancel()


class Executor:
    """Takes claimed runs through their graphs; one for the whole worker."""

    def __init__(
        self,
        queue: RunQueue,
        registry: Registry,
        saver: Checkpointer,
        hub: EventHub,
        *,
        store: BaseStore | None,
        calls: Calls,
        worker: WorkerSettings,
        retry: RetrySettings,
        rng: Random,
        isolate: Isolate | None = None,
        reviewer: Reviewer,
        summing: Summing,
    ) -> None:
        self._reviewer = reviewer
        self._summing = summing
        self._queue = queue
        self._registry = registry
        self._saver = saver
        self._hub = hub
        self._store = store
        self._calls = calls
        self._worker = worker
        self._retry = retry
        self._rng = rng
        self._isolate = isolate

    async def execute(self, execution: Execution) -> None:
        """Execute the run and store how it ended. A run that was lost meanwhile is dropped: its new owner goes on."""
        run = execution.run
        user = user_of(run)
        here = about(
            run_id=run.id, thread_id=run.thread_id, agent=run.agent, tenant=run.tenant, user_id=user, epoch=run.epoch,
            trace_id=trace_of(run), traceparent=run.options.traceparent,
        )  # fmt: skip
        with acting_for(Principal(tenant=run.tenant, user=run.user_id, key_id=run.key_id)), here:
            await self._execute(execution)

    async def _execute(self, execution: Execution) -> None:
        run = execution.run
        emit("run.started", run_id=run.id, epoch=run.epoch)
        try:
            if self._isolate is not None and run.crashes >= ISOLATE_FROM_CRASHES:
                await self._isolate(run, execution.control)
                return
            with await attempt_spans.begun(run, self._queue.store.last_attempt) as told:
                recorder = Recorder(run, self._hub.emitter(run))
                outcome = await self._watched(execution, recorder)
                execution.ended = True
                emit("run.executed", run_id=run.id, outcome=type(outcome).__name__)
                told.set(**attempt_spans.ended(outcome))
                # Whoever learns that the run has ended can read all that it said.
                last_pos = await recorder.finish(outcome)
                execution.account.first_at = recorder.first_at
                settlement, status = await self._record(run, outcome, last_pos)
                self._summing.tell(run, execution.account, outcome, settlement, status)
        except LeaseLost:
            emit("run.lease_lost", run_id=run.id)

    async def _watched(self, execution: Execution, recorder: Recorder) -> Outcome:
        try:
            return await self._attempt(execution, recorder)
        # LeaseLost, or this worker has to stop at once: how it goes on is another owner's to say.
        except BaseException:
            recorder.drop()
            raise

    async def _attempt(self, execution: Execution, recorder: Recorder) -> Outcome:
        timeout = self._timeout(execution.run)
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await self._invoke(execution, recorder)
        except TimeoutError as error:
            if limit.expired():
                return Failed(code="timed_out", message=f"the attempt took over {timeout:g} s", retryable=False)
            return classify(error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or not task.cancelling():
                # Nobody cancelled us: the graph raised it, as a cancel scope that leaks does.
                return classify(error)
            if not execution.cancelled:
                raise
            task.uncancel()
            return _cancelled(execution)
        except LeaseLost:
            raise
        # Whatever a user's graph raises ends its own attempt and nothing else.
        except (Exception, BaseExceptionGroup) as error:  # noqa: BLE001
            return _cancelled(execution) if execution.cancelled else _failed(execution, error)

    async def _invoke(self, execution: Execution, recorder: Recorder) -> Outcome:
        run = execution.run
        saver = self._saver.fenced(Fence(run_id=run.id, epoch=run.epoch), starts_empty=not run.has_state)
        execution.saver = saver
        reporter = progress.Progress(self._progress_of(run))
        progress.current.set(reporter)
        making = self._scope_of(execution, saver)
        making.stop = stop_of(execution.control)
        scope.current.set(making)
        if await is_off(making):
            return Drained()
        opened = self._registry.opened(
            run.agent, calling.run_config(run), access="threads.create_run", user=run.options.user,
            context=run.options.context,
        )  # fmt: skip
        async with opened as agent:
            checks = Checks(self._reviewer.validation.of(run.agent, agent.graph), run)
            making.tools = checks.of_tools
            execution.account.graph = agent.graph
            try:
                with under_switches(making, execution.control) as callbacks:
                    call = partial(
                        runner.execute, agent, saver, run, execution.control, recorder, store=self._store,
                        recursion_limit=self._worker.recursion_limit,
                        callbacks=[*callbacks, NodeEvents(execution.account.tally), *spans()],
                        checks=checks,
                    )  # fmt: skip
                    attempt = Attempt(
                        run=run, agent=agent, saver=saver, recorder=recorder, call=lambda given: call(given=given)
                    )
                    outcome = await review_answers.execute(self._reviewer, attempt)
            finally:
                # However it ends, effects in flight say first what became of them.
                await making.close()
        await reporter.flush()
        return _cancelled(execution) if execution.cancelled else outcome

    def _scope_of(self, execution: Execution, saver: Checkpointer) -> scope.Scope:
        run = execution.run
        where = places.Places(saver.accepted, durable=run.options.durability != "exit")
        timeout = self._timeout(run)
        return scope.Scope(
            calls=self._calls,
            run_id=run.id,
            epoch=run.epoch,
            lineage=run.lineage,
            thread_id=run.thread_id,
            thread_key=run.thread_key,
            agent=run.agent,
            tenant=run.tenant,
            user_id=user_of(run),
            key_id=run.key_id,
            errors=run.errors,
            # Epoch 1 is the first claim ever.
            fresh=run.epoch == 1 and run.lineage == run.id,
            deadline=Deadline.after(timeout) if timeout is not None else None,
            locate=where.locate,
            settled=where.settled,
            ask=places.ask,
            bubbles=(GraphBubbleUp,),
            spent=Spent(began_at=asyncio.get_running_loop().time() - run.seconds_before),
            tally=execution.account.tally,
        )

    def _progress_of(self, run: ClaimedRun) -> progress.Save:
        async def save(done: int, total: int) -> None:
            await self._queue.store.save_progress(run.id, run.epoch, completed=done, total=total)

        return save

    async def _record(self, run: ClaimedRun, outcome: Outcome, last_pos: int | None) -> tuple[Settlement, RunStatus]:
        try:
            return await self._settle(run, outcome, last_pos)
        except LeaseLost:
            raise
        # An outcome that cannot be stored is a failure that can; a run without one would be `running` for ever.
        except Exception as error:  # noqa: BLE001
            return await self._settle(run, classify(error), last_pos)

    async def _settle(self, run: ClaimedRun, outcome: Outcome, last_pos: int | None) -> tuple[Settlement, RunStatus]:
        attempt = run.errors + 1
        backoff = full_jitter(attempt, base=self._retry.base, cap=self._retry.cap, rng=self._rng)
        settlement = settle(
            outcome, errors=run.errors, max_attempts=run.max_attempts, backoff=backoff, protocol=run.options.protocol,
            last_pos=last_pos,
        )  # fmt: skip
        if settlement.status == "queued" and not settlement.errors:
            emit("run.drained", run_id=run.id)
        # The work is done and saved; its outcome waits for the database, as long as the lease lasts.
        return settlement, await patiently(lambda: self._queue.settle(run, settlement))

    def _timeout(self, run: ClaimedRun) -> float | None:
        if run.timeout_seconds is not None:
            return float(run.timeout_seconds)
        return self._worker.run_timeout.total_seconds() if self._worker.run_timeout is not None else None


def _cancelled(execution: Execution) -> Cancelled:
    return Cancelled(begun=execution.wrote or execution.run.epoch > 1)


def _failed(execution: Execution, error: BaseException) -> Failed:
    failed = classify(error)
    if isinstance(error, ThreadConflict) and not execution.moved:
        # The thread was changed between our first look and our first checkpoint: nothing of ours stands, so it can be
        # done again. Outputs of tasks may have been stored beside the checkpoint that was refused; nobody reads them.
        return replace(failed, retryable=True)
    return failed


async def patiently(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat until the database answers: a run that nobody accounts for stays `running` as long as its worker lives."""
    delay = 0.1
    while True:
        try:
            return await call()
        except DatabaseUnavailable:
            await asyncio.sleep(delay)
            delay = min(delay * 2, 2.0)
