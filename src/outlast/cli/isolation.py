"""A process of its own for a run that has taken two workers with it: the third time it may only kill itself.

The worker stays the run's owner and keeps its heartbeat going; the child executes and settles under the worker's epoch.
When it ends without having settled, that is a crash of this run, and of nothing else.

    worker drains                SIGTERM: the graph stops at its next step boundary, the child hands the run back
    a person cancels             SIGUSR1: the graph is cancelled, the child records it
    worker is fenced, or ends    SIGKILL
"""

import asyncio
import os
import resource
import signal
from asyncio.subprocess import Process
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Final, Self
from uuid import UUID

from langgraph.runtime import RunControl

from outlast.cli import logs
from outlast.cli.processes import start_child
from outlast.cli.session import read_project, read_settings
from outlast.domain.outcome import Cancelled, Settlement, mark_of_outcome
from outlast.domain.run import ClaimedRun, RunStatus
from outlast.queues.wakeup import QUEUED
from outlast.runtime import Runtime
from outlast.telemetry import emit
from outlast.workers.executor import Execution, patiently

# RunControl has no event to wait for.
_LOOK_EVERY_SECONDS: Final = 0.1
_CANCEL_SECONDS: Final = 5.0
_START_AGAIN: Final = timedelta(seconds=2)


class Isolation:
    """The worker's side: start the child, pass on what happens to the run, account for the child's end."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    async def __call__(self, run: ClaimedRun, control: RunControl) -> None:
        """Execute the run in a process of its own; afterwards it is settled, or queued again.

        Raises LeaseLost when it has another owner.
        """
        with _Begun() as begun:
            child = await self._start(run, begun)
            try:
                await _ended(child, control)
            except asyncio.CancelledError:
                task = asyncio.current_task()
                if control.drain_reason != "cancelled" or task is None:
                    await _kill(child)
                    raise
                task.uncancel()
                await _cancel(child)
                await self._settle(run, Settlement(status=RunStatus.CANCELLED, thread=mark_of_outcome(Cancelled())))
            else:
                await self._account(run, begun=begun.seen(), drained=control.drain_requested)

    async def _start(self, run: ClaimedRun, begun: "_Begun") -> Process:
        given = (
            str(run.id),
            str(run.epoch),
            "--project",
            str(self._runtime.project.root),
            "--begun",
            str(begun.writes),
        )
        return await start_child(self._runtime.settings, "isolated-run", *given, pass_fds=(begun.writes,))

    async def _account(self, run: ClaimedRun, *, begun: bool, drained: bool) -> None:
        if not begun:
            # No database, no memory, a project file in the middle of an edit: the run is not to blame.
            delay = timedelta(0) if drained else _START_AGAIN
            if not drained:
                emit("loop.failed", loop="isolation", error="its process did not get as far as the run", run_id=run.id)
            await self._settle(run, Settlement(status=RunStatus.QUEUED, delay=delay))
        elif await patiently(lambda: self._runtime.queue.store.crashed(run)):
            self._runtime.wakeup.tell(QUEUED)

    async def _settle(self, run: ClaimedRun, settlement: Settlement) -> None:
        await patiently(lambda: self._runtime.queue.settle(run, settlement))


class _Begun:
    """A pipe through which the child says that from here on, what happens is the run's doing."""

    def __init__(self) -> None:
        self._reads, self.writes = os.pipe()
        os.set_blocking(self._reads, False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._reads)
        os.close(self.writes)

    def seen(self) -> bool:
        try:
            return bool(os.read(self._reads, 1))
        except BlockingIOError:
            return False


async def isolated_run(run_id: UUID, epoch: int, root: Path, begun: int) -> None:
    """Be the child: execute one run that the parent's worker owns."""
    logs.configure()
    project = read_project(root)
    settings = read_settings(project, {})
    logs.configure(settings.logs)
    # What a suspect run allocates without end must not take the machine.
    limit = settings.worker.isolate_memory_mb * 1024 * 1024
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    async with Runtime.open(settings, project, application_name="outlast-isolated") as runtime:
        run = await runtime.queue.store.claimed(run_id, epoch)
        if run is not None:
            await _execute(runtime, run, begun)


async def _execute(runtime: Runtime, run: ClaimedRun, begun: int) -> None:
    execution = Execution(run)
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, execution.control.request_drain)
    loop.add_signal_handler(signal.SIGUSR1, execution.cancel)
    # Ctrl-C reaches the whole process group; the worker knows what to do about it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.write(begun, b"!")
    switches = asyncio.create_task(runtime.policing.board.watch(), name="outlast-switches")
    execution.task = asyncio.create_task(runtime.executor().execute(execution), name=f"run-{run.id}")
    try:
        await execution.task
    finally:
        switches.cancel()


async def _ended(child: Process, control: RunControl) -> None:
    """Wait for the child, and tell it once when its worker drains."""
    waiting = asyncio.create_task(child.wait())
    told = False
    while not waiting.done():
        await asyncio.wait({waiting}, timeout=_LOOK_EVERY_SECONDS)
        if control.drain_requested and control.drain_reason != "cancelled" and not told:
            told = True
            _signal(child, signal.SIGTERM)


async def _cancel(child: Process) -> None:
    _signal(child, signal.SIGUSR1)
    try:
        async with asyncio.timeout(_CANCEL_SECONDS):
            await child.wait()
    except TimeoutError:
        await _kill(child)


async def _kill(child: Process) -> None:
    _signal(child, signal.SIGKILL)
    await child.wait()


def _signal(child: Process, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        child.send_signal(number)
