"""The examples as they are in the repository, on a database of the test's own; no key, no network."""

import sys
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from outlast.agents.registry import Registry, find_project
from outlast.domain.run import NewRun, RunStatus
from outlast.runtime import Runtime
from outlast.settings import load
from runtimes import working
from waiting import until

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"

sys.path += [str(Path(__file__).parents[1] / folder) for folder in ("cli", "calls")]


@pytest.fixture(autouse=True)
def without_keys(monkeypatch):
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
async def graph_of():
    """Loads an example's agent as Outlast does, and gives its graph."""
    registries = []

    async def load(folder, name):
        registry = Registry(find_project(EXAMPLES / folder))
        registries.append(registry)
        return (await registry.get(name)).graph

    yield load
    for registry in registries:
        await registry.aclose()


class Started:
    """A runtime with a worker, and a person in front of it."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def start(self, agent: str, given: object, thread_id: str | None = None) -> UUID:
        thread_id = thread_id or str(uuid4())
        run = NewRun(id=uuid4(), thread_id=thread_id, agent=agent, input=given, config={}, metadata={})
        return await self.runtime.queue.enqueue(run)

    async def finished(self, run_id: UUID, status: RunStatus = RunStatus.SUCCEEDED):
        async def stands_still():
            run = await self.runtime.queue.store.get(run_id)
            return run.ended or run.status is RunStatus.WAITING

        await until(stands_still, 40)
        run = await self.runtime.queue.store.get(run_id)
        assert run.status is status, run.error_message
        return run


@pytest.fixture
def outlast(database):
    """Opens an example with a worker of its own, as a process would; may be called again, as after a restart."""

    @asynccontextmanager
    async def opened(folder):
        project = find_project(EXAMPLES / folder)
        settings = load(project=project.settings, arguments={"database": database.model_dump()})
        opening = Runtime.open(settings, project, application_name="test")
        async with opening as runtime, working(runtime):
            yield Started(runtime)

    return opened
