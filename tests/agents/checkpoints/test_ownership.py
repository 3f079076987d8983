"""Who may write: one line of checkpoints per thread, forks only on purpose."""

import asyncio
from typing import Any

import pytest
from checkpoint_helpers import Log, at, id_of, line, put, rows, steps_graph, values
from langgraph.graph import END, START, StateGraph

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.errors import ThreadConflict
from outlast.settings import DatabaseSettings
from savers import OpenSaver


async def outcomes(*calls: Any) -> list[Any]:
    """What each of these concurrent calls returned or raised; each is a task, as a run is."""
    return await asyncio.gather(*(asyncio.create_task(call) for call in calls), return_exceptions=True)


async def test_of_two_writers_with_the_same_head_one_is_refused(open_saver: OpenSaver) -> None:
    one, other = await open_saver(), await open_saver()
    root = await put(one, at("t"), {"x": "root"})

    async def write(saver: Checkpointer, value: str) -> Any:
        head = await saver.aget_tuple(at("t"))
        assert head is not None
        assert id_of(head) == id_of(root)
        both_have_read.release()
        await go_on.wait()
        return await put(saver, head.config, {"x": value}, step=1)

    both_have_read, go_on = asyncio.Semaphore(0), asyncio.Event()
    running = asyncio.create_task(outcomes(write(one, "one"), write(other, "other")))
    await both_have_read.acquire()
    await both_have_read.acquire()
    go_on.set()
    first, second = await running

    accepted, refused = (first, second) if isinstance(first, dict) else (second, first)
    assert isinstance(refused, ThreadConflict)
    for saver in (one, other):
        assert await line(saver, "t") == [id_of(accepted), id_of(root)]


async def test_of_two_first_writers_of_a_thread_one_is_refused(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    one, other = await open_saver(), await open_saver()

    async def write(saver: Checkpointer, value: str) -> Any:
        assert await saver.aget_tuple(at("t")) is None
        both_have_read.release()
        await go_on.wait()
        return await put(saver, at("t"), {"x": value})

    both_have_read, go_on = asyncio.Semaphore(0), asyncio.Event()
    running = asyncio.create_task(outcomes(write(one, "one"), write(other, "other")))
    await both_have_read.acquire()
    await both_have_read.acquire()
    go_on.set()
    results = await running

    assert [type(result) for result in results].count(ThreadConflict) == 1
    assert await rows(database.url, "SELECT count(*) FROM checkpoints") == [(1,)]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_of_two_graphs_running_on_one_thread_one_raises_and_no_update_is_lost(
    open_saver: OpenSaver, durability: str
) -> None:
    one, other = await open_saver(), await open_saver()
    await steps_graph(one, "before").ainvoke({"log": []}, at("t"), durability="sync")
    inside, go_on = asyncio.Semaphore(0), asyncio.Event()

    def graph(saver: Checkpointer, name: str) -> Any:
        async def node(_state: Log) -> Log:
            inside.release()
            await go_on.wait()
            return {"log": [name]}

        builder = StateGraph(Log).add_node("node", node).add_edge(START, "node").add_edge("node", END)
        return builder.compile(checkpointer=saver)

    async def run(saver: Checkpointer, name: str) -> Any:
        try:
            return await graph(saver, name).ainvoke({"log": [f"input of {name}"]}, at("t"), durability=durability)
        except ThreadConflict:
            inside.release()
            raise

    running = asyncio.create_task(outcomes(run(one, "one"), run(other, "other")))
    await inside.acquire()
    await inside.acquire()
    go_on.set()
    first, second = await running

    done, refused = (first, second) if isinstance(first, dict) else (second, first)
    assert isinstance(refused, ThreadConflict)
    assert (await values(await open_saver(), at("t")))["log"] == done["log"]
    # The winner may have begun after the other one's input was stored; then it has seen it.
    winner = done["log"][-1]
    assert done["log"] in (
        ["before", f"input of {winner}", winner],
        ["before", *(f"input of {name}" for name in ("one", "other") if name != winner), f"input of {winner}", winner],
    )


async def test_time_travel_forks_and_the_fork_goes_on(saver: Checkpointer) -> None:
    graph = steps_graph(saver, "a", "b")
    await graph.ainvoke({"log": []}, at("t"), durability="sync")
    original = await line(saver, "t")
    history = [state async for state in graph.aget_state_history(at("t"))]
    before_b = next(state for state in history if state.next == ("b",))

    again = await graph.ainvoke(None, before_b.config, durability="sync")
    more = await graph.ainvoke({"log": ["more"]}, at("t"), durability="sync")

    assert again["log"] == ["a", "b"]
    assert more["log"] == ["a", "b", "more", "a", "b"]
    assert (await graph.aget_state(at("t", original[0]))).values["log"] == ["a", "b"]


async def test_a_fork_of_a_fork_and_the_original_line_all_go_on(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    graph = steps_graph(saver, "a")
    await graph.ainvoke({"log": ["0"]}, at("t"), durability="sync")
    original = (await graph.aget_state(at("t"))).config
    await graph.ainvoke({"log": ["newer"]}, at("t"), durability="sync")

    fork = await graph.aupdate_state(original, {"log": ["fork"]})
    await graph.ainvoke({"log": ["on the fork"]}, at("t"), durability="sync")
    fork_of_fork = await graph.aupdate_state(fork, {"log": ["fork of fork"]})
    back = await graph.aupdate_state(original, {"log": ["original"]})

    reader = steps_graph(await open_saver(), "a")
    logs = {name: (await reader.aget_state(at("t", id_of(config)))).values["log"] for name, config in {
        "fork": fork, "fork of fork": fork_of_fork, "back": back, "original": original,
    }.items()}  # fmt: skip
    assert logs == {
        "original": ["0", "a"],
        "fork": ["0", "a", "fork"],
        "fork of fork": ["0", "a", "fork", "fork of fork"],
        "back": ["0", "a", "original"],
    }
    assert (await reader.aget_state(at("t"))).values["log"] == ["0", "a", "original"]


async def test_update_state_works_at_the_head_at_an_old_checkpoint_and_as_a_node(saver: Checkpointer) -> None:
    graph = steps_graph(saver, "a", "b")
    await graph.ainvoke({"log": []}, at("t"), durability="sync")
    history = [state async for state in graph.aget_state_history(at("t"))]
    before_b = next(state for state in history if state.next == ("b",))

    await graph.aupdate_state(at("t"), {"log": ["at the head"]})
    assert (await graph.aget_state(at("t"))).values["log"] == ["a", "b", "at the head"]
    await graph.aupdate_state(before_b.config, {"log": ["instead of b"]}, as_node="b")
    state = await graph.aget_state(at("t"))
    assert state.values["log"] == ["a", "instead of b"]
    assert state.next == ()
    await graph.aupdate_state(at("t"), None, as_node="__copy__")
    assert (await graph.aget_state(at("t"))).values["log"] == ["a", "instead of b"]


async def test_update_state_can_start_a_thread(saver: Checkpointer) -> None:
    graph = steps_graph(saver, "a", "b")

    await graph.aupdate_state(at("t"), {"log": ["by hand"]}, as_node="a")

    assert (await graph.ainvoke(None, at("t"), durability="sync"))["log"] == ["by hand", "b"]


async def test_what_one_task_addressed_gives_no_other_task_the_right_to_fork(saver: Checkpointer) -> None:
    root = await put(saver, at("t"), {"x": "root"})
    await put(saver, root, {"x": "newer"}, step=1)

    async def address() -> None:
        assert await saver.aget_tuple(root) is not None

    async def write_stale() -> None:
        await put(saver, root, {"x": "stale"}, step=1)

    await asyncio.create_task(address())
    with pytest.raises(ThreadConflict, match="moved on by another writer"):
        await asyncio.create_task(write_stale())
    assert (await values(saver, at("t"))) == {"x": "newer"}


async def test_reading_the_history_gives_no_right_to_fork(saver: Checkpointer) -> None:
    root = await put(saver, at("t"), {"x": "root"})
    await put(saver, root, {"x": "newer"}, step=1)

    assert len([found async for found in saver.alist(at("t"))]) == 2
    with pytest.raises(ThreadConflict):
        await put(saver, root, {"x": "stale"}, step=1)


async def test_a_sync_graph_in_a_thread_can_travel_in_time(saver: Checkpointer) -> None:
    graph = steps_graph(saver, "a", "b")

    def run() -> list[str]:
        graph.invoke({"log": []}, at("t"), durability="sync")
        before_b = next(state for state in graph.get_state_history(at("t")) if state.next == ("b",))
        graph.invoke({"log": ["more"]}, at("t"), durability="sync")
        return graph.invoke(None, before_b.config, durability="sync")["log"]

    assert await asyncio.to_thread(run) == ["a", "b"]


async def test_of_two_sync_first_writers_one_is_refused(open_saver: OpenSaver) -> None:
    one, other = await open_saver(), await open_saver()

    def read_and_write() -> None:
        assert one.get_tuple(at("t")) is None
        asyncio.run_coroutine_threadsafe(put(other, at("t"), {"x": "other"}), one._loop).result()
        asyncio.run_coroutine_threadsafe(put(one, at("t"), {"x": "one"}), one._loop).result()

    with pytest.raises(ThreadConflict):
        await asyncio.to_thread(read_and_write)


async def test_time_travel_in_a_graph_with_subgraphs_replays_the_subgraph(saver: Checkpointer) -> None:
    inner = StateGraph(Log).add_node("inner", lambda _state: {"log": ["inner"]})
    inner.add_edge(START, "inner").add_edge("inner", END)
    outer = StateGraph(Log).add_node("first", lambda _state: {"log": ["first"]})
    outer.add_node("sub", inner.compile(checkpointer=True)).add_node("last", lambda _state: {"log": ["last"]})
    outer.add_edge(START, "first").add_edge("first", "sub").add_edge("sub", "last").add_edge("last", END)
    graph = outer.compile(checkpointer=saver)
    first = await graph.ainvoke({"log": []}, at("t"), durability="sync")
    second = await graph.ainvoke({"log": ["again"]}, at("t"), durability="sync")
    history = [state async for state in graph.aget_state_history(at("t"))]
    before_sub = [state for state in history if state.next == ("sub",)]

    replayed = await graph.ainvoke(None, before_sub[0].config, durability="sync")
    oldest = await graph.ainvoke(None, before_sub[-1].config, durability="sync")

    assert replayed["log"] == second["log"]
    assert oldest["log"] == first["log"]
