"""Deleting, pruning and copying: exact, also while others write."""

import asyncio
import random
from contextlib import suppress
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from checkpoint_helpers import Log, at, broken_or_left_over, counts, dump, id_of, line, put, rows, steps_graph, values
from langgraph.graph import END, START, StateGraph

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.errors import Conflict, ThreadConflict
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoints import thread_key
from savers import OpenSaver
from waiting import until

TASK = "00000000-0000-0000-0000-00000000000a"
LONG = "something long enough to be a blob of its own, which takes more than sixty-four bytes "


def message(text: str) -> dict[str, str]:
    return {"role": "user", "content": LONG + text}


async def chat(saver: Checkpointer, thread: str, turns: int, *, run: str = "run") -> Any:
    """A thread with a growing list, a value that changes, and outputs of tasks; returns the head's config."""
    found = await saver.aget_tuple(at(thread))
    config: Any = found.config if found else at(thread)
    messages = list(found.checkpoint["channel_values"]["messages"]) if found else []
    for turn in range(turns):
        messages = [*messages, message(f"{run} {turn}")]
        state = {"messages": messages, "last": LONG + f"{run} {turn}"}
        config = await put(saver, config, state, step=len(messages), run_id=run)
        await saver.aput_writes(config, [("messages", [message(f"write {run} {turn}")])], TASK)
    return config


# --- deleting --------------------------------------------------------------------------------------------------------


async def test_a_deleted_thread_leaves_only_its_tombstone(saver: Checkpointer, database: DatabaseSettings) -> None:
    await chat(saver, "t", 5)
    await chat(saver, "other", 1)

    await saver.adelete_thread("t")

    assert not any((await counts(database.url, "t")).values())
    assert "run 3" not in await dump(database.url)
    key = UUID(bytes=thread_key("t"))
    assert await rows(database.url, "SELECT deleted_at IS NOT NULL FROM threads WHERE key = %s", key) == [(True,)]
    assert await saver.aget_tuple(at("t")) is None
    assert [found async for found in saver.alist(at("t"))] == []
    assert len((await values(saver, at("other")))["messages"]) == 1


async def test_late_writes_do_not_bring_a_deleted_thread_back(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    saver, deleter = await open_saver(), await open_saver()
    head = await chat(saver, "t", 2)

    await deleter.adelete_thread("t")

    with pytest.raises(ThreadConflict):
        await put(saver, head, {"messages": [message("late")]}, step=3)
    with pytest.raises(ThreadConflict):
        await saver.aput_writes(head, [("x", LONG)], TASK)
    assert not any((await counts(database.url, "t")).values())


async def test_a_subgraph_that_starts_late_does_not_bring_a_deleted_thread_back(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    saver, deleter = await open_saver(), await open_saver()

    inner = StateGraph(Log).add_node("one", lambda _: {"log": ["one"]}).add_node("two", lambda _: {"log": ["two"]})
    inner.add_edge(START, "one").add_edge("one", "two").add_edge("two", END)
    sub = inner.compile(checkpointer=True)

    async def delete_then_call(state: Log) -> Log:
        await deleter.adelete_thread("t")
        return {"log": (await sub.ainvoke({"log": state["log"]}))["log"]}

    outer = StateGraph(Log).add_node("call", delete_then_call).add_edge(START, "call").add_edge("call", END)
    with pytest.raises(ThreadConflict):
        await outer.compile(checkpointer=saver).ainvoke({"log": ["in"]}, at("t"), durability="sync")

    assert not any((await counts(database.url, "t")).values())
    assert await rows(database.url, "SELECT deleted_at IS NOT NULL FROM threads") == [(True,)]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
async def test_a_new_start_on_a_deleted_id_works(open_saver: OpenSaver, durability: str) -> None:
    saver = await open_saver()
    graph = steps_graph(saver, "a", "b")
    for _ in range(3):
        await graph.ainvoke({"log": ["in"]}, at("t"), durability=durability)
        await saver.adelete_thread("t")

    done = await graph.ainvoke({"log": ["new"]}, at("t"), durability=durability)

    assert done["log"] == ["new", "a", "b"]
    assert (await values(await open_saver(), at("t")))["log"] == ["new", "a", "b"]


async def test_a_first_checkpoint_and_its_writes_may_share_a_batch_on_a_deleted_id(saver: Checkpointer) -> None:
    await chat(saver, "t", 1)
    await saver.adelete_thread("t")
    # Something is under way, so that the next two rows gather.
    busy = asyncio.create_task(put(saver, at("other"), {"x": 1}))
    await asyncio.sleep(0)
    config = at("t", str(uuid4()))

    start = asyncio.create_task(put(saver, at("t"), {"x": 1}))
    await asyncio.sleep(0)
    write = asyncio.create_task(saver.aput_writes(config, [("x", 2)], TASK))

    await asyncio.gather(busy, start, write)

    started = await saver.aget_tuple(at("t"))
    assert started is not None
    assert started.checkpoint["channel_values"] == {"x": 1}


async def test_a_thread_that_never_was_can_be_deleted(saver: Checkpointer) -> None:
    await saver.adelete_thread("nobody")

    await put(saver, at("nobody"), {"x": 1})
    assert await values(saver, at("nobody")) == {"x": 1}


async def test_deleting_and_writing_at_once_cannot_block_each_other(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    """The order of locks is the same for both: the thread, then its heads."""
    saver, deleter = await open_saver(), await open_saver()
    head = await chat(saver, "t", 2)
    async with await psycopg.AsyncConnection.connect(database.url) as holder:
        # Holds up the batch in its middle, and the deletion behind the first of its locks.
        await holder.execute("SELECT FROM outlast.checkpoint_heads FOR UPDATE")
        batch = asyncio.gather(
            put(saver, head, {"x": 1}, step=9), saver.aput_writes(head, [("x", LONG)], str(uuid4())),
            return_exceptions=True,
        )  # fmt: skip
        await until(lambda: _waiting(database, 1))
        deletion = asyncio.create_task(deleter.adelete_thread("t"))
        await until(lambda: _waiting(database, 2))
        await holder.rollback()
    await asyncio.gather(batch, deletion)

    deadlocks = await rows(database.url, "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
    assert deadlocks == [(0,)]


async def _waiting(database: DatabaseSettings, number: int) -> bool:
    query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    return (await rows(database.url, query))[0][0] >= number


# --- pruning ---------------------------------------------------------------------------------------------------------


async def test_keep_latest_keeps_the_heads_and_nothing_else(saver: Checkpointer, database: DatabaseSettings) -> None:
    head = await chat(saver, "t", 10)
    state = await values(saver, at("t"))

    await saver.aprune(["t"])

    assert await line(saver, "t") == [id_of(head)]
    assert await values(saver, at("t")) == state
    assert (await counts(database.url, "t"))["checkpoints"] == 1
    assert await broken_or_left_over(database.url) == []
    await chat(saver, "t", 2, run="later")
    assert len((await values(saver, at("t")))["messages"]) == 12


async def test_deleting_the_newest_run_moves_the_head_back(open_saver: OpenSaver, database: DatabaseSettings) -> None:
    saver, deleter = await open_saver(), await open_saver()
    first = await chat(saver, "t", 3, run="first")
    await chat(saver, "t", 3, run="second")

    await deleter.adelete_for_runs(["second"])

    assert id_of(first) == (await line(saver, "t"))[0]
    assert len((await values(saver, at("t")))["messages"]) == 3
    assert await broken_or_left_over(database.url) == []
    await chat(saver, "t", 2, run="third")
    assert [m["content"][len(LONG) :] for m in (await values(saver, at("t")))["messages"]] == [
        "first 0", "first 1", "first 2", "third 0", "third 1"
    ]  # fmt: skip
    assert await broken_or_left_over(database.url) == []


async def test_deleting_an_older_run_keeps_what_the_newer_one_refers_to(
    saver: Checkpointer, database: DatabaseSettings
) -> None:
    await chat(saver, "t", 3, run="first")
    await chat(saver, "t", 3, run="second")
    before = await values(saver, at("t"))

    await saver.adelete_for_runs(["first"])

    assert await values(saver, at("t")) == before
    assert await broken_or_left_over(database.url) == []


async def test_a_fork_from_erased_history_is_refused(open_saver: OpenSaver, database: DatabaseSettings) -> None:
    """Each way in which what a writer still knows may be gone."""
    saver, other = await open_saver(), await open_saver()
    first = await put(saver, at("t"), {"messages": [message("0")]})
    old = await put(saver, first, {"messages": [message("0"), message("1")]}, step=1)
    newer = await put(other, old, {"messages": [message("other")]}, step=2)
    assert await saver.aget_tuple(old) is not None

    await other.aprune(["t"])

    with pytest.raises(ThreadConflict):
        await put(saver, old, {"messages": [message("0"), message("1"), message("2")]}, step=2)
    assert await broken_or_left_over(database.url) == []
    assert await line(other, "t") == [id_of(newer)]


async def test_a_fork_from_a_thread_that_was_deleted_and_started_again_is_refused(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    saver, other = await open_saver(), await open_saver()
    old = await chat(saver, "t", 2)
    await chat(other, "t", 1)
    assert await saver.aget_tuple(old) is not None
    await other.adelete_thread("t")
    await chat(other, "t", 1, run="new life")

    with pytest.raises(ThreadConflict):
        await put(saver, old, {"messages": [message("run 0"), message("run 1"), message("2")]}, step=2)

    assert await broken_or_left_over(database.url) == []
    assert "run 0" not in (await dump(database.url)).replace("new life 0", "")


# --- copying ---------------------------------------------------------------------------------------------------------


async def test_a_copy_goes_its_own_way(saver: Checkpointer, database: DatabaseSettings) -> None:
    await chat(saver, "source", 3)
    before = await values(saver, at("source"))

    await saver.acopy_thread("source", "target")
    await chat(saver, "target", 2, run="target")
    await saver.adelete_for_runs(["target"])
    await chat(saver, "target", 1, run="again")

    assert await values(saver, at("source")) == before
    assert len((await values(saver, at("target")))["messages"]) == 4
    await saver.adelete_thread("source")
    assert len((await values(saver, at("target")))["messages"]) == 4
    assert await broken_or_left_over(database.url) == []


async def test_a_thread_with_state_is_no_target_of_a_copy(saver: Checkpointer) -> None:
    await chat(saver, "source", 1)
    await chat(saver, "target", 1)

    with pytest.raises(Conflict, match="target"):
        await saver.acopy_thread("source", "target")


# --- all at once -----------------------------------------------------------------------------------------------------


async def test_readers_never_see_a_thread_broken_by_erasing(open_saver: OpenSaver, database: DatabaseSettings) -> None:
    writer, eraser, reader = await open_saver(), await open_saver(), await open_saver()
    done = asyncio.Event()

    async def write() -> None:
        config = at("t")
        for turn in range(120):
            # All of it is new each time, so that pruning takes away what a reader may be after.
            state = {"messages": [message(f"{turn} {n}") for n in range(5)]}
            config = await put(writer, config, state, step=turn)
        done.set()

    async def erase() -> None:
        while not done.is_set():
            await eraser.aprune(["t"])

    async def read() -> int:
        read = 0
        while not done.is_set():
            found = await reader.aget_tuple(at("t"))
            read += found is not None
            read += len([found async for found in reader.alist(at("t"), limit=3)])
        return read

    _, _, *reads = await asyncio.gather(write(), erase(), read(), read())

    assert min(reads) > 10
    assert await rows(database.url, "SELECT quarantine_reason FROM threads") == [(None,)]
    assert [problem for problem in await broken_or_left_over(database.url) if "left over" not in problem] == []


async def chat_more(saver: Checkpointer, thread: str, name: str, _rng: random.Random) -> None:
    await chat(saver, thread, 2, run=name)


async def fork(saver: Checkpointer, thread: str, name: str, rng: random.Random) -> None:
    history = [found.config async for found in saver.alist(at(thread))]
    if history and (found := await saver.aget_tuple(rng.choice(history))):
        items = found.checkpoint["channel_values"]["messages"]
        state = {"messages": [*items, message(f"fork {name}")], "last": LONG}
        await put(saver, found.config, state, step=99, run_id=name)


async def prune(saver: Checkpointer, thread: str, _name: str, _rng: random.Random) -> None:
    await saver.aprune([thread])


async def delete_runs(saver: Checkpointer, _thread: str, _name: str, rng: random.Random) -> None:
    await saver.adelete_for_runs([f"w{rng.randrange(6)} {n}" for n in range(10)])


async def delete(saver: Checkpointer, thread: str, _name: str, _rng: random.Random) -> None:
    await saver.adelete_thread(thread)


async def copy_thread(saver: Checkpointer, thread: str, name: str, _rng: random.Random) -> None:
    await saver.acopy_thread(thread, f"copy of {name}")


MIX = [chat_more] * 6 + [fork] * 2 + [prune, delete_runs, delete, copy_thread]


async def test_nothing_breaks_when_many_write_fork_prune_and_delete_at_once(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    savers = [await open_saver() for _ in range(3)]

    async def work(number: int) -> None:
        rng = random.Random(number)
        for turn in range(40):
            operation = rng.choice(MIX)(savers[number % 3], f"t{rng.randrange(2)}", f"w{number} {turn}", rng)
            with suppress(Conflict):
                # A task, as a run is: what one has read gives the next no right.
                await asyncio.create_task(operation)

    await asyncio.gather(*(work(number) for number in range(6)))

    for (thread,) in await rows(database.url, "SELECT thread_id FROM threads"):
        if found := await savers[0].aget_tuple(at(thread)):
            # An erasure that has something to erase sweeps; what refused writes left is gone after it.
            await put(savers[0], found.config, {"messages": [message("last")]}, step=1)
            await savers[1].aprune([thread])
    assert await broken_or_left_over(database.url) == []
    assert await rows(database.url, "SELECT DISTINCT quarantine_reason FROM threads") == [(None,)]
