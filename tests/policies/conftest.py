import gc
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import pytest
from police import Police
from policed_agents import World

from outlast.settings import DatabaseSettings


@pytest.fixture(autouse=True)
def world() -> Iterator[type[World]]:
    World.begin()
    yield World
    World.begin()


@pytest.fixture
async def police(database: DatabaseSettings) -> AsyncIterator[Police]:
    async with AsyncExitStack() as stack:
        yield Police(database, stack)
    # A runtime that closes while it connects leaves the connection to the collector; until that is gone (60 s, the
    # server's limit for logging in) the database cannot be dropped.
    gc.collect()
