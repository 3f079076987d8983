"""`outlast dev`: database, API and workers with one command, gone again with it."""

import asyncio
from asyncio.subprocess import Process
from dataclasses import dataclass

from rich.console import Console

from outlast import __version__
from outlast.agents.project import Project
from outlast.agents.registry import Registry
from outlast.cli import session
from outlast.cli.fleet import Fleet
from outlast.cli.processes import start_child, stop_signals
from outlast.cli.serving import definite_port, serve_until
from outlast.cli.session import Arguments
from outlast.domain.run import RunStatus
from outlast.errors import DatabaseUnavailable
from outlast.runtime import Runtime
from outlast.settings import Settings
from outlast.storage.postgres.migrate import migrate


async def develop(arguments: Arguments, *, workers: int) -> None:
    """Run everything until the first signal, then stop it in order."""
    project = session.read_project()
    settings = definite_port(session.read_settings(project, arguments))
    await _check_agents(project)
    async with session.database(settings, project.root) as complete:
        await migrate(complete.database)
        async with Runtime.open(complete, project, application_name="outlast-dev") as runtime:
            await _run(runtime, private=not settings.database.url, workers=workers)


async def _check_agents(project: Project) -> None:
    """Before anything is started, so that the message about a broken agent comes at once and stands alone."""
    registry = Registry(project)
    try:
        await registry.load_all()
    finally:
        await registry.aclose()


async def _run(runtime: Runtime, *, private: bool, workers: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    fleet = Fleet(_Spawn(runtime.settings), size=workers, runs_of=_RunsOf(runtime), say=console.print)
    stopping = asyncio.Event()

    def stop() -> None:
        if not stopping.is_set():
            console.print("stopping: steps in progress may end; again to stop now")
            stopping.set()

    with stop_signals(stop):
        await fleet.start()
        try:
            await serve_until(stopping, runtime, lambda: _banner(console, runtime, fleet, private=private))
        finally:
            await fleet.stop()
    console.print("stopped; what has not ended goes on with the next `outlast dev`")


@dataclass(frozen=True, slots=True)
class _Spawn:
    settings: Settings

    async def __call__(self) -> Process:
        concurrency = str(self.settings.worker.concurrency)
        return await start_child(self.settings, "worker", "--concurrency", concurrency)


@dataclass(frozen=True, slots=True)
class _RunsOf:
    runtime: Runtime

    async def __call__(self, pid: int) -> int:
        """Count the runs that a worker of this machine owns."""
        try:
            running = await self.runtime.queue.store.find(status=RunStatus.RUNNING, limit=1000)
        except DatabaseUnavailable:
            return 0
        return sum(run.worker_pid == pid for run in running)
