"""An API on a database of its own, with a worker in the same process."""

import shutil
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from server_api import Api, client_of

from outlast.agents.project import Project, find_project
from outlast.runtime import Runtime
from outlast.settings import DatabaseSettings, RetrySettings, ServerSettings, Settings, WorkerSettings
from outlast.testing.postgres import Databases
from runtimes import Opens, working

AGENTS = ("echo", "count", "ask", "hold", "broken", "chat")


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    root = tmp_path_factory.mktemp("project")
    shutil.copy(Path(__file__).parent / "agents_for_tests.py", root / "api_test_agents.py")
    lines = "\n".join(f'{name} = "./api_test_agents.py:{name}"' for name in AGENTS)
    (root / "outlast.toml").write_text(f"[agents]\n{lines}\n")
    return find_project(root)


@pytest.fixture(scope="session")
def open_runtime(project: Project) -> Opens:
    """Opens runtimes of the test project; more than a database may be given as settings."""

    def open_one(url: str, *, project: Project = project, **more: Any) -> AbstractAsyncContextManager[Runtime]:
        settings = Settings(
            database=DatabaseSettings(url=url, pool_size=4, pool_timeout_seconds=1),
            **{
                "server": ServerSettings(wait=timedelta(seconds=10)),
                "retry": RetrySettings(base=timedelta(milliseconds=10), max_attempts=2),
                "worker": WorkerSettings(poll=timedelta(milliseconds=100), drain=timedelta(seconds=1)),
                **more,
            },
        )
        return Runtime.open(settings, project, application_name="outlast-test-api")

    return open_one


@pytest.fixture(scope="module")
async def api(databases: Databases, open_runtime: Opens) -> AsyncIterator[Api]:
    """One API and one worker for all tests of a module: they use threads of their own."""
    url = await databases.create()
    async with open_runtime(url) as runtime, working(runtime), client_of(runtime) as http:
        yield Api(runtime, http)
    await databases.leave(url)


@pytest.fixture(scope="module")
async def idle_api(databases: Databases, open_runtime: Opens) -> AsyncIterator[Api]:
    """An API without a worker, for all tests of a module: nothing moves by itself."""
    url = await databases.create()
    async with open_runtime(url) as runtime, client_of(runtime) as http:
        yield Api(runtime, http)
    await databases.leave(url)
