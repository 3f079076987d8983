from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import remembered
from effect_receiver import EffectReceiver, receiving
from engine import Engine, seconds

from outlast.runtime import Runtime
from outlast.settings import DatabaseSettings, EffectSettings


class NodesEngine(Engine):
    """Its agents do what the test puts into NODES; an effect is tried again soon."""

    async def open(self, **options: Any) -> Runtime:
        calls = {"effects": EffectSettings(base=seconds(0.01), cap=seconds(0.05))}
        return await super().open(**({"agents": remembered.project(), "calls": calls} | options))


@pytest.fixture(autouse=True)
def fresh_nodes() -> Iterator[None]:
    remembered.reset()
    yield
    remembered.reset()


@pytest.fixture
async def engine(database: DatabaseSettings) -> AsyncIterator[Engine]:
    async with AsyncExitStack() as stack:
        yield NodesEngine(database, stack)


@pytest.fixture
async def receiver() -> AsyncIterator[EffectReceiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def forgetful_receiver() -> AsyncIterator[EffectReceiver]:
    """Applies each request, whatever its key."""
    async with receiving(honours_keys=False) as receiver:
        yield receiver
