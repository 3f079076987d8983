from collections.abc import AsyncIterator

import pytest

from outlast.testing.providers import ProviderServer


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server
