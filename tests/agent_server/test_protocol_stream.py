"""`client.threads.stream` of the Python SDK: a thread followed over its runs, by SSE and by WebSocket."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_server_api import Server, some_id
from agent_server_gates import has_arrived
from langgraph_sdk import get_sync_client
from protocol_api import INPUT, protocol_served

from outlast.testing.postgres import Databases
from runtimes import Opens
from waiting import until

LIMIT = 10.0


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, tmp_path_factory: Any) -> AsyncIterator[Server]:
    async with protocol_served(databases, open_runtime, tmp_path_factory.mktemp("protocol")) as server:
        yield server


async def within(awaitable: Any) -> Any:
    return await asyncio.wait_for(awaitable, LIMIT)


async def all_of(stream: Any) -> list[Any]:
    async def gathered() -> list[Any]:
        return [item async for item in stream]

    return await within(gathered())


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_a_question_is_asked_and_answered(server, transport):
    async with server.sdk.threads.stream(assistant_id="helper", transport=transport) as thread:
        await thread.run.start(input=INPUT)
        states = await all_of(thread.values)
        assert thread.interrupted
        assert thread.interrupts[0]["value"] == {"question": "go on?"}
        assert states[-1]["items"] == ["begun", "begun", "inside"]

        await thread.run.respond("yes")
        output = await within(thread.output)

    assert output["items"] == ["begun", "begun", "inside", "answered yes"]


@pytest.mark.parametrize("transport", ["sse", "websocket"])
async def test_messages_come_token_by_token_with_their_node(server, transport):
    async with server.sdk.threads.stream(assistant_id="slow", transport=transport) as thread:
        await thread.run.start(input={"items": []})
        messages = await all_of(thread.messages)
        # A message's own stream waits for the outer one, so it is read behind it.
        tokens = await all_of(messages[0].text)

    assert [message.node for message in messages] == ["speak"]
    assert tokens == ["a", " b", " c", " d", " e", " f"]


async def test_a_message_that_calls_a_tool_has_its_call(server):
    async with server.sdk.threads.stream(assistant_id="helper") as thread:
        await thread.run.start(input=INPUT)
        messages = [await within(message.output) for message in await all_of(thread.messages)]

    assert [call["name"] for call in messages[0].tool_calls] == ["search"]
    assert messages[0].tool_calls[0]["args"] == {"q": "v3"}
    assert messages[0].usage_metadata["total_tokens"] == 5


async def test_tool_calls_come_with_input_and_output(server):
    async with server.sdk.threads.stream(assistant_id="helper") as thread:
        await thread.run.start(input=INPUT)
        calls = await all_of(thread.tool_calls)
        outputs = [await within(call.output) for call in calls]

    assert [(call.name, call.input) for call in calls] == [("search", {"q": "v3"})]
    assert (outputs[0]["content"], outputs[0]["status"]) == ("result v3", "success")


async def test_a_graph_inside_of_the_graph_is_a_projection_of_its_own(server):
    async with server.sdk.threads.stream(assistant_id="helper") as thread:
        await thread.run.start(input=INPUT)
        inner = await all_of(thread.subgraphs)
        said = [(await within(message.output)).text for graph in inner for message in await all_of(graph.messages)]

    assert [(graph.graph_name, graph.status) for graph in inner] == [("inner", "completed")]
    assert said == ["from inside"]


async def test_what_nodes_say_by_name_is_a_channel(server):
    async with server.sdk.threads.stream(assistant_id="helper") as thread:
        await thread.run.start(input=INPUT)
        said = await all_of(thread.extensions["progress"])

    assert [event["step"] for event in said] == [1]


async def test_all_projections_at_once(server):
    names = ["values", "messages", "tool_calls", "subgraphs", "updates", "checkpoints", "tasks", "progress"]
    async with server.sdk.threads.stream(assistant_id="helper") as thread:
        await thread.run.start(input=INPUT)
        counts = dict.fromkeys(names, 0)
        for name, _ in await all_of(thread.interleave_projections(names)):
            counts[name] += 1

    assert all(counts.values()), counts
    assert counts["tool_calls"] == counts["subgraphs"] == counts["progress"] == 1


async def test_each_session_of_a_thread_sees_its_own_run(server):
    thread_id, seen = some_id(), []
    for number in range(3):
        async with server.sdk.threads.stream(thread_id=thread_id, assistant_id="slow") as thread:
            await thread.run.start(input={"items": [f"in {number}"]})
            seen.append(len((await within(thread.output))["items"]))

    assert seen == [2, 4, 6]


async def test_a_run_that_is_over_at_once_is_not_missed(server):
    for _ in range(5):
        async with server.sdk.threads.stream(assistant_id="quick") as thread:
            await thread.run.start(input={"items": []})
            assert (await within(thread.output))["items"] == ["quick"]


async def test_a_failure_is_told(server):
    async with server.sdk.threads.stream(assistant_id="broken") as thread:
        await thread.run.start(input={"items": []})
        with pytest.raises(RuntimeError, match="ValueError: boom"):
            await within(thread.output)


async def test_a_cancelled_run_ends_what_follows_it(server):
    door = some_id()
    async with server.sdk.threads.stream(assistant_id="held") as thread:
        run = await thread.run.start(input={"items": [door]})

        async def cancel() -> None:
            await until(lambda: has_arrived(door), LIMIT, "it does not begin")
            await server.sdk.runs.cancel(thread.thread_id, run["run_id"])

        _, states = await asyncio.gather(cancel(), all_of(thread.values))
        with pytest.raises(RuntimeError, match="cancelled"):
            await within(thread.output)

    # The first is what the client itself asked for: the state before the input, or the same.
    seen = [tuple(state["items"]) for state in states if "items" in state]
    assert seen[-1] == (door,)
    assert set(seen) <= {(), (door,)}


async def test_two_questions_of_a_graph_inside_are_answered_one_by_one(server):
    async with server.sdk.threads.stream(assistant_id="two_questions") as thread:
        await thread.run.start(input={"items": []})
        await all_of(thread.values)
        asked = {question["value"]: question for question in thread.interrupts}
        assert set(asked) == {"A?", "B?"}
        assert all(question["namespace"][0].startswith("deep:") for question in asked.values())

        await thread.run.respond("a", interrupt_id=asked["A?"]["interrupt_id"])
        await until(lambda: asks(server, thread.thread_id, ["B?"]), LIMIT, "the other question is not asked again")
        await thread.run.respond("b", interrupt_id=asked["B?"]["interrupt_id"])
        output = await within(thread.output)

    assert sorted(output["items"]) == ["a", "b"]


async def asks(server: Server, thread_id: str, questions: list[str]) -> bool:
    thread = await server.sdk.threads.get(thread_id)
    asked = [question["value"] for task in thread["interrupts"].values() for question in task]
    return thread["status"] == "interrupted" and asked == questions


async def test_the_synchronous_client_does_the_same(server):
    await asyncio.to_thread(_synchronous, server.url)


def _synchronous(url: str) -> None:
    with get_sync_client(url=url, api_key=None) as client:
        for transport in ("sse", "websocket"):
            with client.threads.stream(assistant_id="helper", transport=transport) as thread:
                thread.run.start(input=INPUT)
                states = list(thread.values)
                assert thread.interrupted
                thread.run.respond("yes")
                assert thread.output["items"][-1] == "answered yes"
                assert len(states) > 3
