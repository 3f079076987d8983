import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import embedded_watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.testing.postgres import Databases
from savers import OpenSaver
from sdk_clients import forget_clients, remember_clients

remember_clients()


@pytest.fixture(scope="module", autouse=True)
async def _no_client_outlives_its_module() -> AsyncIterator[None]:
    yield
    await forget_clients()


@pytest.fixture(scope="session")
def server_url() -> Iterator[str]:
    """A running PostgreSQL: the one named by OUTLAST_TEST_DATABASE_URL, else one of our own."""
    if given := os.environ.get("OUTLAST_TEST_DATABASE_URL"):
        yield given
        return
    # Not pytest's own directory: the path of a Unix socket has at most 107 bytes.
    directory = Path(tempfile.mkdtemp(prefix="outlast-"))
    try:
        with EmbeddedPostgres.start(directory) as server:
            yield server.url
        embedded_watchdog.stop_server(directory.resolve())
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
async def databases(server_url: str) -> AsyncIterator[Databases]:
    async with Databases.open(server_url) as databases:
        yield databases


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of this test alone."""
    url = await databases.create()
    yield url
    await databases.drop(url)


@pytest.fixture(scope="module")
async def database_of_module(databases: Databases) -> AsyncIterator[DatabaseSettings]:
    """One database for tests that only look at the schema."""
    url = await databases.create()
    yield DatabaseSettings(url=url)
    await databases.drop(url)


@pytest.fixture
def database(database_url: str) -> DatabaseSettings:
    return DatabaseSettings(url=database_url, pool_size=4)


@pytest.fixture
async def open_saver(database: DatabaseSettings) -> AsyncIterator[OpenSaver]:
    """Opens savers that share nothing but the database, as those of several processes do."""
    async with AsyncExitStack() as stack:

        async def open_one() -> Checkpointer:
            return await stack.enter_async_context(Checkpointer.on(database, codec=Codec(), cache_bytes=1 << 20))

        yield open_one


@pytest.fixture
async def saver(open_saver: OpenSaver) -> Checkpointer:
    return await open_saver()
