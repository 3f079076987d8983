"""The queue without a server: what `outlast runs` works on."""

import logging
from collections.abc import Awaitable, Callable
from typing import TypeVar

from outlast.cli.processes import run
from outlast.cli.session import database, project_or_database
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.settings import Settings
from outlast.storage.postgres.pool import Pool, connect
from outlast.storage.postgres.run_ends import Tx
from outlast.storage.postgres.runs import RunStore

T = TypeVar("T")


def call(action: Callable[[RunQueue, Settings], Awaitable[T]]) -> T:
    """Open the queue of this project, do one thing with it, close it."""
    return run(_call(action))


async def _call(action: Callable[[RunQueue, Settings], Awaitable[T]]) -> T:
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
            # Hints that are not sent before the end cost a poll interval, no more.
            return await action(RunQueue(RunStore(pool, erase=_erase), wakeup), complete)
        finally:
            await pool.close()


def look(action: Callable[[Pool], Awaitable[T]]) -> T:
    """Open the database of this project, read something there, close it."""
    return run(_look(action))


async def _look(action: Callable[[Pool], Awaitable[T]]) -> T:
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
            return await action(pool)
        finally:
            await pool.close()


async def _erase(connection: Tx, thread: bytes, run_ids: set[str]) -> None:
    from outlast.agents.checkpoints.erasing import delete_runs_in  # noqa: PLC0415 - few commands roll anything back

    await delete_runs_in(connection, thread, run_ids)
