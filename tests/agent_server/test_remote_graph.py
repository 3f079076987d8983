"""`RemoteGraph`, which makes a graph of another server out of this one: both generations of its streaming."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
from agent_server_api import Server, some_id
from langgraph.graph import START, StateGraph
from langgraph.pregel.remote import RemoteException, RemoteGraph
from langgraph.types import Command
from langgraph_sdk import get_sync_client
from protocol_api import INPUT, protocol_served

from outlast.testing.postgres import Databases
from runtimes import Opens


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, tmp_path_factory: Any) -> AsyncIterator[Server]:
    async with protocol_served(databases, open_runtime, tmp_path_factory.mktemp("remote")) as server:
        yield server


@pytest.fixture(scope="module")
def remote(server: Server) -> Iterator[Callable[[str], RemoteGraph]]:
    """Makes remote graphs whose connections are closed at the end."""
    with get_sync_client(url=server.url, api_key=None) as sync_client:
        yield lambda graph: RemoteGraph(graph, client=server.sdk, sync_client=sync_client)


def config(thread_id: str) -> Any:
    return {"configurable": {"thread_id": thread_id}}


async def test_it_is_invoked_with_and_without_a_thread(remote):
    graph = remote("quick")
    thread_id = some_id()

    assert (await graph.ainvoke({"items": ["given"]}))["items"] == ["given", "quick"]
    assert (await graph.ainvoke({"items": ["given"]}, config(thread_id)))["items"] == ["given", "quick"]
    again = await graph.ainvoke({"items": ["more"]}, config(thread_id))
    assert again["items"] == ["given", "quick", "more", "quick"]


async def test_the_synchronous_calls_do_the_same(remote):
    def synchronous() -> Any:
        graph = remote("quick")
        thread = config(some_id())
        result = graph.invoke({"items": []}, thread)
        return result, graph.get_state(thread), list(graph.stream({"items": []}, thread, stream_mode="updates"))

    result, state, updates = await asyncio.to_thread(synchronous)

    assert result["items"] == state.values["items"] == ["quick"]
    assert updates == [{"speak": {"items": ["quick"]}}]


async def test_it_streams_all_modes_with_subgraphs(remote):
    seen = [
        (len(ns), mode)
        async for ns, mode, _ in remote("helper").astream(
            INPUT, config(some_id()), stream_mode=["updates", "messages", "values", "custom"], subgraphs=True
        )
    ]

    assert {(0, "updates"), (0, "values"), (0, "custom"), (0, "messages"), (1, "updates"), (1, "messages")} <= set(seen)


async def test_a_question_is_asked_and_answered_by_a_command(remote):
    graph = remote("helper")
    thread = config(some_id())

    asked = await graph.ainvoke(INPUT, thread)
    state = await graph.aget_state(thread)
    result = await graph.ainvoke(Command(resume="sure"), thread)

    assert [question["value"] for question in asked["__interrupt__"]] == [{"question": "go on?"}]
    assert state.next == ("ask",)
    assert state.tasks[0].interrupts[0].value == {"question": "go on?"}
    assert result["items"][-1] == "answered sure"
    assert (await graph.aget_state(thread)).next == ()


async def test_state_is_read_changed_and_listed(remote):
    graph = remote("quick")
    thread = config(some_id())
    await graph.ainvoke({"items": []}, thread)

    changed = await graph.aupdate_state(thread, {"items": ["by hand"]}, as_node="speak")
    state = await graph.aget_state(thread)
    history = [old async for old in graph.aget_state_history(thread, limit=10)]

    assert changed["configurable"]["checkpoint_id"] == state.config["configurable"]["checkpoint_id"]
    assert state.values["items"] == ["quick", "by hand"]
    assert [old.metadata["step"] for old in history] == [2, 1, 0, -1]
    older = await graph.aget_state(history[1].config)
    assert older.values["items"] == ["quick"]


async def test_it_knows_the_graphs_shape(remote):
    drawn = await remote("helper").aget_graph()

    assert {"begin", "model", "tools", "inner", "ask"} <= set(drawn.nodes)


async def test_a_failure_of_the_graph_is_an_exception_here(remote):
    with pytest.raises(RemoteException, match="boom"):
        await remote("broken").ainvoke({"items": []}, config(some_id()))


async def test_as_a_node_of_a_local_graph_its_question_stops_that(remote):
    local = StateGraph(dict).add_node("there", remote("helper")).add_edge(START, "there").compile()

    result = await local.ainvoke(INPUT, config(some_id()))

    assert [question.value for question in result["__interrupt__"]] == [{"question": "go on?"}]


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_events_of_the_newer_kind_over_two_sessions_of_a_thread(remote):
    graph = remote("helper")
    thread = config(some_id())

    async with await graph.astream_events(INPUT, thread, version="v3") as run:
        states = [state async for state in run.values]
        asked = await run.interrupted()
    async with await graph.astream_events(Command(resume="sure"), thread, version="v3") as run:
        output = await asyncio.wait_for(run.output(), 10)
        still_asked = await run.interrupted()

    assert len(states) > 3
    assert (asked, still_asked) == (True, False)
    assert output["items"][-1] == "answered sure"


@pytest.mark.filterwarnings("ignore::langchain_core._api.beta_decorator.LangChainBetaWarning")
async def test_events_of_the_newer_kind_synchronously(remote):
    def synchronous() -> dict[str, int]:
        counts: dict[str, int] = {}
        with remote("helper").stream_events(INPUT, version="v3") as run:
            for name, _ in run.interleave("values", "messages", "tool_calls"):
                counts[name] = counts.get(name, 0) + 1
        return counts

    counts = await asyncio.to_thread(synchronous)

    assert counts["values"] > 3
    assert counts["messages"] >= 1
    assert counts["tool_calls"] == 1
