"""One database for all tests of a module, empty at the beginning of each."""

from collections.abc import AsyncIterator

import pytest

from outlast.domain.acting import across_tenants
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool

TABLES = (
    "slo_counts", "slo_rollups", "run_observations", "run_attempts", "runs", "threads", "workers", "call_usage",
)  # fmt: skip


@pytest.fixture(scope="module")
async def shared_pool(database_of_module: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = Pool(database_of_module, application_name="test", size=4)
    await pool.open()
    yield pool
    await pool.close()


@pytest.fixture
async def pool(shared_pool: Pool) -> Pool:
    with across_tenants():
        async with shared_pool.transaction() as connection:
            for table in TABLES:
                await connection.execute(f"DELETE FROM {table}".encode())
    return shared_pool
