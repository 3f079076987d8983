"""`outlast serve`: the HTTP API until a signal comes."""

import asyncio
import logging
from collections.abc import Callable

from outlast.agents.project import Project
from outlast.cli import logs, session
from outlast.cli.collector import spare_the_collector
from outlast.cli.processes import stop_signals
from outlast.errors import AgentLoadError
from outlast.monitoring.metrics.sharing import sharing
from outlast.runtime import Runtime
from outlast.server.app import serve as serve_api
from outlast.server.listening import listen
from outlast.settings import ServerSettings, Settings

log = logging.getLogger(__name__)


async def serve(project: Project, settings: Settings, *, ready: Callable[[str], None]) -> None:
    """Serve the API until the first signal; `ready` gets its URL."""
    logs.configure(settings.logs)
    check_port(settings.server)
    with sharing(settings.metrics, project.root, alone=True):
        await _serve(project, settings, ready)


async def _serve(project: Project, settings: Settings, ready: Callable[[str], None]) -> None:
    async with (
        session.database(settings, project.root) as complete,
        Runtime.open(complete, project, application_name="outlast-serve") as runtime,
    ):
        await session.announce(runtime, "serve")
        stopping = asyncio.Event()
        loading = asyncio.create_task(_load_agents(runtime), name="outlast-load")
        with stop_signals(stopping.set):
            try:
                await serve_until(stopping, runtime, ready)
            finally:
                loading.cancel()
                await asyncio.wait({loading})


async def _load_agents(runtime: Runtime) -> None:
    """Load what schemas and states will be asked of, so that the first who asks need not wait for the imports.

    A broken agent is no reason not to serve the others: whoever uses it learns of it.
    """
    try:
        await runtime.registry.load_all()
    except AgentLoadError as error:
        log.warning("%s", error)
    finally:
        spare_the_collector()


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
