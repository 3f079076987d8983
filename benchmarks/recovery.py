"""How long a run stands still when its worker is killed with -9, and whether anything is executed twice.

    make bench-recovery ARGS="--kills 50 --freeze 20 --assert"

Real worker processes with the default settings: one executes, one stands by; the one that is killed is replaced before
the next kill. Each kill falls at a random moment of a run of 15 steps of 100 ms. Measured from outside, by a file to
which every step appends a line when it starts: the seconds from the kill to the next step of that run elsewhere.

--freeze suspends workers (SIGSTOP) instead, some at once, each with a database of its own, until their lease is over.
"""

import asyncio
import math
import sys
import tempfile
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import report

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "torture"))

from checker import Asked, observe, violations
from fleet import Fleet, Runs, WorkerProcess, Zygote, own_server, until
from freeze import AS_SHIPPED, Thaw, frozen
from witness import seen

STEPS, STEP_SECONDS = 15, 0.1
FROZEN_AT_ONCE = 5
BUCKETS = (0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0)


@dataclass
class Kills:
    """What the kills did."""

    seconds: list[float] = field(default_factory=list)
    executed: int = 0
    again_in_progress: int = 0
    again_committed: int = 0
    other_breaches: list[str] = field(default_factory=list)


async def kill_many(databases: Any, zygote: Zygote, directory: Path, kills: int, tick: Callable[[], None]) -> Kills:
    """Kill the worker that executes, again and again; each time another run is in progress."""
    url = await databases.create()
    rng = Random(1)
    with Fleet.open(url, directory, AS_SHIPPED, zygote=zygote) as fleet:
        async with Runs.open(url) as runs:
            await observe(runs)
            asked: list[Asked] = []
            measured = Kills()
            for _ in range(kills):
                await _two_workers(fleet, runs)
                given = {"number": 0, "count": STEPS, "length": STEP_SECONDS, "done": []}
                run_id = await runs.enqueue("slow", given)
                asked.append(Asked(id=run_id, agent="slow", thread_id=str(run_id)))
                measured.seconds.append(await _kill_and_wait(fleet, runs, run_id, after=rng.uniform(0.3, 1.0)))
                await until(lambda run_id=run_id: _ended(runs, run_id), 60)
                tick()
            found = await violations(runs, asked, fleet.witness)
    measured.again_committed = sum(sentence.startswith("I2") for sentence in found)
    measured.other_breaches = [sentence for sentence in found if not sentence.startswith("I2")]
    starts = [(event["run"], event["step"]) for event in seen(fleet.witness) if event["event"] == "started"]
    measured.executed = len(starts)
    measured.again_in_progress = len(starts) - len(set(starts)) - measured.again_committed
    return measured


async def _two_workers(fleet: Fleet, runs: Runs) -> None:
    while len(fleet.living) < 2:
        fleet.start()
    for worker in fleet.living:
        await until(lambda worker=worker: runs.live_worker(worker.pid), 60)


async def _kill_and_wait(fleet: Fleet, runs: Runs, run_id: UUID, *, after: float) -> float:
    await until(lambda: _has_started(fleet, run_id, 2), 60)
    await asyncio.sleep(after)
    victim = await _owner(fleet, runs, run_id)
    killed_at = time.time()
    victim.kill()
    await until(lambda: _next_start(fleet, run_id, victim), 60, "the run goes on")
    return _found(_next_start_at(fleet, run_id, victim)) - killed_at


async def _owner(fleet: Fleet, runs: Runs, run_id: UUID) -> WorkerProcess:
    ((pid,),) = await runs.rows("SELECT w.pid FROM runs r JOIN workers w ON w.id = r.worker_id WHERE r.id = %s", run_id)
    return next(worker for worker in fleet.living if worker.pid == pid)


async def _has_started(fleet: Fleet, run_id: UUID, count: int) -> bool:
    return sum(event["run"] == str(run_id) for event in seen(fleet.witness)) >= count


async def _next_start(fleet: Fleet, run_id: UUID, victim: WorkerProcess) -> bool:
    return _next_start_at(fleet, run_id, victim) is not None


def _next_start_at(fleet: Fleet, run_id: UUID, victim: WorkerProcess) -> float | None:
    for event in seen(fleet.witness):
        if event["run"] == str(run_id) and event["event"] == "started" and event["pid"] != victim.pid:
            return float(event["at"])
    return None


def _found(at: float | None) -> float:
    assert at is not None
    return at


async def _ended(runs: Runs, run_id: UUID) -> bool:
    return (await runs.queue.store.get(run_id)).ended


async def freeze_many(
    databases: Any, zygote: Zygote, directory: Path, count: int, tick: Callable[[], None]
) -> list[Thaw]:
    """Freeze workers with the default lease, some at once."""
    room = asyncio.Semaphore(FROZEN_AT_ONCE)

    async def one(number: int) -> Thaw:
        async with room:
            own = directory / f"freeze{number}"
            own.mkdir()
            thaw = await frozen(zygote, await databases.create(), own, AS_SHIPPED, step=0.5)
            tick()
            return thaw

    return await asyncio.gather(*(one(number) for number in range(count)))


async def bench(kills: int, freezes: int) -> tuple[Kills, list[Thaw]]:
    with (
        tempfile.TemporaryDirectory(prefix="outlast-") as name,
        Zygote.open() as zygote,
        report.progress(kills + freezes) as tick,
    ):
        async with own_server() as databases:
            killed = await kill_many(databases, zygote, Path(name), kills, tick)
            return killed, await freeze_many(databases, zygote, Path(name), freezes, tick)


def quantile(values: Sequence[float], share: float) -> float:
    """Return the smallest value that so large a share of them does not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * share) - 1)]


def _show_kills(killed: Kills) -> list[report.Target]:
    p50, p99 = quantile(killed.seconds, 0.5), quantile(killed.seconds, 0.99)
    report.table(
        f"{len(killed.seconds)} kills with -9: seconds until the next step starts elsewhere",
        ["p50", "p90", "p99", "longest", "steps executed", "in progress, again", "committed, again"],
        [[
            f"{p50:.2f}", f"{quantile(killed.seconds, 0.9):.2f}", f"{p99:.2f}", f"{max(killed.seconds):.2f}",
            str(killed.executed), str(killed.again_in_progress), str(killed.again_committed),
        ]],
    )  # fmt: skip
    lower = (0.0, *BUCKETS[:-1])
    counted = {
        f"{low:.1f} - {high:.1f} s": {"kills": float(sum(low <= value < high for value in killed.seconds))}
        for low, high in zip(lower, BUCKETS, strict=True)
    }
    report.bars("Histogram", {place: count for place, count in counted.items() if count["kills"]}, unit="kills")
    for sentence in killed.other_breaches:
        report.console.print(f"[red]{sentence}[/red]")
    return [
        report.Target(name="kill to next step, p50", measured=p50, limit=3.0, at_least=False, unit=" s"),
        report.Target(name="kill to next step, p99", measured=p99, limit=5.0, at_least=False, unit=" s"),
        report.Target(
            name="committed steps executed again", measured=float(killed.again_committed), limit=0.0, at_least=False
        ),
        report.Target(
            name="other invariants broken", measured=float(len(killed.other_breaches)), limit=0.0, at_least=False
        ),
    ]


def _show_freezes(thaws: list[Thaw]) -> list[report.Target]:
    takeovers = [thaw.takeover_seconds for thaw in thaws]
    late = sum(thaw.late_rows for thaw in thaws)
    report.table(
        f"{len(thaws)} workers frozen (SIGSTOP), default lease",
        ["p50", "longest", "late rows accepted", "runs right", "processes that ended"],
        [[
            f"{quantile(takeovers, 0.5):.1f} s", f"{max(takeovers):.1f} s", str(late),
            f"{sum(thaw.succeeded for thaw in thaws)} of {len(thaws)}",
            str(sum(thaw.status is not None for thaw in thaws)),
        ]],
    )  # fmt: skip
    return [
        report.Target(name="freeze to takeover", measured=max(takeovers), limit=25.0, at_least=False, unit=" s"),
        report.Target(name="late rows accepted", measured=float(late), limit=0.0, at_least=False),
        report.Target(
            name="runs that ended right", measured=sum(thaw.succeeded for thaw in thaws) / len(thaws) * 100, limit=100,
            at_least=True, unit="%",
        ),
    ]  # fmt: skip


def main() -> int:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--freeze", type=int, default=0, metavar="N", help="also freeze this many workers (20 s each)")
    options = parser.parse_args()
    report.heading("Recovery", {"workers": "2 processes, default settings"})
    running: Coroutine[Any, Any, tuple[Kills, list[Thaw]]] = bench(options.kills, options.freeze)
    killed, thaws = report.run(running, loop=options.loop)
    targets = _show_kills(killed) if killed.seconds else []
    if thaws:
        targets += _show_freezes(thaws)
    return report.verdict(targets, strict=options.strict)


if __name__ == "__main__":
    sys.exit(main())
