"""The stream of a run, as the SDKs read it: every mode, their names and their order."""

import asyncio
import time
from typing import Any
from uuid import UUID

import orjson
import pytest
from agent_server_api import Server, parts_of, some_id
from agent_server_gates import has_arrived
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError
from langgraph_sdk.sse import SSEDecoder

from outlast.streams.records import HEARTBEAT
from waiting import until

MESSAGE = {"messages": [{"role": "user", "content": "hi", "id": "h1"}]}


def names(parts: list[Any]) -> list[str]:
    return [part.event for part in parts]


def data_of(parts: list[Any], event: str) -> list[Any]:
    return [part.data for part in parts if part.event == event]


async def test_a_run_is_streamed_from_its_name_to_its_end(client: Any, thread_id: str) -> None:
    created: list[Any] = []
    parts = await parts_of(client.runs.stream(thread_id, "agent", input=MESSAGE, on_run_created=created.append))

    run_id = created[0]["run_id"]
    assert created[0]["thread_id"] == thread_id
    assert names(parts) == ["metadata", "values", "values", "end"]
    assert parts[0].data == {"run_id": run_id, "attempt": 1}
    assert [len(state["messages"]) for state in data_of(parts, "values")] == [1, 2]
    assert data_of(parts, "values")[-1]["messages"][-1]["content"] == "1: hi"
    assert parts[-1].data == {"run_id": run_id, "status": "success"}
    positions = [int(part.id) for part in parts]
    assert positions == sorted(set(positions))


async def test_a_stateless_run_is_streamed_and_can_be_found(client: Any, server: Server) -> None:
    created: list[Any] = []
    parts = await parts_of(client.runs.stream(None, "agent", input=MESSAGE, on_run_created=created.append))

    assert names(parts) == ["metadata", "values", "values", "end"]
    run = await server.sdk.runs.get(created[0]["thread_id"], created[0]["run_id"])
    assert run["status"] == "success"


async def test_several_modes_at_once_keep_their_order(client: Any, thread_id: str) -> None:
    parts = await parts_of(
        client.runs.stream(thread_id, "steps", input={"log": []}, stream_mode=["updates", "values", "tasks"])
    )

    updates = data_of(parts, "updates")
    assert updates == [{"one": {"log": ["one"]}}, {"two": {"log": ["two"]}}, {"three": {"log": ["three"]}}]
    assert data_of(parts, "values")[-1]["log"] == ["one", "two", "three"]
    starts = [task["name"] for task in data_of(parts, "tasks") if "input" in task]
    results = [task["result"] for task in data_of(parts, "tasks") if "result" in task]
    assert starts == ["one", "two", "three"]
    assert results == [{"log": ["one"]}, {"log": ["two"]}, {"log": ["three"]}]


async def test_tokens_as_pieces(client: Any, thread_id: str) -> None:
    parts = await parts_of(client.runs.stream(thread_id, "tokens", input={}, stream_mode=["messages-tuple", "custom"]))

    pieces = data_of(parts, "messages")
    assert "".join(message["content"] for message, _ in pieces) == "Hello big world"
    assert {message["type"] for message, _ in pieces} == {"AIMessageChunk"}
    assert len({message["id"] for message, _ in pieces}) == 1
    assert all(metadata["langgraph_node"] == "say" for _, metadata in pieces)
    assert data_of(parts, "custom") == [{"said": "soon"}]
    assert names(parts).index("custom") < names(parts).index("messages")


async def test_tokens_as_messages_that_grow(client: Any, thread_id: str) -> None:
    parts = await parts_of(client.runs.stream(thread_id, "tokens", input={}, stream_mode="messages"))

    assert names(parts)[:3] == ["metadata", "messages/metadata", "messages/partial"]
    (described,) = data_of(parts, "messages/metadata")
    ((message_id, about),) = described.items()
    assert about["metadata"]["langgraph_node"] == "say"
    grown = [message for (message,) in data_of(parts, "messages/partial")]
    assert [message["content"] for message in grown] == ["Hello", "Hello ", "Hello big", "Hello big "]
    ((complete,),) = data_of(parts, "messages/complete")
    assert (complete["content"], complete["type"], complete["id"]) == ("Hello big world", "ai", message_id)
    assert {message["type"] for message in grown} == {"ai"}


async def test_whole_messages_are_complete_at_once(client: Any, thread_id: str) -> None:
    parts = await parts_of(client.runs.stream(thread_id, "agent", input=MESSAGE, stream_mode="messages"))

    ((complete,),) = data_of(parts, "messages/complete")
    assert complete["content"] == "1: hi"
    assert "messages/partial" not in names(parts)


async def test_checkpoints_and_debug_tell_where_and_nothing_secret(client: Any, thread_id: str) -> None:
    parts = await parts_of(
        client.runs.stream(
            thread_id, "steps", input={"log": []}, stream_mode=["checkpoints", "debug"],
            config={"configurable": {"owner": "hunter2"}},
        )
    )  # fmt: skip

    checkpoints = data_of(parts, "checkpoints")
    assert checkpoints[-1]["values"]["log"] == ["one", "two", "three"]
    assert checkpoints[-1]["config"]["configurable"]["thread_id"] == thread_id
    assert UUID(checkpoints[-1]["config"]["configurable"]["checkpoint_id"])
    assert {event["type"] for event in data_of(parts, "debug")} == {"checkpoint", "task", "task_result"}
    assert "hunter2" not in str([part.data for part in parts])


async def test_events_of_langchain(client: Any, thread_id: str) -> None:
    parts = await parts_of(client.runs.stream(thread_id, "tokens", input={}, stream_mode=["events", "values"]))

    kinds = [event["event"] for event in data_of(parts, "events")]
    assert "on_chat_model_stream" in kinds
    assert data_of(parts, "values")[-1]["messages"][-1]["content"] == "Hello big world"


async def test_subgraphs_name_themselves(client: Any, thread_id: str) -> None:
    quiet = await parts_of(client.runs.stream(thread_id, "nested", input={"log": []}, stream_mode="updates"))
    parts = await parts_of(
        client.runs.stream(thread_id, "nested", input={"log": []}, stream_mode="updates", stream_subgraphs=True)
    )

    assert {name for name in names(quiet) if name.startswith("updates")} == {"updates"}
    (inside,) = [part for part in parts if part.event.startswith("updates|")]
    assert inside.event.startswith("updates|sub:")
    assert inside.data == {"inside": {"log": ["inside"]}}


async def test_only_the_graphs_that_are_asked_for(server: Server, thread_id: str) -> None:
    body = {"assistant_id": "nested", "input": {"log": []}, "stream_mode": "updates", "stream_subgraphs": True}
    response = await server.http.post(f"/threads/{thread_id}/runs/stream?namespace=", json=body)

    events = [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event")]
    assert events == ["metadata", "updates", "updates", "end"]
    assert response.headers["location"].endswith("/stream?namespace="), "who comes back has to send it again"


async def test_a_question_ends_the_stream_with_its_text(client: Any, thread_id: str) -> None:
    parts = await parts_of(client.runs.stream(thread_id, "ask", input={"log": []}, stream_mode=["values", "updates"]))

    asked = data_of(parts, "values")[-1]["__interrupt__"]
    assert asked[0]["value"]["question"] == "which one?"
    assert data_of(parts, "updates")[-1] == {"__interrupt__": asked}
    assert parts[-1].data["status"] == "interrupted"

    answered = await parts_of(client.runs.stream(thread_id, "ask", command={"resume": "this one"}))
    assert data_of(answered, "values")[-1]["answers"] == ["this one"]
    assert answered[-1].data["status"] == "success"


async def test_a_failure_is_an_event_and_the_end(client: Any, server: Server, thread_id: str) -> None:
    parts = await parts_of(client.runs.stream(thread_id, "broken", input={"log": []}))

    assert names(parts)[-2:] == ["error", "end"]
    assert parts[-2].data == {"error": "ValueError", "message": "boom"}
    assert parts[-1].data["status"] == "error"


async def test_another_attempt_says_so(server: Server, thread_id: str) -> None:
    """What a client has gathered of an attempt is of no worth any more."""
    parts = await parts_of(server.sdk.runs.stream(thread_id, "broken", input={"log": []}))

    attempts = [part.data["attempt"] for part in parts if part.event == "metadata"]
    assert attempts == [1, 2]


async def test_a_cancelled_run_ends_its_stream(server: Server, thread_id: str) -> None:
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"log": [], "at": door}, stream_resumable=True)
    stream = asyncio.create_task(parts_of(server.sdk.runs.join_stream(thread_id, run["run_id"], last_event_id="-1")))
    await until(lambda: has_arrived(door))
    await server.sdk.runs.cancel(thread_id, run["run_id"])

    parts = await stream
    assert parts[-1].data == {"run_id": run["run_id"], "status": "interrupted"}
    assert data_of(parts, "values")[-1]["log"] == ["begun"]


async def test_a_rolled_back_run_ends_its_stream(server: Server, thread_id: str) -> None:
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"log": [], "at": door}, stream_resumable=True)
    stream = asyncio.create_task(parts_of(server.sdk.runs.join_stream(thread_id, run["run_id"], last_event_id="-1")))
    await until(lambda: has_arrived(door))
    await server.sdk.runs.cancel(thread_id, run["run_id"], action="rollback")

    assert (await stream)[-1].event == "end"


async def test_feedback_keys_are_answered_with_addresses(server: Server, thread_id: str) -> None:
    parts = await parts_of(server.sdk.runs.stream(thread_id, "agent", input=MESSAGE, feedback_keys=["liked", "a b"]))

    (links,) = data_of(parts, "feedback")
    assert set(links) == {"liked", "a b"}
    response = await server.http.post(links["liked"], json={"score": 1})
    assert response.status_code == 204
    assert names(parts)[1] == "feedback"


async def test_the_bytes_on_the_wire(server: Server, thread_id: str) -> None:
    """Whatever the SDK's decoder forgives: one line of data, the position behind it, an empty line."""
    body = {"assistant_id": "agent", "input": {"messages": [{"role": "user", "content": "a\nb\u2028c"}]}}
    async with server.http.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as response:
        raw = await response.aread()

    assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["x-accel-buffering"] == "no"
    run = response.headers["content-location"]
    assert run.startswith(f"/threads/{thread_id}/runs/")
    assert response.headers["location"] == f"{run}/stream"
    frames = raw.split(b"\r\n\r\n")
    assert frames.pop() == b""
    for frame in frames:
        lines = frame.split(b"\r\n")
        assert [line.partition(b": ")[0] for line in lines] == [b"event", b"data", b"id"]
        orjson.loads(lines[1].removeprefix(b"data: "))
    decoder = SSEDecoder()
    decoded = [decoder.decode(line) for line in raw.replace(b"\r\n", b"\n").split(b"\n")]
    assert [part.event for part in decoded if part] == ["metadata", "values", "values", "end"]


async def test_silence_is_broken_by_comments(server: Server, thread_id: str) -> None:
    body = {"assistant_id": "hold", "input": {"log": [], "at": some_id()}, "on_disconnect": "cancel"}
    async with server.http.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as response:
        last = time.monotonic()
        async for line in response.aiter_lines():
            if line.startswith("data: "):
                last = time.monotonic()
            if line.startswith(":"):
                assert line == ": heartbeat"
                break
    assert time.monotonic() - last > HEARTBEAT.total_seconds() - 0.5


@pytest.mark.parametrize("mode", ["tools", "lifecycle"])
async def test_modes_of_other_streams_are_refused(client: Any, thread_id: str, mode: str) -> None:
    with pytest.raises(UnprocessableEntityError) as refused:
        await parts_of(client.runs.stream(thread_id, "agent", input=MESSAGE, stream_mode=mode))
    assert "stream_mode" in str(refused.value.body)


async def test_nobody_streams_what_is_not_there(client: Any, thread_id: str) -> None:
    with pytest.raises(NotFoundError):
        await parts_of(client.runs.join_stream(thread_id, some_id()))
    with pytest.raises(NotFoundError):
        await parts_of(client.runs.stream(some_id(), "agent", input=MESSAGE))
    with pytest.raises(NotFoundError):
        await parts_of(client.runs.stream(thread_id, "no such agent", input=MESSAGE))


async def test_a_run_of_another_thread_is_not_there(server: Server, thread_id: str) -> None:
    run = await server.sdk.runs.create(thread_id, "agent", input=MESSAGE)
    other = await server.sdk.threads.create()
    with pytest.raises(NotFoundError):
        await parts_of(server.sdk.runs.join_stream(other["thread_id"], run["run_id"]))


@pytest.mark.parametrize("mode", ["no such mode", "tools", "[1", '["values", "nope"]'])
async def test_a_filter_of_modes_that_do_not_exist(server: Server, thread_id: str, mode: str) -> None:
    run = await server.sdk.runs.create(thread_id, "agent", input=MESSAGE)
    response = await server.http.get(f"/threads/{thread_id}/runs/{run['run_id']}/stream", params={"stream_mode": mode})
    assert (response.status_code, response.json()["field"]) == (422, "stream_mode")


async def test_a_known_idempotency_key_streams_its_first_run(server: Server, thread_id: str) -> None:
    headers = {"Idempotency-Key": some_id()}
    body = {"assistant_id": "agent", "input": MESSAGE}
    first = await server.http.post(f"/threads/{thread_id}/runs/stream", json=body, headers=headers)
    second = await server.http.post(f"/threads/{thread_id}/runs/stream", json=body, headers=headers)

    assert second.headers["content-location"] == first.headers["content-location"]
    assert second.text == first.text
