"""What a run does, as events of the thread-centred protocol: as LangGraph itself says it, in the order clients need."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage, ToolMessage
from langgraph._internal._constants import CONFIG_KEY_STREAM_MESSAGES_V2
from langgraph.checkpoint.memory import InMemorySaver

from outlast.agents.protocol_v3 import V3_MODES, ProtocolEncoder

AGENTS = Path(__file__).parents[1] / "agent_server"


@pytest.fixture(scope="module")
def agents() -> Any:
    """The graphs of the tests of the API."""
    sys.path.insert(0, str(AGENTS))
    try:
        import protocol_agents
    finally:
        sys.path.remove(str(AGENTS))
    return protocol_agents


def decoded(events: Any) -> list[Any]:
    return [json.loads(event.data) for event in events]


async def parts_of(graph: Any, given: Any, *, native: bool = False) -> list[Any]:
    configurable = {"thread_id": "1", **({CONFIG_KEY_STREAM_MESSAGES_V2: True} if native else {})}
    stream = graph.astream(
        given, {"configurable": configurable}, stream_mode=list(V3_MODES), subgraphs=True, version="v2"
    )
    return [part async for part in stream]


async def messages_of(graph: Any, *, native: bool) -> list[Any]:
    encoder, events = ProtocolEncoder(thread_id="1"), []
    given = {"messages": [HumanMessage("hi", id="h1")], "items": []}
    for part in await parts_of(graph.compile(checkpointer=InMemorySaver()), given, native=native):
        events += decoded(encoder.events(part))
    return [event["params"] for event in events if event["method"] == "messages"]


def comparable(params: Any) -> Any:
    """Without ids, times and the run of the model, which only a model that speaks the protocol itself tells."""
    data = {key: value for key, value in params["data"].items() if key not in ("id", "run_id")}
    if "metadata" in data:
        data["metadata"] = {key: value for key, value in data["metadata"].items() if key != "langgraph_checkpoint_ns"}
        if data["event"] == "message-finish":
            # What the model says of itself is stored otherwise in the other case.
            del data["metadata"]
    return [len(params["namespace"]), params.get("node"), data]


@pytest.mark.parametrize("name", ["helper", "slow"])
async def test_messages_are_told_as_by_langgraphs_own_stream_of_events(agents, name):
    ours = await messages_of(getattr(agents, name), native=False)
    theirs = await messages_of(getattr(agents, name), native=True)

    # Only a model that speaks the protocol by itself names its run.
    assert {"run_id" in item["data"] for item in theirs[:-2]} == {True}
    kept = ("message-start", "content-block-start", "content-block-delta", "content-block-finish")
    for params in (ours, theirs):
        assert {item["data"]["event"] for item in params} == {*kept, "message-finish"}
        assert all(item["data"]["id"] for item in params)
    assert [without_empty(comparable(item)) for item in ours] == [without_empty(comparable(item)) for item in theirs]


def without_empty(item: Any) -> Any:
    ns, node, data = item
    return [ns, node, {key: value for key, value in data.items() if value not in (None, {})}]


def part(mode: str, data: Any, ns: tuple[str, ...] = (), interrupts: Any = ()) -> dict[str, Any]:
    return {"type": mode, "ns": ns, "data": data, "interrupts": interrupts}


def checkpoint(checkpoint_id: str, parent: str | None = None) -> dict[str, Any]:
    return {
        "config": {"configurable": {"checkpoint_id": checkpoint_id, "secret": "x"}},
        "parent_config": parent and {"configurable": {"checkpoint_id": parent}},
        "metadata": {"step": 3, "source": "loop", "secret": "x"},
        "values": {},
    }


def test_a_checkpoint_comes_right_before_its_values_and_says_nothing_else():
    encoder = ProtocolEncoder(thread_id="1")

    first = encoder.events(part("values", {"n": 1}))
    second = decoded(encoder.events(part("checkpoints", checkpoint("b", "a"))))

    assert first == []
    assert [(event["method"], event["params"]["data"]) for event in second] == [
        ("checkpoints", {"id": "b", "parent_id": "a", "step": 3, "source": "loop"}),
        ("values", {"n": 1}),
    ]


def test_values_without_a_checkpoint_are_not_kept_back_for_good():
    encoder = ProtocolEncoder(thread_id="1")
    encoder.events(part("values", {"n": 1}))

    assert [event.mode for event in encoder.events(part("updates", {"a": None}))] == ["v3:values", "v3:updates"]
    encoder.events(part("values", {"n": 2}, ns=("sub:1",)))
    assert [(event.mode, event.ns) for event in encoder.end("completed")] == [("v3:values", "sub:1")]


def test_values_are_those_of_the_moment():
    encoder, state = ProtocolEncoder(thread_id="1"), {"items": ["a"]}
    encoder.events(part("values", state))
    state["items"].append("b")

    assert decoded(encoder.end("completed"))[0]["params"]["data"] == {"items": ["a"]}


@pytest.mark.parametrize(
    ("said", "mode", "data"),
    [
        ("text", "v3:custom", {"payload": "text"}),
        ({"a": 1}, "v3:custom", {"payload": {"a": 1}}),
        ({"name": ""}, "v3:custom", {"payload": {"name": ""}}),
        ({"name": 1}, "v3:custom", {"payload": {"name": 1}}),
        ({"name": "n", "a": 1}, "v3:custom:n", {"payload": {"name": "n", "a": 1}, "name": "n", "a": 1}),
        ({"name": "n", "payload": 2}, "v3:custom:n", {"payload": 2, "name": "n"}),
        (None, "v3:custom", {"payload": None}),
    ],
)
def test_what_a_node_says(said, mode, data):
    (event,) = ProtocolEncoder(thread_id="1").events(part("custom", said))

    assert event.mode == mode
    assert json.loads(event.data)["params"]["data"] == data


def test_updates_are_one_event_for_each_node_and_no_interrupts():
    events = ProtocolEncoder(thread_id="1").events(part("updates", {"a": {"n": 1}, "__interrupt__": (), "b": None}))

    assert [event["params"]["data"] for event in decoded(events)] == [
        {"node": "a", "values": {"n": 1}},
        {"node": "b", "values": {}},
    ]


METADATA = {"langgraph_node": "model", "langgraph_checkpoint_ns": "model:task-1", "api_key": "x", "ls_provider": "p"}


def message(value: Any, **metadata: Any) -> dict[str, Any]:
    return part("messages", (value, {**METADATA, **metadata}))


def told(events: Any) -> list[str]:
    return [event["params"]["data"]["event"] for event in decoded(events)]


def test_metadata_of_a_message_is_what_clients_may_see():
    (start, *_) = decoded(ProtocolEncoder(thread_id="1").events(message(AIMessageChunk("a", id="m"))))

    assert start["params"]["data"]["metadata"] == {
        "langgraph_node": "model", "langgraph_checkpoint_ns": "model:task-1", "provider": "p", "thread_id": "1",
    }  # fmt: skip


def test_two_models_that_speak_at_once_are_told_apart():
    encoder, events = ProtocolEncoder(thread_id="1"), []
    for text in "ab":
        for name in "xy":
            events += decoded(encoder.events(message(AIMessageChunk(f"{name}{text}", id=name), langgraph_node=name)))

    for name in "xy":
        own = [event for event in events if event["params"]["data"]["id"] == name]
        deltas = [event["params"]["data"]["delta"]["text"] for event in own if "delta" in event["params"]["data"]]
        assert deltas == [f"{name}a", f"{name}b"]
        assert {event["params"]["node"] for event in own} == {name}


def test_a_model_that_does_not_say_which_chunk_is_its_last_is_ended_by_its_task():
    encoder = ProtocolEncoder(thread_id="1")
    encoder.events(message(AIMessageChunk("a", id="m")))
    result = {"id": "task-1", "name": "model", "error": None, "result": {}, "interrupts": []}

    events = encoder.events(part("tasks", result))

    assert [event.mode for event in events] == ["v3:messages", "v3:messages", "v3:tasks"]
    assert told(events[:2]) == ["content-block-finish", "message-finish"]
    assert encoder.events(message(AIMessageChunk("late", id="m"))) == []


def test_what_a_failed_task_was_saying_is_an_error():
    encoder = ProtocolEncoder(thread_id="1")
    encoder.events(message(AIMessageChunk("a", id="m")))
    result = {"id": "task-1", "name": "model", "error": ValueError("boom"), "result": {}, "interrupts": []}

    first, second = decoded(encoder.events(part("tasks", result)))

    assert first["params"]["data"] == {"event": "error", "message": "boom", "id": "m"}
    assert second["params"]["data"]["error"] == {"error": "ValueError", "message": "boom"}


def test_whole_messages_are_told_once_and_only_if_there_is_something_to_read():
    encoder = ProtocolEncoder(thread_id="1")

    assert told(encoder.events(message(AIMessage("said", id="m"))))[0] == "message-start"
    assert encoder.events(message(AIMessage("said", id="m"))) == []
    assert encoder.events(message(ToolMessage("result", tool_call_id="c", id="t"))) == []
    call = {"name": "f", "args": {}, "id": "c"}
    assert encoder.events(message(AIMessage("", tool_calls=[call], id="n"))) == []


def test_what_is_open_at_the_end_is_closed():
    encoder = ProtocolEncoder(thread_id="1")
    encoder.events(message(AIMessageChunk("a", id="m")))
    encoder.events(part("tools", {"event": "tool-started", "tool_call_id": "c", "tool_name": "f", "input": {}}))
    encoder.events(part("tasks", {"id": "t", "name": "n", "input": {}, "triggers": []}, ns=("outer:1", "inner:2")))

    events = decoded(encoder.end("cancelled"))

    assert [(event["method"], event["params"]["data"]["event"]) for event in events] == [
        ("messages", "error"), ("tools", "tool-error"), ("lifecycle", "failed"), ("lifecycle", "failed"),
    ]  # fmt: skip
    assert [event["params"]["namespace"] for event in events[2:]] == [["outer:1", "inner:2"], ["outer:1"]]
    assert events[-1]["params"]["data"]["error"] == "the run was cancelled"


def test_a_tool_that_asks_a_person_is_not_over():
    encoder = ProtocolEncoder(thread_id="1")
    encoder.events(part("tools", {"event": "tool-started", "tool_call_id": "c", "tool_name": "f", "input": {}}))

    assert encoder.end("interrupted") == []


def test_a_subgraph_that_a_tool_call_began_says_so():
    encoder = ProtocolEncoder(thread_id="1")
    encoder.events(part("tasks", {"id": "t", "name": "n", "input": {"tool_call": {"id": "c"}}, "triggers": []}))

    started = decoded(
        encoder.events(part("tasks", {"id": "u", "name": "m", "input": {}, "triggers": []}, ns=("sub:t",)))
    )[0]

    assert started["params"]["data"] == {
        "event": "started", "graph_name": "sub", "cause": {"type": "toolCall", "tool_call_id": "c"},
    }  # fmt: skip


def test_answered_questions_are_named_at_the_first_attempt_alone():
    assert decoded(ProtocolEncoder(thread_id="1").begin(attempt=1, answered=["q"]))[0]["params"]["data"] == {
        "interrupt_ids": ["q"]
    }
    assert ProtocolEncoder(thread_id="1").begin(attempt=2, answered=["q"]) == []
    assert ProtocolEncoder(thread_id="1").begin(attempt=1) == []


def test_output_of_a_tool_that_is_no_text_is_told_as_json():
    delta = {"event": "tool-output-delta", "tool_call_id": "c", "delta": {"a": SimpleNamespace()}}

    (event,) = decoded(ProtocolEncoder(thread_id="1").events(part("tools", delta)))

    assert event["params"]["data"]["delta"].startswith('{"a":')
