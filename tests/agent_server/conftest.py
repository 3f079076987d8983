"""Servers for the tests of the Agent Server API, and the SDK's clients for them."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from agent_server_api import Opens, Server, served, some_id, sync_client, write_project
from javascript import installed

from outlast.agents.project import Project
from outlast.runtime import Runtime
from outlast.settings import (
    DatabaseSettings,
    RecoverySettings,
    RetrySettings,
    ServerSettings,
    Settings,
    WorkerSettings,
)
from outlast.testing.postgres import Databases


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

    def open_one(url: str, *, project: Project = project, **more: Any) -> AbstractAsyncContextManager[Runtime]:
        settings = Settings(
            database=DatabaseSettings(url=url, pool_size=4, pool_timeout_seconds=5),
            **{
                "server": ServerSettings(wait=timedelta(seconds=10)),
                "retry": RetrySettings(base=timedelta(milliseconds=10), max_attempts=2),
                "worker": WorkerSettings(poll=timedelta(milliseconds=100), drain=timedelta(seconds=1)),
                "recovery": RecoverySettings(scan=timedelta(milliseconds=100)),
                **more,
            },
        )
        return Runtime.open(settings, project, application_name="outlast-test-agent-server")

    return open_one


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens) -> AsyncIterator[Server]:
    """An API and a worker that share nothing but the database, for all tests of a module on threads of their own."""
    url = await databases.create()
    async with served(open_runtime, url) as server:
        yield server
    await databases.drop(url)


@pytest.fixture(scope="module")
async def idle_server(databases: Databases, open_runtime: Opens) -> AsyncIterator[Server]:
    """An API without a worker: nothing moves by itself."""
    url = await databases.create()
    async with served(open_runtime, url, workers=0) as server:
        yield server
    await databases.drop(url)


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
