"""A provider that is down for a while, under load: who asks it meanwhile, and what becomes of the runs.

Worker processes, the provider (a process of its own, which counts what reaches it) and PostgreSQL share the machine.
Each run asks one model once, and has no fallback: it waits, and finishes when the provider answers again.

    python benchmarks/outage.py [--workers 4] [--rate 50] [--before 10] [--outage 30] [--fault status] [--assert]
"""

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from contextlib import AsyncExitStack, ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from uuid import UUID, uuid4

import asking
import processes
import report
from asking import most
from outlast.queues.queue import RunQueue
from outlast.testing.providers import ProviderProcess, Request, busiest, faults

FAULTS = {"status": faults.status(503), "reset": faults.reset()}
#: After the provider is back: the longest time between probes, and the calls that have waited.
GRACE_SECONDS = 90.0
OPEN_WITHIN_SECONDS = 5.0
RETRIES_PERCENT = 10.0


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
    parser = asking.arguments_of(__doc__ or "")
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
        pool, queue = await stack.enter_async_context(asking.queue_on(url))
        started = stack.enter_context(ExitStack())
        logs = asking.start_workers(arguments, url, provider.openai_url, folder, started)
        await asking.until_live(pool, len(logs))
        load = asyncio.create_task(_load(queue, arguments.rate, arguments.before + arguments.outage + arguments.after))
        await asyncio.sleep(arguments.before)
        began_at = time.time()
        incident = await provider.fail(FAULTS[arguments.fault])
        await asyncio.sleep(arguments.outage)
        await provider.end(incident)
        ended_at = time.time()
        runs = await asking.ended(pool, await load, time.monotonic() + GRACE_SECONDS)
        ((last_ended_at,),) = await asking.rows(pool, "SELECT extract(epoch FROM max(ended_at))::float8 FROM runs")
        return Seen(
            began_at=began_at,
            ended_at=ended_at,
            requests=await provider.requests(),
            statuses=Counter(status for status, _ in runs),
            errors=sum(errors for _, errors in runs),
            last_run_seconds=last_ended_at - ended_at,
            opened=[_opened(log, since=began_at) for log in logs],
        )


def _opened(log: Path, *, since: float) -> float:
    """Return after how many seconds a worker began to leave the model alone, as its log says."""
    said = (json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{"))
    opened = (
        datetime.fromisoformat(line["timestamp"]).timestamp() for line in said if line.get("point") == "breaker.opened"
    )
    return min((at - since for at in opened if at >= since), default=float("inf"))


async def _load(queue: RunQueue, rate: float, seconds: float) -> list[UUID]:
    """Start runs at a steady rate, whatever becomes of them."""
    began, ids = time.monotonic(), list[UUID]()
    while (passed := time.monotonic() - began) < seconds:
        while len(ids) < passed * rate:
            ids.append(uuid4())
            await queue.enqueue(asking.question(ids[-1]))
        await asyncio.sleep(0.005)
    return ids


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
            most("breaker open everywhere", max(seen.opened), OPEN_WITHIN_SECONDS, " s"),
            most("probes in the busiest second", busiest(probes, 1.0), 1),
            most("retries per call", seen.retries_percent, retries_percent, " %"),
            most("runs that did not succeed", unfinished, 0),
        ],
        strict=strict,
    )


def _recovery(seen: Seen) -> float:
    answered = [request.at for request in seen.requests if request.outcome == "answered" and request.at > seen.ended_at]
    return min(answered, default=float("inf")) - seen.ended_at


if __name__ == "__main__":
    sys.exit(main())
