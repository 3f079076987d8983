"""kill -9 of a worker round its model calls, and what a provider in another process has counted afterwards.

    python tests/faults/call_kills.py --seeds 20 [--point call.answered]

An answer that was stored is never asked for again. One that died with the process before it was stored is asked for
again: nobody else has it. The seed says at which hit of the point the process dies.
"""

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from random import Random
from uuid import UUID

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent), str(HERE.parent / "torture")]

from fleet import Fleet, Runs, WorkerProcess, Zygote, own_server, until  # noqa: E402 - after the path
from witness import seen  # noqa: E402

from outlast.testing.providers import ProviderProcess  # noqa: E402

PROJECT = HERE / "calling.toml"
#: What a worker imports before it can ask.
PRELOADED = ("langchain_openai", "openai", "genai_prices", "outlast.calls.chat_models", "outlast.calls.journal")
RUNS = 3
#: Point -> the last hit at which it is still sure to be passed by one worker.
POINTS = {
    "call.before_try": RUNS * 9,
    "call.answered": RUNS * 9,
    "call.before_commit": 8,
    "call.journaled": 8,
    "checkpoint.before_commit": 12,
    "checkpoint.after_commit": 12,
}


def start(fleet: Fleet, provider: ProviderProcess, fault: str = "") -> WorkerProcess:
    """Start a worker whose lease outlasts a busy machine: one that fences itself asks again with every right."""
    return fleet.start(fault=fault, PROVIDER_URL=provider.openai_url, OUTLAST_WORKER__LEASE="PT10S")


async def violations(fleet: Fleet, runs: Runs, provider: ProviderProcess, point: str, seed: int) -> list[str]:
    """Kill a worker at a point, let another one finish; return what is wrong about that."""
    nth = Random(f"{point}:{seed}").randint(1, POINTS[point])
    victim = start(fleet, provider, f"{point}:exit:1:{nth}")
    asked = [await runs.enqueue("calling", {"said": []}) for _ in range(RUNS)]
    await asyncio.to_thread(victim.wait, 60)
    if fleet.struck() != [(point, victim.pid)]:
        return [f"{point} was not hit {nth} times: {fleet.struck()}, status {victim.status}"]
    known = await Known.now(runs, provider)
    start(fleet, provider)
    await until(lambda: ended(runs, asked), 60, "all runs end")
    return await known.violations(fleet, runs, provider, asked)


@dataclass(frozen=True)
class Known:
    """What was stored, and what had been answered, when a worker was dead."""

    stored: list[bytes]
    answered: Counter[str]

    @classmethod
    async def now(cls, runs: Runs, provider: ProviderProcess) -> "Known":
        # What was under way for the dead is answered or lost in a moment.
        await provider.wait_for(lambda requests: all(request.outcome is not None for request in requests))
        return cls(await _stored(runs), await _answered(provider))

    async def violations(self, fleet: Fleet, runs: Runs, provider: ProviderProcess, asked: list[UUID]) -> list[str]:
        """Return what is wrong after all runs have ended."""
        twice = _asked_twice(self.answered, await _answered(provider), self.stored)
        return [*await _unfinished(runs, asked), *twice, *_read_differently(fleet)]


async def _answered(provider: ProviderProcess) -> Counter[str]:
    return Counter(request.text for request in await provider.answered())


async def _stored(runs: Runs) -> list[bytes]:
    return [body for (body,) in await runs.rows("SELECT body FROM call_journal WHERE series = 'model'")]


async def ended(runs: Runs, asked: list[UUID]) -> bool:
    rows = await runs.rows("SELECT count(*) FROM runs WHERE ended_at IS NOT NULL AND id = ANY(%s)", asked)
    return bool(rows[0][0] == len(asked))


async def _unfinished(runs: Runs, asked: list[UUID]) -> list[str]:
    rows = await runs.rows(
        "SELECT r.id, r.status, d.error_message FROM runs r JOIN run_details d ON d.run_id = r.id"
        " WHERE r.status <> 'succeeded' AND r.id = ANY(%s)", asked
    )  # fmt: skip
    return [f"run {run_id} is {status}: {message}" for run_id, status, message in rows]


def _asked_twice(before: Counter[str], after: Counter[str], stored: list[bytes]) -> list[str]:
    problems = []
    for question, times in after.items():
        was_stored = any(question.encode() in body for body in stored)
        if was_stored and times > 1:
            problems.append(f"{question} was stored, and asked {times} times")
        elif times > 1 + before[question]:
            problems.append(f"{question} was asked {times} times")
    return problems


def _read_differently(fleet: Fleet) -> list[str]:
    values: dict[str, set[str]] = {}
    for event in seen(fleet.witness):
        if event["event"] == "read":
            values.setdefault(event["run"], set()).add(event["value"])
    return [f"run {run} has read {ids}" for run, ids in values.items() if len(ids) > 1]


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--point", choices=POINTS, action="append")
    arguments = parser.parse_args()
    failed = 0
    with Zygote.open(PROJECT, *PRELOADED) as zygote:
        async with own_server() as databases, ProviderProcess.start() as provider:
            for point in arguments.point or POINTS:
                for seed in range(arguments.first, arguments.first + arguments.seeds):
                    url = await databases.create()
                    with tempfile.TemporaryDirectory() as name, Fleet.open(url, Path(name), zygote=zygote) as fleet:
                        async with Runs.open(url) as runs:
                            problems = await violations(fleet, runs, provider, point, seed)
                    await databases.drop(url)
                    await provider.reset()
                    failed += bool(problems)
                    print(f"{point} seed {seed}: {'; '.join(problems) or 'ok'}", flush=True)  # noqa: T201 - a program
    print(f"{failed} of the cases failed")  # noqa: T201 - as above
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
