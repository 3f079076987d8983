from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import engine_agents
import pytest
from engine import Engine

from outlast.settings import DatabaseSettings


@pytest.fixture(autouse=True)
def fresh_agents() -> Iterator[None]:
    engine_agents.reset()
    yield
    engine_agents.reset()


@pytest.fixture
async def engine(database: DatabaseSettings) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        yield Engine(database, stack)
