from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from stream_runs import OpenProcess, Process, opened

from outlast.settings import DatabaseSettings


@pytest.fixture
async def open_process(database: DatabaseSettings) -> AsyncIterator[OpenProcess]:
    """Opens processes that share nothing but the database."""
    async with AsyncExitStack() as stack:

        async def open_one(*, deaf: bool = False) -> Process:
            return await stack.enter_async_context(asynccontextmanager(opened)(database, deaf=deaf))

        yield open_one


@pytest.fixture
async def worker(open_process: OpenProcess) -> Process:
    return await open_process()


@pytest.fixture
async def api(open_process: OpenProcess) -> Process:
    return await open_process()
