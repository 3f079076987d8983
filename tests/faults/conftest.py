import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "torture"))

import call_kills
from checker import observe
from fleet import Fleet, Runs, Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with Zygote.open() as zygote:
        yield zygote


@pytest.fixture(scope="session")
def calling_zygote() -> Iterator[Zygote]:
    """Of agents that ask models."""
    with Zygote.open(call_kills.PROJECT, *call_kills.PRELOADED) as zygote:
        yield zygote


@pytest.fixture
def calling_fleet(calling_zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=calling_zygote) as fleet:
        yield fleet


@pytest.fixture
async def runs(database_url: str) -> AsyncIterator[Runs]:
    async with Runs.open(database_url) as runs:
        await observe(runs)
        yield runs


@pytest.fixture
def fleet(zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=zygote) as fleet:
        yield fleet
