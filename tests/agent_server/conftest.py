"""Servers for the tests of the Agent Server API, and the SDK's clients for them."""

from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from agent_server_api import Server, served, some_id, sync_client, write_project
from javascript import installed

from outlast.agents.project import Project
from outlast.settings import RecoverySettings
from outlast.testing.postgres import Databases
from runtimes import Opens, opener


@pytest.fixture(scope="session")
def packages() -> Path:
    """The folder in which the JavaScript SDK is installed."""
    return installed()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return write_project(tmp_path_factory.mktemp("agent_server"))


@pytest.fixture(scope="session")
def open_runtime(project: Project) -> Opens:
    """Opens runtimes of the test project; another project and other settings may be given."""
    return opener(
        project,
        application_name="outlast-test-agent-server",
        pool_timeout_seconds=5,
        recovery=RecoverySettings(scan=timedelta(milliseconds=100)),
    )


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens) -> AsyncIterator[Server]:
    """An API and a worker that share nothing but the database, for all tests of a module on threads of their own."""
    url = await databases.create()
    async with served(open_runtime, url) as server:
        yield server
    await databases.leave(url)


@pytest.fixture(scope="module")
async def idle_server(databases: Databases, open_runtime: Opens) -> AsyncIterator[Server]:
    """An API without a worker: nothing moves by itself."""
    url = await databases.create()
    async with served(open_runtime, url, workers=0) as server:
        yield server
    await databases.leave(url)


@pytest.fixture(params=["async", "sync"])
async def client(request: pytest.FixtureRequest, server: Server) -> AsyncIterator[Any]:
    """The SDK's client of `server`, asynchronous and synchronous: `await` and `async for` work with both."""
    if request.param == "async":
        yield server.sdk
        return
    sync = sync_client(server.url)
    yield sync
    await sync.close()


@pytest.fixture
async def thread_id(server: Server) -> str:
    """A new thread of `server`."""
    thread = await server.sdk.threads.create(thread_id=some_id())
    return thread["thread_id"]
