"""A provider that allows less than is asked of it: what reaches it, and what becomes of the runs.

Worker processes, the provider (a process of its own, which counts what reaches it) and PostgreSQL share the machine.
All runs are there at once, each asks one model once and has no fallback. First with the provider's rate in the
settings: calls wait for their slots. Then without: the provider refuses with 429 and Retry-After until all have passed.

    python benchmarks/storm.py [--workers 4] [--rate 20] [--runs 2000] [--window 60] [--assert]
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from uuid import UUID, uuid4

import asking
import processes
import report
from asking import most
from outlast.queues.queue import RunQueue
from outlast.storage.postgres.pool import Pool
from outlast.testing.providers import ProviderProcess, Request, busiest

AT_ONCE = 50
GRACE_SECONDS = 120.0
LIMITS = "OUTLAST_CALLS__LIMITS"


@dataclass(frozen=True)
class Seen:
    """What happened in one of the two storms."""

    name: str
    requests: list[Request]
    statuses: Counter[str]
    errors: int
    allowed: int
    window: float
    seconds: float

    @property
    def refused(self) -> int:
        return sum(request.outcome == "limited" for request in self.requests)

    @property
    def busiest(self) -> int:
        return busiest(self.requests, self.window)

    @property
    def above_percent(self) -> float:
        return max(0.0, 100.0 * (self.busiest - self.allowed) / self.allowed)

    @property
    def unfinished(self) -> int:
        return self.statuses.total() - self.statuses["succeeded"]


def main() -> int:
    arguments = _arguments()
    report.heading(
        "A storm of 429",
        {"load": f"{arguments.runs} runs of one model call each, {arguments.workers} worker processes",
         "provider": f"{_allowed(arguments)} requests in any {arguments.window:g} s"},
    )  # fmt: skip
    with processes.database() as url, tempfile.TemporaryDirectory(prefix="outlast-storm-") as folder:
        storms = report.run(_storms(arguments, url, Path(folder)), loop=arguments.loop)
    return _report(storms, above=arguments.above, strict=arguments.strict)


def _arguments() -> argparse.Namespace:
    parser = asking.arguments_of(__doc__ or "")
    parser.add_argument("--runs", type=int, default=2000, help="runs, all at once (%(default)s)")
    parser.add_argument("--rate", type=float, default=20.0, help="requests per second that are allowed (%(default)s)")
    parser.add_argument("--window", type=float, default=60.0, help="seconds over which that is counted (%(default)s)")
    parser.add_argument("--above", type=float, default=5.0, help="percent above that may reach it (%(default)s)")
    parser.add_argument("--burst", type=float, default=1.0, help="seconds of the rate at once (%(default)s)")
    return parser.parse_args()


def _allowed(arguments: argparse.Namespace) -> int:
    return round(arguments.rate * arguments.window)


async def _storms(arguments: argparse.Namespace, url: str, folder: Path) -> list[Seen]:
    limit = {"requests_per_minute": round(arguments.rate * 60), "burst": arguments.burst}
    async with asking.queue_on(url) as (pool, queue):
        storm = partial(_storm, arguments, url, folder, pool, queue)
        return [await storm("with limits", {LIMITS: json.dumps({"openai": limit})}), await storm("without limits", {})]


async def _storm(  # noqa: PLR0917 - all but the last two are the same for both
    arguments: argparse.Namespace,
    url: str,
    folder: Path,
    pool: Pool,
    queue: RunQueue,
    name: str,
    settings: dict[str, str],
) -> Seen:
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(ProviderProcess.start())
        await provider.limit(_allowed(arguments), seconds=arguments.window)
        started = stack.enter_context(ExitStack())
        logs = asking.start_workers(arguments, url, provider.openai_url, folder, started, **settings)
        await asking.until_live(pool, len(logs))
        began = time.monotonic()
        ids = await _enqueue(queue, arguments.runs)
        runs = await asking.ended(pool, ids, began + arguments.runs / arguments.rate + GRACE_SECONDS)
        return Seen(
            name=name,
            requests=await provider.requests(),
            statuses=Counter(status for status, _ in runs),
            errors=sum(errors for _, errors in runs),
            allowed=_allowed(arguments),
            window=arguments.window,
            seconds=time.monotonic() - began,
        )


async def _enqueue(queue: RunQueue, count: int) -> list[UUID]:
    ids = [uuid4() for _ in range(count)]
    for first in range(0, count, AT_ONCE):
        await asyncio.gather(*(queue.enqueue(asking.question(run_id)) for run_id in ids[first : first + AT_ONCE]))
    return ids


def _report(storms: list[Seen], *, above: float, strict: bool) -> int:
    report.table(
        "Storms",
        ["", *(storm.name for storm in storms)],
        [
            ["runs", *(str(storm.statuses.total()) for storm in storms)],
            ["succeeded", *(str(storm.statuses["succeeded"]) for storm in storms)],
            ["attempts that ended in an error", *(str(storm.errors) for storm in storms)],
            ["requests at the provider", *(str(len(storm.requests)) for storm in storms)],
            ["refused by it with 429", *(str(storm.refused) for storm in storms)],
            ["in the busiest window", *(f"{storm.busiest} of {storm.allowed}" for storm in storms)],
            ["seconds until the last run", *(f"{storm.seconds:.1f}" for storm in storms)],
        ],
    )
    limited, free = storms
    return report.verdict(
        [
            most("requests above the limit", limited.above_percent, above, "%"),
            *(most(f"runs that did not succeed, {storm.name}", storm.unfinished, 0) for storm in (limited, free)),
        ],
        strict=strict,
    )


if __name__ == "__main__":
    sys.exit(main())
