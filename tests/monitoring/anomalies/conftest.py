import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool

# What `make eval-anomalies` plays.
sys.path.insert(0, str(Path(__file__).parents[3] / "evals" / "anomalies"))


@pytest.fixture(scope="module")
async def pool_of_module(database_of_module: DatabaseSettings) -> AsyncIterator[Pool]:
    """For tests that keep to agents of their own."""
    pool = Pool(database_of_module, application_name="test", size=4)
    await pool.open()
    yield pool
    await pool.close()
