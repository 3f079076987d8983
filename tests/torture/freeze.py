"""Suspend a worker in the middle of a step for longer than its lease, and see what it may still say when it wakes.

    python tests/torture/freeze.py --trials 20

Each trial has a database of its own: a run of many steps, a worker that is frozen while it executes one, another worker
that takes the run over, and the first one waking up. Counted: seconds until the next step starts elsewhere, rows with
the old epoch that were written after the new owner's claim (0), and what became of the process.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from fleet import SHRUNK, Fleet, Runs, Zygote, own_server, until
from rich.console import Console
from rich.progress import track
from witness import seen

# The defaults, which are what the promise of 25 seconds is about.
AS_SHIPPED: Mapping[str, str] = {}


@dataclass
class Thaw:
    """How one trial went."""

    takeover_seconds: float
    #: Rows of the old epoch that came after the claim of the new one.
    late_rows: int
    succeeded: bool
    #: Exit status of the process that was frozen; None when it lives on without the run.
    status: int | None


async def frozen(zygote: Zygote, url: str, directory: Path, settings: Mapping[str, str], *, step: float) -> Thaw:
    """Freeze the worker of a run in the middle of a step, wake it when the run has gone on, and wait for the end."""
    with Fleet.open(url, directory, settings, zygote=zygote) as fleet:
        async with Runs.open(url) as runs:
            await runs.rows("ALTER TABLE checkpoints ADD at timestamptz DEFAULT clock_timestamp()")
            await runs.rows("ALTER TABLE checkpoint_writes ADD at timestamptz DEFAULT clock_timestamp()")
            victim = fleet.start()
            run_id = await runs.enqueue("slow", {"number": 0, "count": 12, "length": step, "done": []})
            await until(lambda: _steps(fleet, 3), 60, "three steps have started")
            frozen_at = time.time()
            victim.freeze()
            fleet.start()
            await until(lambda: _started_by_another(fleet, victim.pid), 60, "another worker goes on")
            takeover = next(e["at"] for e in seen(fleet.witness) if e["pid"] != victim.pid) - frozen_at
            claimed_at = (await runs.rows("SELECT claimed_at FROM runs"))[0][0]
            victim.wake()
            view = await runs.queue.wait(run_id, timeout=timedelta(minutes=2))
            # It must have noticed by now; its thread of heartbeats needs one beat.
            await until(lambda: _dropped(runs, victim.pid, victim.ended.is_set()), 30, "the frozen worker let go")
            late = await runs.rows(
                "SELECT 1 FROM checkpoints WHERE epoch = 1 AND at > %s"
                " UNION ALL SELECT 1 FROM checkpoint_writes WHERE epoch = 1 AND at > %s", claimed_at, claimed_at
            )  # fmt: skip
            done = (view.output or {}).get("done")
            return Thaw(takeover, len(late), done == [f"n{n}" for n in range(12)], victim.status)


async def _steps(fleet: Fleet, count: int) -> bool:
    return sum(event["event"] == "started" for event in seen(fleet.witness)) >= count


async def _started_by_another(fleet: Fleet, pid: int) -> bool:
    return any(event["event"] == "started" and event["pid"] != pid for event in seen(fleet.witness))


async def _dropped(runs: Runs, pid: int, ended: bool) -> bool:
    """The process ended, or lives under a new id."""
    return ended or bool(await runs.rows("SELECT 1 FROM workers WHERE pid = %s AND state = 'live'", pid))


async def _main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=20)
    parser.add_argument("--as-shipped", type=int, default=1, help="more trials with the default lease of 15 s")
    options = parser.parse_args()
    console = Console(highlight=False)
    thaws: list[tuple[str, Thaw]] = []
    with tempfile.TemporaryDirectory(prefix="outlast-") as name:
        async with own_server() as databases:
            with Zygote.open() as zygote:
                plans = [("shrunk", SHRUNK, 0.1)] * options.trials + [("default", AS_SHIPPED, 0.5)] * options.as_shipped
                for number, (kind, settings, step) in enumerate(track(plans, console=console, transient=True)):
                    directory = Path(name) / str(number)
                    directory.mkdir()
                    thaws.append((kind, await frozen(zygote, await databases.create(), directory, settings, step=step)))
    bad = 0
    for kind in ("shrunk", "default"):
        mine = [thaw for name, thaw in thaws if name == kind]
        if mine:
            slowest = max(thaw.takeover_seconds for thaw in mine)
            late, failed = sum(thaw.late_rows for thaw in mine), sum(not thaw.succeeded for thaw in mine)
            bad += late + failed + (slowest > 25)
            console.print(
                f"{kind} lease: {len(mine)} frozen workers, takeover at most {slowest:.1f} s, "
                f"{late} late rows accepted, {failed} runs wrong, "
                f"{sum(thaw.status is not None for thaw in mine)} processes ended themselves"
            )
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(asyncio.run(_main()))
