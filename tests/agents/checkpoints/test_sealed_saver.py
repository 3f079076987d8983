"""The checkpointer with a master key does all that it does without one."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from langgraph.checkpoint.conformance import checkpointer_test, validate
from langgraph.graph import START, StateGraph

from outlast import Checkpointer, Secret
from outlast.errors import ConfigurationError, StateUnreadable
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool

MASTER = Secret("bmV3LW1hc3Rlci1rZXktb2YtMzItYnl0ZXMtMDEyMzQ=")
AT = {"configurable": {"thread_id": "1"}}


@pytest.fixture
async def saver(database_url: str) -> AsyncIterator[Checkpointer]:
    async with Checkpointer.open(database_url, master_key=MASTER) as saver:
        yield saver


def talking(saver: Checkpointer) -> Any:
    graph = StateGraph(dict).add_node("say", lambda _: {"said": "the content", "long": "the content" * 500})
    return graph.add_edge(START, "say").compile(checkpointer=saver)


@pytest.mark.parametrize("capability", ["copy_thread", "delete_for_runs", "prune"])
async def test_it_has_the_capabilities_of_the_conformance_suite(capability: str, saver: Checkpointer) -> None:
    @checkpointer_test(name="sealed")
    async def savers() -> Any:
        yield saver

    report = await validate(savers, capabilities={capability})

    assert report.results[capability].detected
    assert report.results[capability].failures == []


async def test_state_is_read_with_the_key_alone(saver: Checkpointer, database_url: str) -> None:
    await talking(saver).ainvoke({"asked": "x"}, AT, durability="sync")

    async with Checkpointer.open(database_url, master_key=MASTER) as other:
        assert (await talking(other).aget_state(AT)).values["said"] == "the content"
    with pytest.raises(ConfigurationError, match="there is no master key"):
        async with Checkpointer.open(database_url):
            pass


async def test_state_that_was_tampered_with_is_not_restored(saver: Checkpointer, database: DatabaseSettings) -> None:
    await talking(saver).ainvoke({"asked": "x"}, AT, durability="sync")
    pool = Pool(database, application_name="tampering", size=1)
    await pool.open()
    async with pool.transaction() as connection:
        await connection.execute("UPDATE checkpoints SET body = set_byte(body, 60, get_byte(body, 60) # 1)")
    await pool.close()

    with pytest.raises(StateUnreadable, match="was changed, or belongs to another row"):
        await saver.aget_tuple(AT)
