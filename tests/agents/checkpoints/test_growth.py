"""What is stored: new items only, once, and right however a node changes its lists."""

from collections.abc import AsyncIterator, Callable
from secrets import token_hex
from typing import Any
from uuid import uuid4

import pytest
from checkpoint_helpers import (
    Chat,
    at,
    broken_or_left_over,
    contents,
    counts,
    id_of,
    put,
    rows,
    stored_bytes,
    stranger,
    values,
)
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import REMOVE_ALL_MESSAGES

from outlast.agents.checkpoints.cache import KnownCheckpoints
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.settings import DatabaseSettings
from savers import OpenSaver

LONG = "something long enough to be a blob of its own, which takes more than sixty-four bytes "


def random_text(length: int) -> str:
    # Incompressible, so that what PostgreSQL compresses cannot hide what is stored twice.
    return token_hex(length // 2)


def item(text: str) -> dict[str, str]:
    return {"content": LONG + text}


async def test_a_long_chat_grows_by_what_is_new(open_saver: OpenSaver, database: DatabaseSettings) -> None:
    saver = await open_saver()
    builder = StateGraph(Chat).add_node("answer", lambda _: {"messages": [AIMessage(random_text(1000))]})
    graph = builder.add_edge(START, "answer").add_edge("answer", END).compile(checkpointer=saver)
    sent, stored = 0, {}
    for turn in range(1, 201):
        await graph.ainvoke({"messages": [HumanMessage(random_text(1000))]}, at("t"), durability="sync")
        sent += 2000
        if turn in (100, 200):
            stored[turn] = await stored_bytes(database.url) / sent

    assert stored[200] < 4
    assert stored[200] <= stored[100] * 1.02
    assert len(contents((await values(await open_saver(), at("t")))["messages"])) == 400
    assert await broken_or_left_over(database.url) == []


async def test_an_input_that_is_output_and_state_is_stored_once(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    saver = await open_saver()
    builder = StateGraph(Chat).add_node("answer", lambda state: {"messages": [AIMessage(LONG * 20)]})
    graph = builder.add_edge(START, "answer").add_edge("answer", END).compile(checkpointer=saver)

    await graph.ainvoke({"messages": [HumanMessage(LONG * 10)]}, at("t"), durability="sync")

    assert await rows(database.url, "SELECT count(*) FROM checkpoint_blobs WHERE length(data) > 800") == [(2,)]


@pytest.fixture(scope="module")
async def saver_of_module(database_of_module: DatabaseSettings) -> AsyncIterator[Checkpointer]:
    """For tests with a thread of their own each; the last look is at what all of them left."""
    async with Checkpointer.on(database_of_module, codec=Codec(), cache_bytes=1 << 20) as saver:
        yield saver
    assert await broken_or_left_over(database_of_module.url) == []


CHANGES: dict[str, Callable[[list[Any]], object]] = {
    "append": lambda items: items.append(item("new")),
    "append in place of a kept list": lambda items: items.extend([item("new"), item("newer")]),
    "change an item in place": lambda items: items[1].update(content="changed"),
    "change the last item in place and append": lambda items: (items[-1].update(n=1), items.append(item("x"))),
    "remove the first": lambda items: items.pop(0),
    "remove one in the middle": lambda items: items.pop(len(items) // 2),
    "remove the last": lambda items: items.pop(),
    "replace one": lambda items: items.__setitem__(1, item("other")),
    "reverse": lambda items: items.reverse(),
    "empty": lambda items: items.clear(),
    "the same object twice": lambda items: items.append(items[0]),
    "a scalar among objects": lambda items: items.append("scalar"),
    "another type of equal value": lambda items: items.__setitem__(0, True),
    "minus zero for zero": lambda items: items.__setitem__(0, -0.0),
}


@pytest.mark.parametrize("fresh", [False, True], ids=["known", "read again"])
@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_list_comes_back_as_it_was_left(
    saver_of_module: Checkpointer, change: Callable[[list[Any]], object], *, fresh: bool
) -> None:
    saver, thread = saver_of_module, str(uuid4())
    items: list[Any] = [item("0"), item("1"), item("2")]
    if change is CHANGES["another type of equal value"]:
        items[0] = 1
    if change is CHANGES["minus zero for zero"]:
        items[0] = 0.0
    head = await put(saver, at(thread), {"items": items})
    if fresh:
        saver = stranger(saver)
        items = (await values(saver, at(thread)))["items"]

    for step in range(1, 4):
        if items or step == 1:
            change(items)
        head = await put(saver, head, {"items": items}, step=step)
        restored = (await values(stranger(saver), at(thread)))["items"]
        assert repr(restored) == repr(items)


MESSAGE_CHANGES: dict[str, Callable[[AIMessage], object]] = {
    "content": lambda message: setattr(message, "content", "changed"),
    "equal content": lambda message: setattr(message, "content", "content"[:3] + "tent"),
    "id": lambda message: setattr(message, "id", "new"),
    "tool call": lambda message: message.tool_calls.append({"name": "f", "args": {}, "id": "1"}),
    "argument of a tool call": lambda message: (
        message.tool_calls[0]["args"].update(n=1) if message.tool_calls else None
    ),
    "additional": lambda message: message.additional_kwargs.update(a=1),
    "metadata": lambda message: message.response_metadata.update(model="m"),
    "usage": lambda message: setattr(
        message, "usage_metadata", {"input_tokens": 1, "output_tokens": 2, "total_tokens": 3}
    ),
    "content blocks": lambda message: setattr(message, "content", [{"type": "text", "text": "a"}]),
    "extra": lambda message: setattr(message, "extra", "more"),
}


@pytest.mark.parametrize("fresh", [False, True], ids=["known", "read again"])
@pytest.mark.parametrize("with_call", [False, True], ids=["plain", "with a tool call"])
@pytest.mark.parametrize("change", MESSAGE_CHANGES.values(), ids=MESSAGE_CHANGES.keys())
async def test_a_message_that_a_node_changes_in_place_is_stored_as_it_is(
    saver_of_module: Checkpointer, change: Callable[[AIMessage], object], *, fresh: bool, with_call: bool
) -> None:
    saver, thread = saver_of_module, str(uuid4())
    calls = [{"name": "g", "args": {"x": {"y": 1}}, "id": "0"}] if with_call else []
    messages = [
        HumanMessage("hi", id="h"),
        AIMessage("content", id="a", tool_calls=calls),
        HumanMessage("last", id="l"),
    ]
    head = await put(saver, at(thread), {"messages": messages})
    if fresh:
        saver = stranger(saver)
        messages = (await values(saver, at(thread)))["messages"]

    for step in range(1, 3):
        change(messages[1])
        head = await put(saver, head, {"messages": messages}, step=step)
        restored = (await values(stranger(saver), at(thread)))["messages"]
        assert restored == messages
        assert [vars(message) for message in restored] == [vars(message) for message in messages]
        assert restored[1].model_extra == messages[1].model_extra


async def test_removing_messages_through_langgraph_is_kept(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    builder = StateGraph(Chat).add_node("answer", lambda state: {"messages": [AIMessage("a", id="a")]})
    graph = builder.add_edge(START, "answer").add_edge("answer", END).compile(checkpointer=saver)
    await graph.ainvoke({"messages": [HumanMessage("1", id="1"), HumanMessage("2", id="2")]}, at("t"))

    await graph.aupdate_state(at("t"), {"messages": [RemoveMessage("1"), HumanMessage("two", id="2")]})
    assert contents((await values(await open_saver(), at("t")))["messages"]) == ["two", "a"]
    await graph.aupdate_state(at("t"), {"messages": [RemoveMessage(REMOVE_ALL_MESSAGES)]})
    assert (await values(await open_saver(), at("t")))["messages"] == []


async def test_a_channel_may_become_a_list_and_stop_being_one(open_saver: OpenSaver) -> None:
    saver = await open_saver()
    head = at("t")
    states: list[Any] = [None, [item("a")], "text", [item("a"), item("b")], [], [1, 2], (item("a"),), [[item("a")]], {}]
    for step, state in enumerate(states):
        head = await put(saver, head, {"x": state}, step=step)
        assert await values(await open_saver(), at("t")) == {"x": state}
        assert type((await values(saver, at("t")))["x"]) is type(state)


async def test_both_branches_of_a_fork_share_items_and_stay_right(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    saver, other = await open_saver(), await open_saver()
    trunk = [item(f"trunk {n}") for n in range(3)]
    root = await put(saver, at("t"), {"items": trunk})
    left = await put(saver, root, {"items": [*trunk, item("left")]}, step=1)
    left = await put(saver, left, {"items": [*trunk, item("left"), item("left 2")]}, step=2)

    assert await other.aget_tuple(root) is not None
    right = await put(other, root, {"items": [*trunk, item("right")]}, step=1)
    right = await put(other, right, {"items": [*trunk, item("right"), item("right 2")]}, step=2)
    assert await saver.aget_tuple(left) is not None
    left = await put(saver, left, {"items": [*trunk, item("left"), item("left 2"), item("left 3")]}, step=3)

    reader = await open_saver()
    for config, names in ((root, []), (left, ["left", "left 2", "left 3"]), (right, ["right", "right 2"])):
        restored = (await values(reader, config))["items"]
        assert [entry["content"][len(LONG) :] for entry in restored] == ["trunk 0", "trunk 1", "trunk 2", *names]
    assert (await counts(database.url, "t"))["checkpoint_blobs"] == 8
    assert await broken_or_left_over(database.url) == []


async def test_saving_a_checkpoint_twice_changes_nothing(open_saver: OpenSaver, database: DatabaseSettings) -> None:
    saver = await open_saver()
    root = await put(saver, at("t"), {"items": [item("0")]})
    found = await saver.aget_tuple(root)
    assert found is not None
    checkpoint = {**found.checkpoint, "id": "1f000000-0000-6000-8000-000000000001"}
    checkpoint["channel_values"] = {"items": [item("0"), item("1")]}

    for _ in range(3):
        config = await saver.aput(root, checkpoint, found.metadata, {"items": 2})

    assert (await counts(database.url, "t"))["checkpoints"] == 2
    assert await values(await open_saver(), config) == {"items": [item("0"), item("1")]}
    await put(saver, config, {"items": [item("0"), item("1"), item("2")]}, step=2)
    assert len((await values(await open_saver(), at("t")))["items"]) == 3


async def test_what_is_forgotten_between_steps_is_read_again(open_saver: OpenSaver, database: DatabaseSettings) -> None:
    saver = await open_saver()
    saver._known = KnownCheckpoints(max_weight=1)
    heads = {name: at(name) for name in "abc"}
    texts = {name: [random_text(1000) for _ in range(40)] for name in heads}
    for step in range(40):
        for name, written in texts.items():
            state = {"items": [{"content": text} for text in written[: step + 1]]}
            heads[name] = await put(saver, heads[name], state, step=step)

    assert await stored_bytes(database.url) < 2 * 3 * 40 * 1000
    reader = await open_saver()
    for name, written in texts.items():
        assert [entry["content"] for entry in (await values(reader, at(name)))["items"]] == written


async def test_a_value_that_no_node_changed_is_not_stored_again(
    open_saver: OpenSaver, database: DatabaseSettings
) -> None:
    saver = await open_saver()
    state = {"document": random_text(10_000), "counter": 0}
    head = await put(saver, at("t"), state)
    for step in range(1, 20):
        found = await saver.aget_tuple(head)
        assert found is not None
        checkpoint = {**found.checkpoint, "id": f"1f000000-0000-6000-8000-{step:012}"}
        checkpoint["channel_values"] = {**state, "counter": step}
        checkpoint["channel_versions"] = {"document": 1, "counter": step + 1}
        head = await saver.aput(head, checkpoint, found.metadata, {"counter": step + 1})

    assert await stored_bytes(database.url) < 25_000
    assert id_of(head).endswith("19")
    assert await values(await open_saver(), at("t")) == {**state, "counter": 19}
