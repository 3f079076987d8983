"""Workers in this process, each with a runtime of its own as in a process of its own, and runs to give them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import engine_agents

from outlast.agents.project import AgentSpec, Project
from outlast.domain.run import NewRun, RunStatus, RunView
from outlast.runtime import Runtime, work
from outlast.settings import (
    CallSettings,
    DatabaseSettings,
    RecoverySettings,
    RetrySettings,
    Settings,
    WorkerSettings,
)
from outlast.workers.worker import Worker
from waiting import until


def seconds(value: float) -> timedelta:
    return timedelta(seconds=value)


def project(**renamed: str) -> Project:
    """The agents of engine_agents; a keyword puts another graph behind a name."""
    targets = {name: name for name in engine_agents.AGENTS} | renamed
    specs = {
        name: AgentSpec(name=name, path=None, module="engine_agents", attribute=target)
        for name, target in targets.items()
    }
    return Project(root=Path(__file__).parent, agents=specs)


WORKER: Mapping[str, Any] = {
    "lease": seconds(1.5), "heartbeat": seconds(0.3), "poll": seconds(0.2), "drain": seconds(6), "concurrency": 8
}  # fmt: skip


@dataclass
class Running:
    """A worker at work in this process."""

    runtime: Runtime
    worker: Worker
    task: "asyncio.Task[None]"

    @property
    def tasks(self) -> "list[asyncio.Task[None]]":
        return [task for task in asyncio.all_tasks() if task.get_name().startswith("run-")]

    async def drain(self) -> None:
        self.worker.drain()
        await self.task


@dataclass
class Engine:
    """Opens runtimes as several processes would, and asks them for runs."""

    database: DatabaseSettings
    stack: AsyncExitStack
    runtimes: list[Runtime] = field(default_factory=list)

    async def open(
        self,
        *,
        agents: Project | None = None,
        worker: Mapping[str, Any] | None = None,
        calls: Mapping[str, Any] | None = None,
        **retry: Any,
    ) -> Runtime:
        settings = Settings(
            database=self.database,
            worker=WorkerSettings(**(dict(WORKER) | dict(worker or {}))),
            retry=RetrySettings(**({"base": seconds(0.05), "cap": seconds(0.1)} | retry)),
            recovery=RecoverySettings(scan=seconds(0.1)),
            calls=CallSettings(**(calls or {})),
        )
        opened = Runtime.open(settings, agents or project(), application_name="outlast-test")
        runtime = await self.stack.enter_async_context(opened)
        self.runtimes.append(runtime)
        return runtime

    @asynccontextmanager
    async def working(self, **options: Any) -> AsyncIterator[Running]:
        """A worker that drains at the end of the block."""
        runtime = await self.open(**options)
        worker = runtime.worker()
        running = Running(runtime, worker, asyncio.create_task(work(runtime, worker)))
        try:
            yield running
        finally:
            engine_agents.THREAD_GATE.set()
            await running.drain()

    async def client(self) -> Runtime:
        return self.runtimes[0] if self.runtimes else await self.open()

    async def start(self, agent: str, given: Any = None, **fields: Any) -> UUID:
        run_id = uuid4()
        new: dict[str, Any] = {"thread_id": str(run_id), "config": {}, "metadata": {}} | fields
        run = NewRun(id=run_id, agent=agent, input={} if given is None else given, **new)
        return await (await self.client()).queue.enqueue(run)

    async def view(self, run_id: UUID) -> RunView:
        return await (await self.client()).queue.store.get(run_id)

    async def stands(self, run_id: UUID, status: RunStatus, timeout: float = 15.0) -> RunView:  # noqa: ASYNC109
        """Wait for a status."""

        async def there() -> bool:
            return (await self.view(run_id)).status is status

        try:
            await until(there, timeout)
        except AssertionError:
            view = await self.view(run_id)
            raise AssertionError(f"not {status} but {view.status}: {view.error_code} {view.error_message}") from None
        return await self.view(run_id)

    async def ended(self, run_id: UUID, timeout: float = 15.0) -> RunView:  # noqa: ASYNC109
        view = await (await self.client()).queue.wait(run_id, timeout=seconds(timeout))
        assert view.ended, f"still {view.status}"
        return view

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with (await self.client()).pool.unscoped() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()
