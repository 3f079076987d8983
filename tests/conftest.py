import os
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from hanging import end_hanging
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import embedded_watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.pool import Pool
from outlast.testing.postgres import Databases
from quick_directory import quick_directory, use_for_tmp_path
from savers import OpenSaver
from sdk_clients import forget_clients, remember_clients

remember_clients()
use_for_tmp_path()

#: Folders whose modules have few tests and take long: they start processes.
SLOW = ("cli", "faults", "torture", "recovery", "examples", "storage/postgres/embedded", "deploy")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the modules that take long: the one that began last would keep a single process busy at the end."""
    for item in items:
        end_hanging(item)
    here = Path(__file__).parent
    folders = {item.path: item.path.parent.relative_to(here).as_posix() for item in items if here in item.path.parents}
    tests = Counter(item.path for item in items)
    items.sort(key=lambda item: (not folders.get(item.path, "").startswith(SLOW), -tests[item.path], str(item.path)))


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
    directory = quick_directory()
    try:
        with EmbeddedPostgres.start(directory) as server:
            yield server.url
        embedded_watchdog.stop_server(directory.resolve())
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
async def databases(server_url: str) -> AsyncIterator[Databases]:
    async with Databases.open(server_url, copy_files=True) as databases:
        yield databases


@pytest.fixture
async def database_url(databases: Databases) -> AsyncIterator[str]:
    """A migrated database of this test alone."""
    url = await databases.create()
    yield url
    await databases.leave(url)


@pytest.fixture(scope="module")
async def database_of_module(databases: Databases) -> AsyncIterator[DatabaseSettings]:
    """One database for tests that only look at the schema."""
    url = await databases.create()
    yield DatabaseSettings(url=url)
    await databases.leave(url)


@pytest.fixture
def database(database_url: str) -> DatabaseSettings:
    return DatabaseSettings(url=database_url, pool_size=4)


@pytest.fixture
async def pool(database: DatabaseSettings) -> AsyncIterator[Pool]:
    """Connections of the test's own process."""
    pool = Pool(database, application_name="test")
    await pool.open()
    yield pool
    await pool.close()


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
