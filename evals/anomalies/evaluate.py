"""Play silent failures and healthy runs, and print what is found of them.

python evals/anomalies/evaluate.py                    three seeds
python evals/anomalies/evaluate.py --seeds 20         more of them
python evals/anomalies/evaluate.py --assert           fail below the floor

The database is the one of OUTLAST_TEST_DATABASE_URL, or one of its own.
"""

import argparse
import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parent))

from made_up_agents import PROFILES, SCENARIOS
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.pool import Pool
from outlast.testing.postgres import Databases
from silent_drill import WITHIN, Attempt, Finding, Stage, false_alarms, scenarios

HEALTHY = 5000
#: Of all attempts of a scenario, that are found in time; and false alarms over the healthy runs of a seed, on average.
RECALL, FALSE_ALARMS = 0.9, 5.0
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)


@asynccontextmanager
async def a_pool() -> AsyncIterator[Pool]:
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as directory:
        given = os.environ.get("OUTLAST_TEST_DATABASE_URL")
        server = None if given else EmbeddedPostgres.start(Path(directory))
        try:
            async with Databases.open(given or server.__enter__().url) as databases:
                url = await databases.create()
                pool = Pool(DatabaseSettings(url=url), application_name="eval-anomalies")
                await pool.open()
                try:
                    yield pool
                finally:
                    await pool.close()
                    await databases.leave(url)
        finally:
            if server is not None:
                server.__exit__(None, None, None)


async def measured(seeds: int) -> tuple[list[Attempt], dict[int, list[Finding]]]:
    """Return all attempts, and the false alarms of each seed."""
    attempts: list[Attempt] = []
    alarms: dict[int, list[Finding]] = {}
    async with a_pool() as pool:
        for seed in range(1, seeds + 1):
            stage = Stage(pool)
            attempts += await scenarios(stage, seed, within=2 * WITHIN)
            alarms[seed] = await false_alarms(stage, seed, runs=HEALTHY)
    return attempts, alarms


def show(attempts: Sequence[Attempt], alarms: dict[int, list[Finding]]) -> bool:
    """Print the tables; return whether the floor holds."""
    table = Table(box=box.SIMPLE_HEAD, title=f"Silent failures, {len(alarms)} seeds, agents: {_names()}")
    for name in ("scenario", "attempts", f"found within {WITHIN}", "median run", "slowest", "also found"):
        table.add_column(name, justify="left" if name in {"scenario", "also found"} else "right")
    holds = True
    for scenario, (_, own) in SCENARIOS.items():
        mine = [each for each in attempts if each.scenario == scenario]
        runs = sorted(each.found.after or 0 if each.found else 10**6 for each in mine)
        in_time = sum(run <= WITHIN for run in runs) / len(runs)
        holds &= in_time >= RECALL
        others = sorted({kind for each in mine for kind in each.kinds} - own)
        slowest = str(runs[-1]) if runs[-1] < 10**6 else f"> {2 * WITHIN}"
        table.add_row(scenario, str(len(runs)), f"{in_time:.0%}", str(runs[len(runs) // 2]), slowest, ", ".join(others))
    console.print(table)
    counts = [len(each) for each in alarms.values()]
    mean = sum(counts) / len(counts)
    console.print(
        f"False alarms over {HEALTHY:,} healthy runs, by seed: {counts}; {mean:.1f} on average, {max(counts)} at most"
    )
    for seed, found in alarms.items():
        for each in found:
            console.print(f"  seed {seed}: {each.agent} {each.kind} ({each.severity}): {each.text}")
    return holds and mean <= FALSE_ALARMS


def _names() -> str:
    return ", ".join(profile.name for profile in PROFILES)


def main() -> None:
    parser = argparse.ArgumentParser(description="Play silent failures and healthy runs, and print what is found.")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--assert", action="store_true", dest="asserted", help="fail below the floor")
    given = parser.parse_args()
    attempts, alarms = asyncio.run(measured(given.seeds))
    if not show(attempts, alarms) and given.asserted:
        sys.exit("below the floor")


if __name__ == "__main__":
    main()
