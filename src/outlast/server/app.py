"""The API as an ASGI application, and the server that runs it inside a process of ours."""

import asyncio
import logging
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext, suppress

import httpx
import uvicorn
from fastapi import FastAPI
from starlette.types import ASGIApp

import outlast
from outlast.domain.webhook import WebhookTarget
from outlast.errors import ConfigurationError
from outlast.monitoring.health import health_of
from outlast.runtime import Runtime, watching
from outlast.server import problems
from outlast.server.auth.guard import guard
from outlast.server.auth.hosts import LocalNames
from outlast.server.auth.loading import load_callers
from outlast.server.bodies import BodyLimit
from outlast.server.connections import GuardedConfig
from outlast.server.describing import describe
from outlast.server.envelope import Envelope
from outlast.server.http_section import wrapped
from outlast.server.listening import address, is_loopback, listen
from outlast.server.routes import ROUTERS
from outlast.server.tracing import Traced
from outlast.settings import ServerSettings

log = logging.getLogger(__name__)

# For requests under way; a client that waits for a run longer than this asks again.
_GRACE_SECONDS = 5


def create_app(runtime: Runtime) -> FastAPI:
    """Build the API on a runtime that is open and stays open.

    Raises ConfigurationError when the auth that the project or the settings name cannot be used.
    """
    app = FastAPI(
        title="Outlast",
        version=outlast.__version__,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        # Our own spans, figures and lines say what is to be known; its name bodies and messages.
        telemetry={"tracing": False, "metrics": False, "logs": False, "auto_configure": False},
    )
    app.state.runtime = runtime
    app.state.gate = runtime.gate()
    app.state.inbox = runtime.inbox()
    app.state.health = health_of(runtime.settings, runtime.pool, runtime.wakeup, runtime.project.root)
    # Tasks that outlive the request that began them.
    app.state.background = set[asyncio.Task[None]]()
    app.state.auth = load_callers(runtime)
    guard(app, ROUTERS, app.state.auth)
    describe(app, runtime.project.sections)
    problems.install(app)
    # The last one added is the outermost.
    app.add_middleware(BodyLimit, max_bytes=runtime.settings.server.max_body_bytes)
    app.add_middleware(Traced)
    app.add_middleware(Envelope)
    return app


async def serve(runtime: Runtime, settings: ServerSettings, *, ready: Callable[[str], None] | None = None) -> None:
    """Serve until cancelled, then let requests under way end, for a few seconds at most.

    `ready` is called with the URL once requests are accepted. Signals are the caller's.
    Raises ConfigurationError when the address cannot be used; it names the next free port. Also when other machines
    could reach it and nobody is asked who they are, unless that is what the settings want.
    """
    app = create_app(runtime)
    for note in runtime.project.sections.notes:
        log.warning("%s", note)
    served, custom = wrapped(app, runtime.project, app.state.auth)
    listening = listen(settings.host, settings.port)
    with listening:
        if app.state.auth is None and is_loopback(listening):
            served = LocalNames(served, allowed=settings.allowed_hosts)
        elif app.state.auth is None:
            _check_anonymous(address(listening), allowed=settings.allow_anonymous)
        async with custom.lifespan() if custom else nullcontext(), _reporting(runtime, served), watching(runtime):
            try:
                await _serve(runtime, served, settings, listening, ready)
            finally:
                await _ended(app.state.background)


async def _ended(tasks: set["asyncio.Task[None]"]) -> None:
    """Let what requests have left behind come to its end, for a few seconds at most."""
    if not tasks:
        return
    _, late = await asyncio.wait(tasks, timeout=_GRACE_SECONDS)
    for task in late:
        task.cancel()


async def _serve(
    runtime: Runtime,
    served: ASGIApp,
    settings: ServerSettings,
    listening: socket.socket,
    ready: Callable[[str], None] | None,
) -> None:
    server = _Server(_config(served, settings), lambda: ready(address(listening)) if ready else None)
    serving = asyncio.create_task(server.serve(sockets=[listening]), name="outlast-http")
    try:
        await asyncio.shield(serving)
    finally:
        # Streams have no end of their own: their clients come back to another process.
        runtime.hub.close()
        server.should_exit = True
        with suppress(asyncio.CancelledError):
            await serving


def _check_anonymous(url: str, *, allowed: bool) -> None:
    if not allowed:
        raise ConfigurationError(
            f"{url} can be reached from other machines, and the project has no auth: whoever reaches it could start "
            "runs and read their results. Ask for API keys (auth.keys), name an auth in langgraph.json, use 127.0.0.1 "
            "(server.host), or, where something in front of it asks who they are, say --allow-anonymous "
            "(server.allow_anonymous)"
        )
    log.warning(
        "%s can be reached from other machines, and requests are not authenticated: whoever reaches it can "
        "start runs and read their results. Use 127.0.0.1, or put an authenticating proxy in front.",
        url,
    )


@asynccontextmanager
async def _reporting(runtime: Runtime, served: ASGIApp) -> AsyncGenerator[None]:
    """Send reports to paths of this API, which no worker can call."""
    transport = httpx.ASGITransport(served, raise_app_exceptions=False)
    limit = runtime.settings.webhooks.timeout.total_seconds()
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=limit) as client:

        async def post(target: WebhookTarget, headers: Mapping[str, str], body: bytes) -> int:
            # The transport itself knows no limit.
            async with asyncio.timeout(limit):
                return (await client.post(target.path, headers=dict(headers), content=body)).status_code

        sender = runtime.webhook_sender(post, own=True)
        sending = asyncio.create_task(sender.run(runtime.wakeup), name="outlast-own-webhooks")
        try:
            yield
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)


def _config(app: ASGIApp, settings: ServerSettings) -> uvicorn.Config:
    return GuardedConfig(
        app,
        settings,
        # The loop is running already; the process chose it.
        loop="none",
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
