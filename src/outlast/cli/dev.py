"""`outlast dev`: database, API and workers with one command, gone again with it."""

import asyncio
import os
import socket
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol, cast

import orjson
from rich.console import Console
from rich.markup import escape

from outlast import __version__
from outlast.agents.project import Project
from outlast.agents.registry import Registry
from outlast.cli import logs, session
from outlast.cli.collector import spare_the_collector
from outlast.cli.fleet import Fleet
from outlast.cli.isolation import Isolation
from outlast.cli.processes import start_child, stop_signals
from outlast.cli.serving import serve_until
from outlast.domain.run import RunStatus
from outlast.errors import AgentLoadError, DatabaseUnavailable
from outlast.monitoring.metrics.sharing import sharing
from outlast.runtime import Runtime, work
from outlast.server.listening import is_loopback, listen
from outlast.settings import Settings
from outlast.storage.postgres.migrate import migrate

_MESSAGE = {"messages": [{"role": "user", "content": "Hello"}]}


class _Workers(Protocol):
    @property
    def pids(self) -> list[int]: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


async def develop(project: Project, settings: Settings, *, workers: int) -> None:
    """Run everything until the first signal, then stop it in order.

    With 0 workers the runs are executed in this process. Raises ConfigurationError when the port is taken, before a
    database is started for nothing.
    """
    logs.configure(settings.logs)
    settings = _for_this_machine(settings)
    with sharing(settings.metrics, project.root, alone=not workers):
        await _develop(project, settings, workers=workers)


async def _develop(project: Project, settings: Settings, *, workers: int) -> None:
    example = await _check_agents(project)
    async with session.database(settings, project.root) as complete:
        await migrate(complete.database)
        async with Runtime.open(complete, project, application_name="outlast-dev") as runtime:
            await session.announce(runtime, "dev")
            await _run(runtime, example, private=not settings.database.url, workers=workers)


def _for_this_machine(settings: Settings) -> Settings:
    """Let LangGraph Studio in where nobody but this machine gets in anyway."""
    with listen(settings.server.host, settings.server.port) as listening:
        alone = is_loopback(listening)
    server = settings.server.model_copy(update={"studio": settings.server.studio or alone})
    return settings.model_copy(update={"server": server})


async def _check_agents(project: Project) -> str:
    """Load all agents before anything is started, so that the message about a broken one comes at once, and alone.

    Returns the body of a request that starts the first of them.
    """
    if not project.agents:
        msg = f'{project.file} names no agent. Add one, for example:\n    [agents]\n    my_agent = "./agent.py:graph"'
        raise AgentLoadError(msg)
    registry = Registry(project)
    try:
        await registry.load_all()
        name = registry.names[0]
        async with registry.opened(name) as agent:
            graph = cast("Any", agent.graph)
            given = _MESSAGE if "messages" in graph.channels else {}
        return orjson.dumps({"agent": name, "input": given}).decode()
    finally:
        await registry.aclose()


async def _run(runtime: Runtime, example: str, *, private: bool, workers: int) -> None:
    console = Console(highlight=False, soft_wrap=True)
    stopping = asyncio.Event()
    fleet = _fleet(runtime, workers, console.print) if workers else _InProcess(runtime, stopping)

    def stop() -> None:
        console.print("stopping: steps in progress may end (once more to stop now)")
        stopping.set()

    with stop_signals(stop):
        await fleet.start()
        spare_the_collector()
        try:
            await serve_until(stopping, runtime, partial(_greet, console, runtime, fleet, example, private=private))
        finally:
            await fleet.stop()
    console.print("stopped; runs that have not ended go on with the next `outlast dev`")


def _fleet(runtime: Runtime, workers: int, say: Callable[[str], None]) -> Fleet:
    return Fleet(
        lambda: start_child(runtime.settings, "worker", "--concurrency", str(runtime.settings.worker.concurrency)),
        size=workers,
        bury=lambda pid: _bury(runtime, pid),
        say=say,
    )


class _InProcess:
    """A worker in the loop of the API: the shortest way from a request to its run, and one crash for both."""

    def __init__(self, runtime: Runtime, stopping: asyncio.Event) -> None:
        self._runtime = runtime
        self._stopping = stopping
        self._worker = runtime.worker(isolate=Isolation(runtime))
        self._working: asyncio.Task[None] | None = None

    @property
    def pids(self) -> list[int]:
        """This process."""
        return [os.getpid()]

    async def start(self) -> None:
        """Load all agents and start claiming; when the worker ends, everything else is to end, too."""
        await self._runtime.registry.load_all()
        self._working = asyncio.create_task(work(self._runtime, self._worker), name="outlast-worker")
        self._working.add_done_callback(lambda _: self._stopping.set())

    async def stop(self) -> None:
        """Hand every run back; raises what the worker ended with."""
        self._worker.drain()
        if self._working is not None:
            await self._working


async def _bury(runtime: Runtime, pid: int) -> int:
    """Tell the others that a worker of ours is dead, and return how many runs it leaves.

    Recovery would find out by its silent heartbeat, and right after the database itself has started it waits longer.
    But we are the parent: the process has ended, nobody has to guess.
    """
    try:
        for worker in await runtime.workers.live():
            if worker.pid == pid and worker.host == socket.gethostname():
                await runtime.workers.stop(worker.id)
        running = await runtime.queue.store.find(status=RunStatus.RUNNING, limit=1000)
    except DatabaseUnavailable:
        return 0
    return sum(run.worker_pid == pid for run in running)


def _greet(console: Console, runtime: Runtime, fleet: _Workers, example: str, url: str, *, private: bool) -> None:
    agents, pids = runtime.registry.names, fleet.pids
    where = f"private PostgreSQL in {runtime.project.root / '.outlast'}" if private else "the one in DATABASE_URL"
    lines = {
        "API": url,
        "database": where,
        "agents": ", ".join(agents),
        "worker" if len(pids) == 1 else "workers": ", ".join(map(str, pids)),
    }
    console.print(f"[bold]Outlast {__version__}[/]\n")
    for name, value in lines.items():
        console.print(f"  {name:<10}{escape(value)}")
    console.print("\nStart a run:\n")
    console.print(f"  curl {url}/agent/start -H 'content-type: application/json' -d '{escape(example)}'")
    console.print("\nCtrl-C stops everything in order.", soft_wrap=True)
