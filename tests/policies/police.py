"""Workers in this process under policies, and runs for them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import policed_agents
from policed_agents import World

from outlast.admission.request import RunRequest
from outlast.agents.project import AgentSpec, Project
from outlast.domain.run import RunStatus, RunView
from outlast.runtime import Runtime, work
from outlast.settings import DatabaseSettings, RetrySettings, Settings, WorkerSettings
from outlast.settings_policies import PolicySettings
from waiting import until


def project() -> Project:
    """The agents of policed_agents."""
    specs = {
        name: AgentSpec(name=name, path=None, module="policed_agents", attribute=name) for name in policed_agents.AGENTS
    }
    return Project(root=Path(__file__).parent, agents=specs)


@dataclass
class Police:
    """Opens runtimes under policies, as several processes would."""

    database: DatabaseSettings
    stack: AsyncExitStack
    runtimes: list[Runtime] = field(default_factory=list)

    async def open(self, policies: Mapping[str, Any] | None = None, **more: Any) -> Runtime:
        settings = Settings(
            database=self.database,
            worker=WorkerSettings(poll=timedelta(milliseconds=100), drain=timedelta(seconds=6)),
            retry=RetrySettings(base=timedelta(milliseconds=10)),
            policies=PolicySettings(**{"switch_look": timedelta(milliseconds=200), **(policies or {})}),
            **more,
        )
        opened = Runtime.open(settings, project(), application_name="outlast-policed")
        runtime = await self.stack.enter_async_context(opened)
        self.runtimes.append(runtime)
        return runtime

    @asynccontextmanager
    async def working(self, policies: Mapping[str, Any] | None = None, **more: Any) -> AsyncIterator[Runtime]:
        """A worker that drains at the end of the block."""
        runtime = await self.open(policies, **more)
        worker = runtime.worker()
        task = asyncio.create_task(work(runtime, worker))
        try:
            yield runtime
        finally:
            World.gate.set()
            worker.drain()
            await task

    async def start(self, agent: str, given: Any = None, **fields: Any) -> UUID:
        gate = self.runtimes[0].gate()
        thread = fields.pop("thread_id", str(uuid4()))
        request = RunRequest(agent=agent, input={} if given is None else given, thread_id=thread, **fields)
        return (await gate.admit(request)).run_id

    async def view(self, run_id: UUID) -> RunView:
        return await self.runtimes[0].queue.store.get(run_id)

    async def stands(self, run_id: UUID, status: RunStatus) -> RunView:
        """Wait for a status."""

        async def there() -> bool:
            return (await self.view(run_id)).status is status

        try:
            await until(there, 15)
        except AssertionError:
            view = await self.view(run_id)
            raise AssertionError(f"not {status} but {view.status}: {view.error_code} {view.error_message}") from None
        return await self.view(run_id)

    async def rows(self, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self.runtimes[0].pool.connection() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return list(await cursor.fetchall())
