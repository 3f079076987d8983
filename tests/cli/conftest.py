import pytest


@pytest.fixture
async def empty_database_url(databases):
    """A database in which nothing has been migrated."""
    url = await databases.create_empty()
    yield url
    await databases.leave(url)
