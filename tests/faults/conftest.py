import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))

from checker import Asked, observe, violations
from fleet import Fleet, Runs, Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with Zygote.open() as zygote:
        yield zygote


@pytest.fixture
async def runs(database_url: str) -> AsyncIterator[Runs]:
    async with Runs.open(database_url) as runs:
        await observe(runs)
        yield runs


@pytest.fixture
def fleet(zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=zygote) as fleet:
        yield fleet


async def enqueue_mix(runs: Runs) -> list[Asked]:
    """One run of each kind, and two on one thread."""
    asked = []
    for agent, thread_id in (("line", "shared"), ("line", "shared"), ("wide", "w"), ("plain", "p"), ("asking", "a")):
        run_id = await runs.enqueue(agent, {"seed": 1, "slow": 0.05}, thread_id=thread_id)
        asked.append(Asked(id=run_id, agent=agent, thread_id=thread_id, answers=("yes",) if agent == "asking" else ()))
    return asked


__all__ = ["enqueue_mix", "violations"]
