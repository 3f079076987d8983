"""What the benchmarks of a misbehaving provider share: worker processes whose runs each ask one model once."""

import argparse
import asyncio
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import processes
import report
from outlast.domain.run import NewRun
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore

ENDED = ["succeeded", "failed", "cancelled"]


def arguments_of(description: str) -> argparse.ArgumentParser:
    """Return a parser that knows of the worker processes."""
    parser = report.parser(description)
    parser.add_argument("--workers", type=int, default=4, help="worker processes (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=500, help="runs at the same time in each (%(default)s)")
    return parser


@asynccontextmanager
async def queue_on(url: str) -> AsyncIterator[tuple[Pool, RunQueue]]:
    """Migrate a database, and open it to start runs and to look at them."""
    settings = DatabaseSettings(url=url, pool_size=4)
    processes.run(["db", "migrate"], {**os.environ, "DATABASE_URL": url})
    pool = Pool(settings, application_name="outlast-asking")
    await pool.open()
    try:
        async with Wakeup(settings).running() as wakeup:
            yield pool, RunQueue(RunStore(pool), wakeup)
    finally:
        await pool.close()


def start_workers(
    arguments: argparse.Namespace, url: str, provider_url: str, folder: Path, stack: ExitStack, **settings: str
) -> list[Path]:
    """Start worker processes that ask the provider; return their logs."""
    environment = {**os.environ, "DATABASE_URL": url, "OPENAI_API_BASE": provider_url, "OPENAI_API_KEY": "test"}
    environment |= {"LANGSMITH_TRACING": "false", **settings}
    command = [sys.executable, "-m", "outlast", "worker", "--concurrency", str(arguments.concurrency)]
    logs = [folder / f"worker-{number}.log" for number in range(arguments.workers)]
    for log in logs:
        stderr = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(command, cwd=processes.PROJECT, env=environment, stderr=stderr)
        stack.callback(processes.stop, process)
    return logs


async def until_live(pool: Pool, count: int) -> None:
    """Wait until so many workers live."""
    give_up_at = time.monotonic() + processes.START_SECONDS
    while (await rows(pool, "SELECT count(*) FROM workers WHERE state = 'live'"))[0][0] < count:
        if time.monotonic() > give_up_at:
            sys.exit(f"the workers did not start within {processes.START_SECONDS:g} s")
        await asyncio.sleep(0.1)


def question(run_id: UUID) -> NewRun:
    """Return a run that asks something that no other one asks."""
    given = {"messages": [{"role": "user", "content": f"question {run_id}"}]}
    return NewRun(id=run_id, thread_id=str(run_id), agent="asking", input=given, config={}, metadata={})


async def ended(pool: Pool, ids: list[UUID], give_up_at: float) -> list[tuple[str, int]]:
    """Return status and errors of the runs once all have ended, or as they stand then."""
    statement = "SELECT status, errors::int FROM runs WHERE id = ANY(%(ids)s)"
    while True:
        found = await rows(pool, statement, ids=ids)
        if time.monotonic() > give_up_at or all(status in ENDED for status, _ in found):
            return found
        await asyncio.sleep(0.2)


async def rows(pool: Pool, statement: str, **parameters: Any) -> list[tuple[Any, ...]]:
    """Ask the database itself."""
    async with pool.connection() as connection:
        return await (await connection.execute(statement.encode(), parameters)).fetchall()


def most(name: str, measured: float, limit: float, unit: str = "") -> report.Target:
    """Return a target that what was measured must not exceed."""
    return report.Target(name=name, measured=measured, limit=limit, at_least=False, unit=unit)
