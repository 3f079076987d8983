"""What must not be in the database is not there, in any column of any table."""

import pytest
from checkpoint_helpers import Chat, at, dump, steps_graph
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from outlast.settings import DatabaseSettings
from savers import OpenSaver

SECRET = "sk-planted-0123456789"


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("name", ["openai_api_key", "user_pin", "Authorization", "x"])
async def test_nothing_of_configurable_is_stored(
    open_saver: OpenSaver, database: DatabaseSettings, name: str, durability: str
) -> None:
    saver = await open_saver()
    inner = StateGraph(Chat).add_node("ask", lambda _: {"messages": [AIMessage(interrupt("?"))]}).add_edge(START, "ask")
    outer = StateGraph(Chat).add_node("sub", inner.compile()).add_edge(START, "sub").add_edge("sub", END)
    graph = outer.compile(checkpointer=saver)
    config = {"configurable": {**at("t")["configurable"], name: SECRET}}

    await graph.ainvoke({"messages": ["planted elsewhere"]}, config, durability=durability)
    await graph.aupdate_state(config, {"messages": ["by hand"]})

    stored = await dump(database.url)
    assert "planted elsewhere" in stored, "the search would find it"
    assert SECRET not in stored


async def test_ids_that_are_allowed_and_the_callers_own_metadata_are_kept(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    config = {
        "configurable": {**at("t")["configurable"], "run_id": "r1", "graph_id": "g1"},
        "metadata": {"customer": "c1", "api_key": SECRET, "tags": ["not a scalar"]},
    }
    await steps_graph(saver, "a").ainvoke({"log": []}, config, durability="sync")

    found = await saver.aget_tuple(at("t"))

    assert found is not None
    assert found.metadata["run_id"] == "r1"
    assert found.metadata["graph_id"] == "g1"
    assert found.metadata["customer"] == "c1"
    assert SECRET not in str(found.metadata)
