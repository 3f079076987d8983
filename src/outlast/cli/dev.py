"""`outlast dev`: database, API and workers with one command, gone again with it."""

import asyncio
import socket
from functools import partial
from typing import Any, cast

import orjson
from rich.console import Console
from rich.markup import escape

from outlast import __version__
from outlast.agents.project import Project
from outlast.agents.registry import Registry
from outlast.cli import logs, session
from outlast.cli.fleet import Fleet
from outlast.cli.processes import start_child, stop_signals
from outlast.cli.serving import check_port, serve_until
from outlast.domain.run import RunStatus
from outlast.errors import AgentLoadError, DatabaseUnavailable
from outlast.runtime import Runtime
from outlast.settings import Settings
from outlast.storage.postgres.migrate import migrate

_MESSAGE = {"messages": [{"role": "user", "content": "Hello"}]}


async def develop(project: Project, settings: Settings, *, workers: int) -> None:
    """Run everything until the first signal, then stop it in order."""
    logs.configure()
    check_port(settings.server)
    example = await _check_agents(project)
    async with session.database(settings, project.root) as complete:
        await migrate(complete.database)
        async with Runtime.open(complete, project, application_name="outlast-dev") as runtime:
            await _run(runtime, example, private=not settings.database.url, workers=workers)


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
    fleet = Fleet(
        lambda: start_child(runtime.settings, "worker", "--concurrency", str(runtime.settings.worker.concurrency)),
        size=workers,
        bury=lambda pid: _bury(runtime, pid),
        say=console.print,
    )
    stopping = asyncio.Event()

    def stop() -> None:
        console.print("stopping: steps in progress may end (once more to stop now)")
        stopping.set()

    with stop_signals(stop):
        await fleet.start()
        try:
            await serve_until(stopping, runtime, partial(_greet, console, runtime, fleet, example, private=private))
        finally:
            await fleet.stop()
    console.print("stopped; runs that have not ended go on with the next `outlast dev`")


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


def _greet(console: Console, runtime: Runtime, fleet: Fleet, example: str, url: str, *, private: bool) -> None:
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
