"""What LangGraph does with a checkpointer, done with ours and read back by a saver that remembers nothing."""

import asyncio
import operator
from itertools import chain
from typing import Annotated, Any, TypedDict

import pytest
from checkpoint_helpers import Chat, Log, at, contents, id_of, put, rows, steps_graph, values
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Send, interrupt

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.errors import ConfigurationError
from outlast.settings import DatabaseSettings
from savers import OpenSaver
from waiting import until

DURABILITIES = pytest.mark.parametrize("durability", ["sync", "async", "exit"])


@DURABILITIES
async def test_messages_keep_their_types_ids_and_tool_calls(open_saver: OpenSaver, durability: Any) -> None:
    call = {"name": "search", "args": {"q": "x" * 100}, "id": "c1", "type": "tool_call"}
    answers = [AIMessage("", tool_calls=[call]), ToolMessage("found " * 30, tool_call_id="c1"), AIMessage("done")]
    builder = StateGraph(Chat).add_node("answer", lambda _: {"messages": answers})
    graph = builder.add_edge(START, "answer").add_edge("answer", END)

    saver = await open_saver()
    sent = await graph.compile(checkpointer=saver).ainvoke(
        {"messages": [HumanMessage("hi")]}, at("t"), durability=durability
    )

    restored = (await graph.compile(checkpointer=await open_saver()).aget_state(at("t"))).values["messages"]
    assert restored == sent["messages"]
    assert [type(message) for message in restored] == [HumanMessage, AIMessage, ToolMessage, AIMessage]


async def test_a_branch_that_finished_is_not_run_again_when_its_sibling_failed(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    calls: list[str] = []

    async def good_is_stored() -> bool:
        return (await rows(database.url, "SELECT count(*) FROM checkpoint_writes"))[0][0] > 1

    async def good(_state: Log) -> Log:
        calls.append("good")
        return {"log": ["good"]}

    async def bad(_state: Log) -> Log:
        calls.append("bad")
        if calls.count("bad") == 1:
            await until(good_is_stored)
            raise RuntimeError("first time")
        return {"log": ["bad"]}

    builder = StateGraph(Log).add_node("good", good).add_node("bad", bad)
    builder.add_edge(START, "good").add_edge(START, "bad")
    with pytest.raises(RuntimeError, match="first time"):
        await builder.compile(checkpointer=await open_saver()).ainvoke({"log": []}, at("t"), durability="sync")

    done = await builder.compile(checkpointer=await open_saver()).ainvoke(None, at("t"), durability="sync")

    assert sorted(done["log"]) == ["bad", "good"]
    assert calls.count("good") == 1


@DURABILITIES
async def test_an_interrupted_graph_goes_on_with_the_answer_in_another_process(
    open_saver: OpenSaver, durability: Any
) -> None:
    def ask(_state: Log) -> Log:
        return {"log": [interrupt({"question": "sure?"})]}

    builder = StateGraph(Log).add_node("ask", ask).add_edge(START, "ask")
    first = await builder.compile(checkpointer=await open_saver()).ainvoke({"log": []}, at("t"), durability=durability)
    assert first["__interrupt__"][0].value == {"question": "sure?"}

    graph = builder.compile(checkpointer=await open_saver())
    state = await graph.aget_state(at("t"))
    assert state.next == ("ask",)
    assert (await graph.ainvoke(Command(resume="yes"), at("t"), durability=durability))["log"] == ["yes"]


async def test_parallel_interrupts_are_answered_by_their_ids(open_saver: OpenSaver) -> None:
    builder = StateGraph(Log)
    for name in "abc":
        builder.add_node(name, lambda _, name=name: {"log": [f"{name}={interrupt(name)}"]}).add_edge(START, name)
    await builder.compile(checkpointer=await open_saver()).ainvoke({"log": []}, at("t"), durability="sync")
    graph = builder.compile(checkpointer=await open_saver())
    asked = (await graph.aget_state(at("t"))).interrupts
    assert sorted(question.value for question in asked) == ["a", "b", "c"]

    some = {question.id: question.value.upper() for question in asked if question.value != "b"}
    await graph.ainvoke(Command(resume=some), at("t"), durability="sync")
    graph = builder.compile(checkpointer=await open_saver())
    (left,) = (await graph.aget_state(at("t"))).interrupts
    assert left.value == "b"
    done = await graph.ainvoke(Command(resume={left.id: "B"}), at("t"), durability="sync")

    assert sorted(done["log"]) == ["a=A", "b=B", "c=C"]


def nested(*, stateful: bool) -> Any:
    def inner_ask(_state: Log) -> Log:
        return {"log": [f"inner {interrupt('inner?')}"]}

    inner = StateGraph(Log).add_node("start", lambda _: {"log": ["started"]}).add_node("ask", inner_ask)
    inner.add_edge(START, "start").add_edge("start", "ask").add_edge("ask", END)
    outer = StateGraph(Log).add_node("sub", inner.compile(checkpointer=True if stateful else None))
    return outer.add_edge(START, "sub").add_edge("sub", END)


@DURABILITIES
@pytest.mark.parametrize("stateful", [False, True])
async def test_a_subgraph_that_asks_goes_on_where_it_was(
    open_saver: OpenSaver, *, stateful: bool, durability: Any
) -> None:
    builder = nested(stateful=stateful)
    await builder.compile(checkpointer=await open_saver()).ainvoke({"log": ["in"]}, at("t"), durability=durability)

    graph = builder.compile(checkpointer=await open_saver())
    state = await graph.aget_state(at("t"), subgraphs=True)
    assert state.tasks[0].state.values["log"] == ["in", "started"]
    assert state.tasks[0].state.next == ("ask",)
    done = await graph.ainvoke(Command(resume="yes"), at("t"), durability=durability)
    assert done["log"] == ["in", "in", "started", "inner yes"]


async def test_a_subgraph_that_asks_works_on_a_deleted_id_at_exit(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    graph = nested(stateful=False).compile(checkpointer=saver)
    await graph.ainvoke({"log": ["in"]}, at("t"), durability="exit")
    await saver.adelete_thread("t")

    await graph.ainvoke({"log": ["in"]}, at("t"), durability="exit")

    done = await graph.ainvoke(Command(resume="yes"), at("t"), durability="exit")
    assert done["log"] == ["in", "in", "started", "inner yes"]


async def test_a_stateful_subgraph_remembers_between_turns(open_saver: OpenSaver) -> None:
    inner = StateGraph(Log).add_node("inner", lambda state: {"log": [f"{len(state['log'])}"]}).add_edge(START, "inner")
    outer = StateGraph(Chat)

    async def call(_state: Chat) -> Chat:
        return {"messages": [AIMessage(",".join((await sub.ainvoke({"log": ["turn"]}))["log"]))]}

    sub = inner.compile(checkpointer=True)
    graph = outer.add_node("call", call).add_edge(START, "call")
    for _ in range(3):
        done = await graph.compile(checkpointer=await open_saver()).ainvoke(
            {"messages": []}, at("t"), durability="sync"
        )

    assert contents(done["messages"])[-1] == "turn,1,turn,3,turn,5"


async def test_send_fans_out_and_each_result_arrives_once(open_saver: OpenSaver) -> None:
    builder = StateGraph(Log).add_node("each", lambda item: {"log": [item["name"]]})
    builder.add_node("last", lambda state: {"log": [f"{len(state['log'])}"]})
    builder.add_conditional_edges(
        START, lambda _: [Send("each", {"name": f"n{n}", "pad": "x" * 99}) for n in range(40)]
    )
    builder.add_edge("each", "last")

    done = await builder.compile(checkpointer=await open_saver()).ainvoke({"log": []}, at("t"), durability="sync")

    assert done["log"] == [*(f"n{n}" for n in range(40)), "40"]
    assert (await values(await open_saver(), at("t")))["log"] == done["log"]


async def test_command_updates_and_jumps(open_saver: OpenSaver) -> None:
    builder = StateGraph(Log).add_node("a", lambda _: Command(update={"log": ["a"]}, goto="c"), destinations=("c",))
    builder.add_node("b", lambda _: {"log": ["b"]}).add_node("c", lambda _: {"log": ["c"]}).add_edge(START, "a")
    graph = builder.compile(checkpointer=await open_saver())

    assert (await graph.ainvoke({"log": []}, at("t"), durability="sync"))["log"] == ["a", "c"]
    jumped = await graph.ainvoke(Command(update={"log": ["by hand"]}, goto="b"), at("t"), durability="sync")
    assert jumped["log"] == ["a", "c", "by hand", "b"]


async def test_an_entrypoint_runs_no_finished_task_again_and_knows_its_previous_result(open_saver: OpenSaver) -> None:
    calls: list[int] = []

    @task
    async def double(n: int) -> int:
        calls.append(n)
        return n * 2

    def workflow(saver: Checkpointer) -> Any:
        @entrypoint(checkpointer=saver)
        async def run(n: int, *, previous: int | None = None) -> Any:
            parts = await asyncio.gather(double(n), double(n + 1))
            answer = interrupt("go on?")
            total = sum(parts) + (previous or 0)
            return entrypoint.final(value=(total, answer), save=total)

        return run

    await workflow(await open_saver()).ainvoke(1, at("t"), durability="sync")
    first = await workflow(await open_saver()).ainvoke(Command(resume="yes"), at("t"), durability="sync")
    await workflow(await open_saver()).ainvoke(10, at("t"), durability="sync")
    second = await workflow(await open_saver()).ainvoke(Command(resume="ok"), at("t"), durability="sync")

    assert first == (6, "yes")
    assert second == (48, "ok")
    assert sorted(calls) == [1, 2, 10, 11]


async def test_a_sync_node_may_call_a_subgraph_with_invoke(open_saver: OpenSaver) -> None:
    inner = StateGraph(Log).add_node("ask", lambda _: {"log": [interrupt("?")]}).add_edge(START, "ask")
    sub = inner.compile(checkpointer=True)
    outer = StateGraph(Log).add_node("call", lambda state: {"log": sub.invoke({"log": []})["log"]})
    outer.add_edge(START, "call")
    await outer.compile(checkpointer=await open_saver()).ainvoke({"log": ["in"]}, at("t"), durability="sync")

    graph = outer.compile(checkpointer=await open_saver())
    async with asyncio.timeout(10):
        done = await graph.ainvoke(Command(resume="yes"), at("t"), durability="sync")

    assert done["log"] == ["in", "yes"]


async def test_the_sync_interface_on_the_event_loop_is_refused_and_does_not_hang(saver: Checkpointer) -> None:
    with pytest.raises(ConfigurationError, match="ainvoke"):
        steps_graph(saver, "a").invoke({"log": []}, at("t"))


async def test_history_is_filtered_limited_and_paged(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    graph = steps_graph(saver, "a", "b")
    for _ in range(30):
        await graph.ainvoke({"log": []}, at("t"), durability="sync")
    everything = [state async for state in graph.aget_state_history(at("t"))]

    assert len(everything) == 120
    assert [state.metadata["step"] for state in everything] == list(range(118, -2, -1))
    limited = [state async for state in graph.aget_state_history(at("t"), limit=70)]
    assert [id_of(state.config) for state in limited] == [id_of(state.config) for state in everything[:70]]
    inputs = [state async for state in graph.aget_state_history(at("t"), filter={"source": "input"})]
    assert len(inputs) == 30
    older = [state async for state in graph.aget_state_history(at("t"), before=everything[49].config, limit=2)]
    assert [id_of(state.config) for state in older] == [id_of(state.config) for state in everything[50:52]]


async def test_writes_of_a_task_with_any_kind_of_id_come_back_under_it(saver: Checkpointer) -> None:
    head = await put(saver, at("t"), {"x": 1})
    ids = ["a", "15 bytes exactly"[:15], "16 bytes exactly", "é" * 8, "0" * 32, "00000000-0000-0000-0000-000000000000"]
    for task_id in ids:
        await saver.aput_writes(head, [("x", task_id)], task_id)

    found = await saver.aget_tuple(head)

    assert found is not None
    assert {write[0]: write[2] for write in found.pending_writes or ()} == {task_id: task_id for task_id in ids}


# --- DeltaChannel ----------------------------------------------------------------------------------------------------


class Events(TypedDict):
    events: Annotated[
        list[str], DeltaChannel(lambda state, writes: [*(state or []), *chain(*writes)], snapshot_frequency=25)
    ]
    count: Annotated[int, operator.add]


def events_graph(saver: Checkpointer) -> Any:
    builder = StateGraph(Events).add_node("a", lambda state: {"events": [f"a{state['count']}"], "count": 1})
    builder.add_node("b", lambda state: {"events": [f"b{state['count']}"], "count": 1})
    return builder.add_edge(START, "a").add_edge("a", "b").add_edge("b", END).compile(checkpointer=saver)


async def run_events(saver: Checkpointer, turns: int, thread: str = "t") -> list[str]:
    graph = events_graph(saver)
    for _ in range(turns):
        done = await graph.ainvoke({"events": ["in"], "count": 0}, at(thread), durability="sync")
    return done["events"]


async def stored_events(saver: Checkpointer, thread: str = "t") -> list[str]:
    return (await events_graph(saver).aget_state(at(thread))).values["events"]


async def test_a_delta_channel_is_right_after_300_updates(open_saver: OpenSaver) -> None:
    expected = [part for turn in range(100) for part in ("in", f"a{2 * turn}", f"b{2 * turn + 1}")]

    assert await run_events(await open_saver(), 100) == expected
    assert await stored_events(await open_saver()) == expected
    assert await run_events(await open_saver(), 1) == [*expected, "in", "a200", "b201"]


async def test_a_delta_channel_survives_pruning_and_copying(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    for _ in range(3):
        expected = await run_events(saver, 11)
        await saver.aprune(["t"])
        assert await stored_events(await open_saver()) == expected
    await saver.acopy_thread("t", "copy")
    await saver.adelete_thread("t")

    assert await stored_events(await open_saver(), "copy") == expected
    more = await run_events(saver, 2, "copy")
    await saver.aprune(["copy"])
    assert await stored_events(await open_saver(), "copy") == more
    assert len([found async for found in saver.alist(at("copy"))]) < 80


async def test_deleting_a_run_takes_nothing_from_a_delta_channel_of_a_later_one(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    graph = events_graph(saver)
    for run in ("one", "two"):
        config = {"configurable": {**at("t")["configurable"], "run_id": run}}
        done = await graph.ainvoke({"events": ["in"], "count": 0}, config, durability="sync")

    await saver.adelete_for_runs(["one"])

    assert await stored_events(await open_saver()) == done["events"]


@DURABILITIES
async def test_a_delta_channel_is_right_whatever_the_durability(open_saver: OpenSaver, durability: Any) -> None:
    for _ in range(12):
        saver = await open_saver()
        done = await events_graph(saver).ainvoke({"events": ["in"], "count": 0}, at("t"), durability=durability)
        assert await stored_events(await open_saver()) == done["events"]

    assert len(done["events"]) == 36
