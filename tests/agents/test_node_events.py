"""Node boundaries are told as they happen, and everything that happens in a node knows which one it is."""

import asyncio
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, RetryPolicy, interrupt

from outlast import telemetry
from outlast.agents.node_events import NodeEvents
from outlast.calls.tally import Tally
from outlast.telemetry import about, emit, surroundings


def _last(_before: Any, after: Any) -> Any:
    return after


class State(TypedDict, total=False):
    value: Annotated[Any, _last]


Told = list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]


@pytest.fixture
def told() -> Iterator[Told]:
    """Points with their fields and their surroundings; of these tests' own runs alone."""
    heard: Told = []

    def listen(point: str, fields: Mapping[str, Any]) -> None:
        if surroundings().get("run_id") == "r":
            heard.append((point, fields, surroundings()))

    unsubscribe = telemetry.subscribe(listen)
    yield heard
    unsubscribe()


def line(**nodes: Any) -> StateGraph[Any, Any, Any, Any]:
    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    names = list(nodes)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder


async def run(graph: Any, given: Any = None, **config: Any) -> Tally:
    tally = Tally()
    settings = {"callbacks": [NodeEvents(tally)], **config}
    with about(run_id="r"):
        async for _ in graph.astream(given or {"value": 0}, settings, stream_mode=["values", "messages"]):
            pass
        assert "node" not in surroundings(), "the surroundings of the run are its own again"
    return tally


def boundaries(told: Told) -> list[tuple[str, str, Any]]:
    return [
        (point.removeprefix("node."), fields["node"], fields.get("outcome"))
        for point, fields, _ in told
        if point.startswith("node.")
    ]


async def says(state: State) -> State:
    await asyncio.sleep(0)
    emit("tool.cut", tool="x")
    return {"value": 1}


def says_in_a_thread(state: State) -> State:
    emit("tool.cut", tool="x")
    return {"value": 2}


async def test_each_node_is_told_once_when_it_begins_and_once_when_it_has_ended(told: Told) -> None:
    tally = await run(line(first=says, second=says_in_a_thread).compile())

    assert boundaries(told) == [
        ("started", "first", None), ("ended", "first", "success"),
        ("started", "second", None), ("ended", "second", "success"),
    ]  # fmt: skip
    assert [fields["step"] for point, fields, _ in told if point == "node.ended"] == [1, 2]
    assert all(fields["seconds"] >= 0 for point, fields, _ in told if point == "node.ended")
    assert tally.nodes == 2


async def test_what_happens_in_a_node_knows_its_node_in_the_loop_and_in_a_thread(told: Told) -> None:
    await run(line(first=says, second=says_in_a_thread).compile())

    assert [where["node"] for point, _, where in told if point == "tool.cut"] == ["first", "second"]


async def test_nodes_of_one_step_keep_apart(told: Told) -> None:
    both = asyncio.Barrier(2)

    async def together(state: State) -> State:
        await both.wait()
        emit("tool.cut", tool="x")
        await both.wait()
        return {}

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, together)
        builder.add_edge(START, name)
    await run(builder.compile())

    assert sorted(where["node"] for point, _, where in told if point == "tool.cut") == ["left", "right"]
    ended = [(fields["node"], where["node"]) for point, fields, where in told if point == "node.ended"]
    assert sorted(ended) == [("left", "left"), ("right", "right")]


async def test_nodes_of_inner_graphs_are_told_with_the_node_that_they_are_in(told: Told) -> None:
    inner = line(deep=says).compile()

    async def calls_it(state: State) -> State:
        value = await inner.ainvoke(state)
        emit("tool.failed", tool="x")
        return value  # pyright: ignore[reportReturnType]

    def calls_it_in_a_thread(state: State) -> State:
        return line(threaded=says_in_a_thread).compile().invoke(state)  # pyright: ignore[reportReturnType]

    await run(line(as_node=inner, by_hand=calls_it, in_thread=calls_it_in_a_thread).compile())

    ended = [(fields["node"], fields["within"]) for point, fields, _ in told if point == "node.ended"]
    assert ended == [
        ("deep", "as_node"), ("as_node", None), ("deep", "by_hand"), ("by_hand", None), ("threaded", "in_thread"),
        ("in_thread", None),
    ]  # fmt: skip
    assert [where["node"] for point, _, where in told if point == "tool.failed"] == ["by_hand"], "it is back there"


async def test_tasks_of_the_functional_api_are_nodes(told: Told) -> None:
    @task
    async def half(value: int) -> int:
        return value // 2

    @entrypoint()
    async def whole(value: Any) -> int:
        return await half(8)

    await run(whole)

    assert [(kind, node) for kind, node, _ in boundaries(told)] == [
        ("started", "whole"), ("started", "half"), ("ended", "half"), ("ended", "whole")
    ]  # fmt: skip


async def test_a_node_that_fails_is_told_with_its_error_and_each_try_by_itself(told: Told) -> None:
    async def fails(state: State) -> State:
        raise KeyError("x")

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    policy = RetryPolicy(max_attempts=2, initial_interval=0.001, jitter=False, retry_on=KeyError)
    builder.add_node("fails", fails, retry_policy=policy)
    builder.add_edge(START, "fails")
    with pytest.raises(KeyError):
        await run(builder.compile())

    ended = [fields for point, fields, _ in told if point == "node.ended"]
    assert [(fields["outcome"], fields["error"]) for fields in ended] == [("error", "KeyError")] * 2


async def test_a_question_is_no_error_and_neither_is_a_command_for_the_graph_around(told: Told) -> None:
    async def asks(state: State) -> State:
        return {"value": interrupt("really?")}

    async def sends(state: State) -> Command[Any]:
        return Command(graph=Command.PARENT, goto="asks")

    builder: StateGraph[Any, Any, Any, Any] = StateGraph(State)
    builder.add_node("inner", line(sends=sends).compile(), destinations=("asks",))
    builder.add_node("asks", asks)
    builder.add_edge(START, "inner")
    await run(builder.compile(checkpointer=InMemorySaver()), configurable={"thread_id": "t"})

    ended = {node: outcome for kind, node, outcome in boundaries(told) if kind == "ended"}
    assert ended == {"sends": "success", "inner": "success", "asks": "interrupt"}


async def test_a_node_that_is_cancelled_is_told_apart_from_one_that_raises_the_error_itself(told: Told) -> None:
    begun = asyncio.Event()

    async def waits(state: State) -> State:
        begun.set()
        await asyncio.Event().wait()
        return {}

    async def raises(state: State) -> State:
        raise asyncio.CancelledError

    running = asyncio.create_task(run(line(waits=waits).compile()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    with pytest.raises(BaseException, match="raises"):
        await run(line(raises=raises).compile())

    ended = {node: outcome for kind, node, outcome in boundaries(told) if kind == "ended"}
    assert ended == {"waits": "cancelled", "raises": "error"}


async def test_tools_are_told_and_counted_wherever_they_are_called(told: Told) -> None:
    @tool
    async def works(a: int) -> str:
        """Work."""
        emit("tool.cut", tool="works")
        return str(a)

    @tool
    def breaks(a: int) -> str:
        """Break."""
        raise ValueError(a)

    async def calls(state: State) -> State:
        await works.ainvoke({"a": 1})
        with pytest.raises(ValueError, match="2"):
            await breaks.ainvoke({"a": 2})
        emit("tool.failed", tool="x")
        return {}

    tally = await run(line(calls=calls).compile())

    ended = [fields for point, fields, _ in told if point == "tool.ended"]
    assert [(fields["tool"], fields["outcome"], fields["error"]) for fields in ended] == [
        ("works", "ok", None), ("breaks", "error", "ValueError")
    ]  # fmt: skip
    assert (tally.tool_calls, tally.tool_errors) == (2, 1)
    assert [(where["node"], where["tool"]) for point, _, where in told if point == "tool.cut"] == [("calls", "works")]
    assert [where.get("tool") for point, _, where in told if point == "tool.failed"] == [None], "no tool any more"
