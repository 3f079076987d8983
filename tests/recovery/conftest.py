"""A project whose agents fail for as long as its file `poison` is there, and runtimes of it."""

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from dying_shop import Shop

from outlast.agents.project import find_project
from runtimes import Opens, opener, working


@pytest.fixture
def open_shop(tmp_path: Path) -> Opens:
    """Opens runtimes of the project, in a folder of its own."""
    shutil.copy(Path(__file__).parent / "dying_agents.py", tmp_path / "dying_agents.py")
    agents = '[agents]\nshop = "./dying_agents.py:shop"\ncaller = "./dying_agents.py:caller"\n'
    (tmp_path / "outlast.toml").write_text(agents)
    return opener(find_project(tmp_path), application_name="outlast-test-recovery", pool_timeout_seconds=5)


@pytest.fixture
async def shop(open_shop: Opens, database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """With a worker."""
    async with open_shop(database_url) as runtime, working(runtime):
        yield Shop(runtime, tmp_path)


@pytest.fixture
async def idle_shop(open_shop: Opens, database_url: str, tmp_path: Path) -> AsyncIterator[Shop]:
    """Without a worker: nothing moves by itself."""
    async with open_shop(database_url) as runtime:
        yield Shop(runtime, tmp_path)
