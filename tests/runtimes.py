"""Runtimes of a project of the tests, on any database, and a worker beside a block."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import timedelta
from typing import Any

from outlast.agents.project import Project
from outlast.runtime import Runtime, work
from outlast.settings import DatabaseSettings, RetrySettings, ServerSettings, Settings, WorkerSettings

Opens = Callable[..., AbstractAsyncContextManager[Runtime]]


def opener(project: Project, *, application_name: str, pool_timeout_seconds: float, **usual: Any) -> Opens:
    """Return what opens runtimes of the project; another project and other settings may be given to it."""

    def open_one(url: str, *, project: Project = project, **more: Any) -> AbstractAsyncContextManager[Runtime]:
        settings = Settings(
            database=DatabaseSettings(url=url, pool_size=4, pool_timeout_seconds=pool_timeout_seconds),
            **{
                "server": ServerSettings(wait=timedelta(seconds=10)),
                "retry": RetrySettings(base=timedelta(milliseconds=10), max_attempts=2),
                "worker": WorkerSettings(poll=timedelta(milliseconds=100), drain=timedelta(seconds=1)),
                **usual,
                **more,
            },
        )
        return Runtime.open(settings, project, application_name=application_name)

    return open_one


@asynccontextmanager
async def working(runtime: Runtime) -> AsyncIterator[None]:
    """Run a worker beside the block."""
    worker = runtime.worker()
    task = asyncio.create_task(work(runtime, worker))
    try:
        yield
    finally:
        worker.drain()
        await task
