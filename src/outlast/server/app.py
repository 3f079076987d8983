"""The API as an ASGI application, and the server that runs it inside a process of ours."""

import asyncio
import logging
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress

import uvicorn
from fastapi import FastAPI

from outlast.runtime import Runtime
from outlast.server import problems
from outlast.server.bodies import BodyLimit
from outlast.server.envelope import Envelope
from outlast.server.listening import address, is_loopback, listen
from outlast.server.routes import ROUTERS
from outlast.settings import ServerSettings

log = logging.getLogger(__name__)

# For requests under way; a client that waits for a run longer than this asks again.
_GRACE_SECONDS = 5


def create_app(runtime: Runtime) -> FastAPI:
    """Build the API on a runtime that is open and stays open."""
    app = FastAPI(title="Outlast", docs_url=None, redoc_url=None, redirect_slashes=False)
    app.state.runtime = runtime
    app.state.gate = runtime.gate()
    for router in ROUTERS:
        app.include_router(router)
    problems.install(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=runtime.settings.server.max_body_bytes)
    app.add_middleware(Envelope)
    return app


async def serve(runtime: Runtime, settings: ServerSettings, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until cancelled, then let requests under way end, for a few seconds at most.

    `ready` is called with the URL once requests are accepted. Signals are the caller's.
    Raises ConfigurationError when the address cannot be used; it names the next free port.
    """
    listening = listen(settings.host, settings.port)
    with listening:
        if not is_loopback(listening):
            log.warning(
                "%s can be reached from other machines, and requests are not authenticated: whoever reaches it can "
                "start runs and read their results. Use 127.0.0.1, or put an authenticating proxy in front.",
                address(listening),
            )
        server = _Server(_config(create_app(runtime)), lambda: ready(address(listening)) if ready else None)
        serving = asyncio.create_task(server.serve(sockets=[listening]), name="outlast-http")
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            with suppress(asyncio.CancelledError):
                await serving


def _config(app: FastAPI) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        # The loop is running already; the process chose it.
        loop="none",
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_SECONDS,
    )


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started = on_started

    async def main_loop(self) -> None:
        """Say that it is up, then serve."""
        self._on_started()
        await super().main_loop()

    @contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals alone: they belong to the process, of which this server is a part."""
        yield
