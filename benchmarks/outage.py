"""A provider that is down for a while, under load: who asks it meanwhile, and what becomes of the runs.

Worker processes, the provider (a process of its own, which counts what reaches it) and PostgreSQL share the machine.
Each run asks one model once, and has no fallback: it waits, and finishes when the provider answers again.

    python benchmarks/outage.py [--workers 4] [--rate 50] [--before 10] [--outage 30] [--fault status] [--assert]
"""

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import processes
import report
from outlast.domain.run import NewRun
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.testing.providers import ProviderProcess, Request, busiest, faults

FAULTS = {"status": faults.status(503), "reset": faults.reset()}
#: After the provider is back: the longest time between probes, and the calls that have waited.
GRACE_SECONDS = 90.0
OPEN_WITHIN_SECONDS = 5.0
RETRIES_PERCENT = 10.0
ENDED = ("succeeded", "failed", "cancelled")


@dataclass
class Worker:
    """A worker process; its log says when it began to leave the model alone, and when that was over."""

    process: "subprocess.Popen[bytes]"
    log: Path

    def seconds_of(self, point: str, *, since: float) -> list[float]:
        found: list[float] = []
        for line in self.log.read_text(encoding="utf-8").splitlines():
            said = json.loads(line) if line.startswith("{") else {}
            if said.get("point") == point:
                at = datetime.fromisoformat(said["timestamp"]).timestamp() - since
                found += [at] if at >= 0 else []
        return found


@dataclass
class Seen:
    """What happened."""

    began_at: float
    ended_at: float
    requests: list[Request]
    statuses: Counter[str]
    errors: int
    last_run_seconds: float
    opened: list[float] = field(default_factory=list)

    @property
    def runs(self) -> int:
        return self.statuses.total()

    @property
    def probes(self) -> list[Request]:
        """What reached the provider when every process knew that it was down."""
        known_at = self.began_at + max(self.opened, default=0.0)
        return [request for request in self.requests if known_at < request.at < self.ended_at]

    @property
    def retries_percent(self) -> float:
        asked = len({request.text for request in self.requests})
        return 100.0 * (len(self.requests) - asked) / max(1, asked)


def main() -> int:
    arguments = _arguments()
    report.heading(
        "Outage of a provider",
        {"load": f"{arguments.rate:g} runs/s of one model call each, {arguments.workers} worker processes",
         "outage": f"{arguments.outage:g} s of {arguments.fault} after {arguments.before:g} s"},
    )  # fmt: skip
    with processes.database() as url, tempfile.TemporaryDirectory(prefix="outlast-outage-") as folder:
        seen = report.run(_measure(arguments, url, Path(folder)), loop=arguments.loop)
    return _report(seen, retries_percent=arguments.retries, strict=arguments.strict)


def _arguments() -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--workers", type=int, default=4, help="worker processes (%(default)s)")
    parser.add_argument("--concurrency", type=int, default=500, help="runs at the same time in each (%(default)s)")
    parser.add_argument("--rate", type=float, default=50.0, help="runs per second (%(default)s)")
    parser.add_argument("--before", type=float, default=10.0, help="seconds until the outage (%(default)s)")
    parser.add_argument("--outage", type=float, default=30.0, help="seconds of it (%(default)s)")
    parser.add_argument("--after", type=float, default=5.0, help="seconds of load behind it (%(default)s)")
    # The budget is about a minute; what is tried until the breaker opens is a larger part of a shorter time.
    parser.add_argument(
        "--retries", type=float, default=RETRIES_PERCENT, help="per cent of the calls that are allowed (%(default)s)"
    )
    parser.add_argument("--fault", choices=FAULTS, default="status", help="what the provider does (%(default)s)")
    return parser.parse_args()


async def _measure(arguments: argparse.Namespace, url: str, folder: Path) -> Seen:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(ProviderProcess.start())
        pool, queue = await stack.enter_async_context(queue_on(url))
        workers = start_workers(arguments, url, provider.openai_url, folder, stack.enter_context(ExitStack()))
        await until_live(pool, len(workers))
        load = asyncio.create_task(_load(queue, arguments.rate, arguments.before + arguments.outage + arguments.after))
        await asyncio.sleep(arguments.before)
        began_at = time.time()
        incident = await provider.fail(FAULTS[arguments.fault])
        await asyncio.sleep(arguments.outage)
        await provider.end(incident)
        ended_at = time.time()
        count = await load
        await _until_ended(pool, count)
        return Seen(
            began_at=began_at,
            ended_at=ended_at,
            requests=await provider.requests(),
            statuses=Counter(dict(await _rows(pool, "SELECT status, count(*)::int FROM runs GROUP BY status"))),
            errors=(await _rows(pool, "SELECT coalesce(sum(errors), 0)::int FROM runs"))[0][0],
            last_run_seconds=(await _rows(pool, "SELECT extract(epoch FROM max(ended_at))::float8 FROM runs"))[0][0]
            - ended_at,
            opened=[_first(worker.seconds_of("breaker.opened", since=began_at)) for worker in workers],
        )


def _first(moments: list[float]) -> float:
    return min(moments, default=float("inf"))


@asynccontextmanager
async def queue_on(url: str) -> AsyncIterator[tuple[Pool, RunQueue]]:
    settings = DatabaseSettings(url=url, pool_size=4)
    processes.run(["db", "migrate"], {**os.environ, "DATABASE_URL": url})
    pool = Pool(settings, application_name="outlast-outage")
    await pool.open()
    try:
        async with Wakeup(settings).running() as wakeup:
            yield pool, RunQueue(RunStore(pool), wakeup)
    finally:
        await pool.close()


def start_workers(
    arguments: argparse.Namespace, url: str, provider_url: str, folder: Path, stack: ExitStack
) -> list[Worker]:
    environment = {**os.environ, "DATABASE_URL": url, "OPENAI_API_BASE": provider_url, "OPENAI_API_KEY": "test"}
    environment["LANGSMITH_TRACING"] = "false"
    command = [sys.executable, "-m", "outlast", "worker", "--concurrency", str(arguments.concurrency)]
    workers: list[Worker] = []
    for number in range(arguments.workers):
        log = folder / f"worker-{number}.log"
        stderr = stack.enter_context(log.open("wb"))
        process = subprocess.Popen(command, cwd=processes.PROJECT, env=environment, stderr=stderr)
        stack.callback(processes.stop, process)
        workers.append(Worker(process, log))
    return workers


async def _load(queue: RunQueue, rate: float, seconds: float) -> int:
    """Start runs at a steady rate, whatever becomes of them."""
    began, count = time.monotonic(), 0
    while (passed := time.monotonic() - began) < seconds:
        while count < passed * rate:
            text = {"messages": [{"role": "user", "content": f"question {count}"}]}
            run_id = uuid4()
            await queue.enqueue(
                NewRun(id=run_id, thread_id=str(run_id), agent="asking", input=text, config={}, metadata={})
            )
            count += 1
        await asyncio.sleep(0.005)
    return count


async def _rows(pool: Pool, statement: str) -> list[tuple[Any, ...]]:
    async with pool.connection() as connection:
        return await (await connection.execute(statement.encode())).fetchall()


async def until_live(pool: Pool, count: int) -> None:
    give_up_at = time.monotonic() + processes.START_SECONDS
    while (await _rows(pool, "SELECT count(*) FROM workers WHERE state = 'live'"))[0][0] < count:
        if time.monotonic() > give_up_at:
            sys.exit(f"the workers did not start within {processes.START_SECONDS:g} s")
        await asyncio.sleep(0.1)


async def _until_ended(pool: Pool, count: int) -> None:
    give_up_at = time.monotonic() + GRACE_SECONDS
    wanted = f"SELECT count(*) FROM runs WHERE status IN {ENDED}"
    while (await _rows(pool, wanted))[0][0] < count:
        if time.monotonic() > give_up_at:
            return
        await asyncio.sleep(0.1)


def _report(seen: Seen, *, retries_percent: float, strict: bool) -> int:
    rows = [[f"worker {number}", f"{seconds:.2f}"] for number, seconds in enumerate(seen.opened)]
    report.table("Seconds from the outage until the model was left alone", ["", "s"], rows)
    probes = seen.probes
    report.table(
        "The outage",
        ["", ""],
        [
            ["runs", str(seen.runs)],
            ["succeeded", str(seen.statuses["succeeded"])],
            ["attempts that ended in an error", str(seen.errors)],
            ["requests at the provider", str(len(seen.requests))],
            ["probes while it was down", str(len(probes))],
            ["retries per call", f"{seen.retries_percent:.1f} %"],
            ["from its return until the first answer", f"{_recovery(seen):.1f} s"],
            ["from its return until the last run", f"{seen.last_run_seconds:.1f} s"],
        ],
    )
    unfinished = seen.runs - seen.statuses["succeeded"]
    return report.verdict(
        [
            _most("breaker open everywhere", max(seen.opened), OPEN_WITHIN_SECONDS, " s"),
            _most("probes in the busiest second", busiest(probes, 1.0), 1),
            _most("retries per call", seen.retries_percent, retries_percent, " %"),
            _most("runs that did not succeed", unfinished, 0),
        ],
        strict=strict,
    )


def _recovery(seen: Seen) -> float:
    answered = [request.at for request in seen.requests if request.outcome == "answered" and request.at > seen.ended_at]
    return min(answered, default=float("inf")) - seen.ended_at


def _most(name: str, measured: float, limit: float, unit: str = "") -> report.Target:
    return report.Target(name=name, measured=measured, limit=limit, at_least=False, unit=unit)


if __name__ == "__main__":
    sys.exit(main())
