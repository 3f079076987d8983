"""The queue without a server: what `outlast runs` works on."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import TypeVar

from outlast.agents.project import Project
from outlast.cli.processes import run
from outlast.cli.session import database, project_or_database
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.settings import Settings
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.pool import Pool, connect
from outlast.storage.postgres.run_ends import Tx
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.sealing import Sealing

T = TypeVar("T")


def call(action: Callable[[RunQueue, Settings], Awaitable[T]]) -> T:
    """Open the queue of this project, do one thing with it, close it."""
    return run(_call(lambda queue, _pool, settings: action(queue, settings)))


def call_with_pool(action: Callable[[RunQueue, Pool, Settings], Awaitable[T]]) -> T:
    """Do the same with what the queue is made on."""
    return run(_call(action))


async def _call(action: Callable[[RunQueue, Pool, Settings], Awaitable[T]]) -> T:
    project, settings = project_or_database()
    # The error says it all; the pool would say it again for every try.
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    async with (
        database(settings, project.root) as complete,
        # A pool tries for seconds; a person wants to know at once that there is no server.
        await connect(complete.database, application_name="outlast-cli"),
        Wakeup(complete.database).running() as wakeup,
    ):
        pool = Pool(complete.database, application_name="outlast-cli", size=2)
        await pool.open()
        try:
            async with readable(pool, settings, project):
                erase = partial(_erase, sealing=pool.sealing)
                # Hints that are not sent before the end cost a poll interval, no more.
                audit = AuditLog(pool, complete.audit.key.reveal().encode(), nobody="cli")
                return await action(RunQueue(RunStore(pool, erase=erase), wakeup, audit=audit), pool, complete)
        finally:
            await pool.close()


def look(action: Callable[[Pool], Awaitable[T]]) -> T:
    """Open the database of this project, read something there, close it."""
    return run(_change(lambda pool, _settings: action(pool)))


def change(action: Callable[[Pool, Settings], Awaitable[T]]) -> T:
    """Open the database of this project, change something there, close it; the settings are this project's."""
    return run(_change(action))


async def _change(action: Callable[[Pool, Settings], Awaitable[T]]) -> T:
    project, settings = project_or_database()
    logging.getLogger("psycopg").setLevel(logging.CRITICAL)
    async with (
        database(settings, project.root) as complete,
        # As above.
        await connect(complete.database, application_name="outlast-cli"),
    ):
        pool = Pool(complete.database, application_name="outlast-cli", size=2)
        await pool.open()
        try:
            async with readable(pool, settings, project):
                return await action(pool, complete)
        finally:
            await pool.close()


@asynccontextmanager
async def readable(pool: Pool, settings: Settings, project: Project) -> AsyncGenerator[None]:
    """Let a pool decrypt what it reads; raises ConfigurationError where that needs a key that is not there."""
    from outlast.agents.key_providers import encrypted  # noqa: PLC0415 - loads what reads the project's code

    async with encrypted(pool, settings.encryption, project):
        yield


async def _erase(connection: Tx, thread: bytes, run_ids: set[str], *, sealing: Sealing) -> None:
    from outlast.agents.checkpoints.erasing import delete_runs_in  # noqa: PLC0415 - few commands roll anything back

    await delete_runs_in(connection, thread, run_ids, sealing=sealing)
