"""The composition root: read the settings once, build every service, open and close them in order."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from random import SystemRandom

from outlast.admission.gate import Gate
from outlast.admission.payload import PayloadLimits
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.agents.registry import Project, Registry
from outlast.errors import DatabaseSetupError
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.recovery.service import Recovery
from outlast.settings import DatabaseSettings, Settings
from outlast.storage.postgres import migrate
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.workers import WorkerStore
from outlast.workers.executor import Executor, Isolate
from outlast.workers.worker import Worker


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """Everything a process of Outlast is made of."""

    settings: Settings
    project: Project
    registry: Registry
    pool: Pool
    wakeup: Wakeup
    queue: RunQueue
    workers: WorkerStore
    saver: Checkpointer

    @classmethod
    @asynccontextmanager
    async def open(cls, settings: Settings, project: Project, *, application_name: str) -> "AsyncGenerator[Runtime]":
        """Open on a database whose schema is current, and close in reverse order.

        Raises DatabaseSetupError when migrations are missing, DatabaseUnavailable when there is no server.
        """
        database = settings.database
        await _require_current_schema(database)
        async with AsyncExitStack() as stack:
            pool = Pool(database, application_name=application_name)
            await pool.open()
            stack.push_async_callback(pool.close)
            saver = await stack.enter_async_context(
                Checkpointer.on(
                    database,
                    codec=Codec(max_value_bytes=settings.checkpoint.max_value_bytes),
                    cache_bytes=settings.checkpoint.cache_bytes,
                )
            )
            wakeup = await stack.enter_async_context(Wakeup(database).running())
            registry = Registry(project)
            stack.push_async_callback(registry.aclose)
            yield cls(
                settings=settings,
                project=project,
                registry=registry,
                pool=pool,
                wakeup=wakeup,
                queue=RunQueue(RunStore(pool), wakeup),
                workers=WorkerStore(pool),
                saver=saver,
            )

    def gate(self) -> Gate:
        """Build what decides whether a run may start."""
        server = self.settings.server
        return Gate(
            self.queue,
            agents=self.registry.names,
            limits=PayloadLimits(max_bytes=server.max_body_bytes, max_depth=server.max_depth),
            max_attempts=self.settings.retry.max_attempts,
        )

    def executor(self, *, isolate: Isolate | None = None) -> Executor:
        """Build what takes one run from claim to settlement."""
        return Executor(
            self.queue,
            self.registry,
            self.saver,
            worker=self.settings.worker,
            retry=self.settings.retry,
            rng=SystemRandom(),
            isolate=isolate,
        )

    def worker(self, *, isolate: Isolate | None = None) -> Worker:
        """Build the worker of this process."""
        return Worker(
            self.queue,
            self.workers,
            self.executor(isolate=isolate),
            agents=self.registry.names,
            database=self.settings.database,
            settings=self.settings.worker,
            retry=self.settings.retry,
        )

    def recovery(self) -> Recovery:
        """Build the reaper of this process."""
        return Recovery(
            self.queue.store,
            self.workers,
            self.wakeup,
            recovery=self.settings.recovery,
            worker=self.settings.worker,
            retry=self.settings.retry,
        )


async def work(runtime: Runtime, worker: Worker) -> None:
    """Run a worker and its reaper until the worker has drained."""
    reaper = asyncio.create_task(runtime.recovery().run(), name="outlast-recovery")
    try:
        await worker.run()
    finally:
        reaper.cancel()
        await asyncio.gather(reaper, return_exceptions=True)


async def _require_current_schema(settings: DatabaseSettings) -> None:
    missing = [item.migration for item in await migrate.status(settings) if item.applied_at is None]
    if missing:
        names = ", ".join(f"{migration.version:04d}_{migration.name}" for migration in missing)
        msg = f"the database lacks migrations ({names}); run `outlast db migrate`"
        raise DatabaseSetupError(msg)
