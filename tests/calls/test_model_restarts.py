"""A stream that breaks off begins anew, and nobody ends up with the first half twice."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import AIMessage, AIMessageChunk, message_chunk_to_message
from langchain_core.outputs import ChatGenerationChunk
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from model_twins import WIRES, City, ours, weather

import outlast
from outlast.agents.jsonable import encoded
from outlast.agents.messages_v1 import MessageAccumulator
from outlast.agents.protocol_messages import MessageEvents
from outlast.calls import restarts, services
from outlast.telemetry import subscribe
from outlast.testing.providers import ProviderServer, Reply, ToolCall, faults

TEXT = "It is sunny in Rome today."


@pytest.fixture(autouse=True)
async def _retries_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process that fails all the time is kept from, and what is the matter of other tests."""
    monkeypatch.setenv("OUTLAST_CALLS__RETRY__ALLOWANCE", "100000")
    monkeypatch.setenv("OUTLAST_CALLS__RETRY__BASE", "PT0.01S")
    services._local.clear()


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=["early_end", "reset_midway", "cut_midway"])
def broken(request: pytest.FixtureRequest, provider: ProviderServer) -> ProviderServer:
    """A provider whose first stream breaks off in the middle."""
    provider.script(lambda _: Reply(TEXT))
    provider.fail(getattr(faults, request.param)(), times=1)
    return provider


async def test_chunks_that_are_added_up_are_the_last_try_alone(broken: ProviderServer, wire: str) -> None:
    chunks = [chunk async for chunk in ours(broken, wire).astream("x")]

    total: Any = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert total.text == TEXT
    assert isinstance(message_chunk_to_message(total), AIMessage)
    assert not isinstance(message_chunk_to_message(total), AIMessageChunk)
    assert "".join(chunk.text for chunk in chunks) != TEXT, "the first half was streamed, too"


async def test_a_restart_says_which_try_it_is_and_what_it_replaces(broken: ProviderServer, wire: str) -> None:
    chunks = [chunk async for chunk in ours(broken, wire).astream("x")]

    [mark] = [chunk.response_metadata["outlast"] for chunk in chunks if "outlast" in chunk.response_metadata]
    assert mark == {
        "restart": True, "attempt": 2, "replaces": chunks[0].id,
        "model": "anthropic:claude-sonnet-4-6" if wire == "anthropic" else "openai:gpt-4o",
    }  # fmt: skip


async def test_a_restart_is_an_event(broken: ProviderServer, wire: str) -> None:
    events: list[dict[str, Any]] = []
    unsubscribe = subscribe(lambda point, fields: events.append(fields) if point == "call.restarted" else None)

    assert [chunk async for chunk in ours(broken, wire).astream("x")]

    unsubscribe()
    assert [event["attempt"] for event in events] == [2]


async def test_the_message_of_a_watched_invoke_is_the_last_try_alone(broken: ProviderServer, wire: str) -> None:
    class Watching(AsyncCallbackHandler, _StreamingCallbackHandler):
        def __init__(self) -> None:
            self.tokens: list[str] = []
            self.ended: list[Any] = []

        async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
            self.tokens.append(chunk.message.text)

        async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            self.ended.append(response.generations[0][0].message)

        def tap_output_aiter(self, run_id: Any, output: Any) -> Any:
            return output

        def tap_output_iter(self, run_id: Any, output: Any) -> Any:
            return output

    watching = Watching()
    answer = await ours(broken, wire).ainvoke("x", {"callbacks": [watching]})

    assert answer.text == TEXT
    assert type(answer) is AIMessage
    assert len("".join(watching.tokens)) > len(TEXT)
    assert watching.ended[-1].text == TEXT


async def test_tracers_of_a_stream_are_told_the_last_try_alone(broken: ProviderServer, wire: str) -> None:
    class Ended(AsyncCallbackHandler):
        def __init__(self) -> None:
            self.texts: list[str] = []

        async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
            self.texts.append(response.generations[0][0].text)

    ended = Ended()
    assert [chunk async for chunk in ours(broken, wire).astream("x", {"callbacks": [ended]})]

    assert ended.texts[-1] == TEXT


async def test_nothing_restarts_where_nothing_was_streamed(provider: ProviderServer, wire: str) -> None:
    provider.script(lambda _: Reply(TEXT))
    provider.fail(faults.status(503), times=1)

    chunks = [chunk async for chunk in ours(provider, wire).astream("x")]

    assert not any(restarts.is_restart(chunk) for chunk in chunks)
    assert "".join(chunk.text for chunk in chunks) == TEXT


async def test_sync_streams_restart_too(broken: ProviderServer, wire: str) -> None:
    chunks = await asyncio.to_thread(lambda: list(ours(broken, wire).stream("x")))

    total: Any = chunks[0]
    for chunk in chunks[1:]:
        total = total + chunk
    assert total.text == TEXT


@pytest.mark.parametrize("asked", ["invoke", "stream"])
async def test_a_tool_call_that_broke_off_is_never_made(provider: ProviderServer, wire: str, asked: str) -> None:
    class Watching(AsyncCallbackHandler, _V2StreamingCallbackHandler):
        def __init__(self) -> None:
            self.events: list[Any] = []

        async def on_stream_event(self, event: Any, **kwargs: Any) -> None:
            self.events.append(event)

    calls = (ToolCall("weather", {"city": "Rome " * 20}), ToolCall("weather", {"city": "Oslo"}))
    provider.script(
        [Reply("Well.", tool_calls=calls)],
    )
    provider.fail(faults.early_end(), times=1)
    watching = Watching()
    model = ours(provider, wire).bind_tools([weather])

    if asked == "invoke":
        answer = await model.ainvoke("x", {"callbacks": [watching]})
        starts = [event for event in watching.events if event["event"] == "message-start"]
        assert len(starts) == 2, "a second start is how the protocol says that a message begins anew"
    else:
        answer = await (await model.astream_events("x", version="v3"))

    assert [call["args"]["city"] for call in answer.tool_calls] == ["Rome " * 20, "Oslo"]
    assert not answer.invalid_tool_calls
    assert answer.text == "Well."


# Of ChatOpenAI itself, which dumps an answer of its SDK that holds the parsed object.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("wire", ["openai", "anthropic"])  # the third one ChatOpenAI cannot read from a stream
async def test_structured_output_is_read_from_the_last_try(provider: ProviderServer, wire: str) -> None:
    provider.script(lambda _: Reply(structured={"name": "Rome", "people": 3}))
    provider.fail(faults.early_end(), times=1)
    model = ours(provider, wire).with_structured_output(City)

    parts = [part async for part in model.astream("x")]

    assert parts[-1] == City(name="Rome", people=3)


async def test_structured_output_of_a_fallback_is_read_as_its_provider_gives_it(provider: ProviderServer) -> None:
    provider.script(lambda _: Reply(structured={"name": "Rome", "people": 3}))
    provider.fail(faults.status(503), wire="openai", times=20)
    model = outlast.chat_model(
        "openai:gpt-4o", base_url=provider.openai_url, api_key="k",
        fallbacks=[ours(provider, "anthropic").models.first.chat],
    )  # fmt: skip

    assert await model.with_structured_output(City).ainvoke("x") == City(name="Rome", people=3)
    parts = [part async for part in model.with_structured_output(City).astream("x")]
    assert parts[-1] == City(name="Rome", people=3)
    assert provider.requests[-1].wire == "anthropic"


async def test_tools_are_told_to_a_fallback_in_its_own_format(provider: ProviderServer) -> None:
    provider.script(lambda _: Reply(tool_calls=(ToolCall("weather", {"city": "Rome"}),)))
    provider.fail(faults.status(503), wire="openai", times=20)
    model = outlast.chat_model(
        "openai:gpt-4o", base_url=provider.openai_url, api_key="k",
        fallbacks=[ours(provider, "anthropic").models.first.chat],
    )  # fmt: skip

    answer = await model.bind_tools([weather], tool_choice="any").ainvoke("x")

    assert answer.tool_calls[0]["args"] == {"city": "Rome"}
    assert answer.response_metadata["outlast"] == {"model": "anthropic:claude-sonnet-4-6"}
    assert provider.requests[-1].body["tools"][0]["input_schema"]["properties"]["city"]


# Adding up, alone.


def chunk(text: str, **mark: Any) -> ChatGenerationChunk:
    return restarts.first(ChatGenerationChunk(message=AIMessageChunk(content=text, id="lc_1")), mark)


def test_a_restart_drops_what_it_is_added_to_however_it_is_added() -> None:
    a, b, again, c = chunk("a"), chunk("b"), chunk("A", restart=True, attempt=2), chunk("c")

    assert (a.message + b.message + again.message + c.message).content == "Ac"
    assert a.__add__([b, again, c]).message.content == "Ac"
    assert (a.message + (again.message + c.message)).content == "Ac"
    assert a.__add__([b, c]).message.content == "abc"


def test_the_accumulating_mode_of_the_server_begins_anew() -> None:
    said = MessageAccumulator()
    pieces = [chunk("Hel"), chunk("Hello", restart=True, attempt=2, replaces="lc_1"), chunk(" world")]

    events = [event for piece in pieces for event in said.feed(encoded([piece.message, {}]))]

    texts = [data for name, data in events if name == "messages/partial"]
    assert b'"Hello world"' in texts[-1]
    assert b"HelHello" not in b"".join(texts)


def test_the_protocol_of_the_server_starts_the_message_a_second_time() -> None:
    said = MessageEvents(thread_id="t")
    pieces = [chunk("Hel"), chunk("Hello", restart=True, attempt=2, replaces="lc_1"), chunk(" world")]
    pieces[-1].message.chunk_position = "last"  # type: ignore[attr-defined]

    events = [event.data for piece in pieces for event in said.of((), piece.message, {})]

    assert [event["event"] for event in events] == [
        "message-start", "content-block-start", "content-block-delta",
        "message-start", "content-block-start", "content-block-delta",
        "content-block-delta", "content-block-finish", "message-finish",
    ]  # fmt: skip
    assert events[-2]["content"]["text"] == "Hello world"
    assert events[3]["metadata"]["attempt"] == 2
