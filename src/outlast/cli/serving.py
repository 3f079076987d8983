"""`outlast worker` and `outlast serve`: one half of the program each."""

import asyncio
from collections.abc import Callable

from outlast import runtime as composition
from outlast.cli import session
from outlast.cli.isolation import Isolation
from outlast.cli.processes import stop_signals
from outlast.cli.session import Arguments
from outlast.runtime import Runtime
from outlast.server.app import serve as serve_api
from outlast.server.listening import listen
from outlast.settings import ServerSettings


async def work(arguments: Arguments, *, has_parent: bool) -> None:
    """Run a worker until it is told to stop and has handed everything back."""
    project = session.read_project()
    settings = session.read_settings(project, arguments)
    session.arm_faults(settings)
    async with (
        session.database(settings, project.root) as complete,
        Runtime.open(complete, project, application_name="outlast-worker") as runtime,
    ):
        # All of them now: a run must not be the first to find out that an agent is broken.
        await runtime.registry.load_all()
        worker = runtime.worker(isolate=Isolation(runtime))
        with stop_signals(worker.drain, interrupt=not has_parent):
            await composition.work(runtime, worker)


async def serve(arguments: Arguments, *, ready: Callable[[str], None]) -> None:
    """Serve the API until the first signal; `ready` gets its URL."""
    project = session.read_project()
    settings = session.read_settings(project, arguments)
    session.arm_faults(settings)
    check_port(settings.server)
    async with (
        session.database(settings, project.root) as complete,
        Runtime.open(complete, project, application_name="outlast-serve") as runtime,
    ):
        stopping = asyncio.Event()
        with stop_signals(stopping.set):
            await serve_until(stopping, runtime, ready)


def check_port(server: ServerSettings) -> None:
    """Raise ConfigurationError when the port is taken: before a database is started for nothing."""
    listen(server.host, server.port).close()


async def serve_until(stopping: asyncio.Event, runtime: Runtime, ready: Callable[[str], None]) -> None:
    """Serve the API until the event is set; requests in progress may end."""
    api = asyncio.create_task(serve_api(runtime, runtime.settings.server, ready=ready), name="outlast-api")
    stop = asyncio.create_task(stopping.wait())
    try:
        await asyncio.wait({api, stop}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stop.cancel()
        api.cancel()
        await asyncio.wait({api})
    if not api.cancelled() and (error := api.exception()) is not None:
        raise error
