"""A wrapped model says what the bare one says, and says it to whoever listens in the same way."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_core.tracers._streaming import _StreamingCallbackHandler, _V2StreamingCallbackHandler
from model_twins import WIRES, City, bare, ours, plain, weather

import outlast
from outlast.testing.providers import ProviderServer, Reply, TokenUsage, ToolCall

QUESTION = [SystemMessage("be kind"), HumanMessage("how is the weather in Rome?")]
ANSWERS = {
    "text": Reply("It is sunny in Rome.", usage=TokenUsage(input_tokens=21, output_tokens=6)),
    "tools": Reply(
        "Let me look.", tool_calls=(ToolCall("weather", {"city": "Rome"}), ToolCall("weather", {"city": "Oslo"}))
    ),
}


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(params=ANSWERS)
def pair(request: pytest.FixtureRequest, provider: ProviderServer, wire: str) -> tuple[Any, Any]:
    """The bare model and ours, with tools bound; the provider answers both alike."""
    provider.script(lambda _: ANSWERS[request.param])
    return bare(provider, wire).bind_tools([weather]), ours(provider, wire).bind_tools([weather])


class Heard(AsyncCallbackHandler, _StreamingCallbackHandler):
    """Writes down what callbacks are told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def on_chat_model_start(self, serialized: Any, messages: Any, **kwargs: Any) -> None:
        metadata = {key: value for key, value in kwargs["metadata"].items() if key != "lc_versions"}
        self.told.append(("start", serialized, messages, kwargs["invocation_params"], kwargs["options"], metadata))

    async def on_llm_new_token(self, token: Any, *, chunk: Any = None, **kwargs: Any) -> None:
        self.told.append(("token", token, chunk.message))

    async def on_llm_end(self, response: Any, **kwargs: Any) -> None:
        self.told.append(("end", [[item.message for item in items] for items in response.generations]))

    async def on_llm_error(self, error: BaseException, **kwargs: Any) -> None:
        self.told.append(("error", type(error).__name__))

    def tap_output_aiter(self, run_id: Any, output: Any) -> Any:
        return output

    def tap_output_iter(self, run_id: Any, output: Any) -> Any:
        return output


class HeardQuietly(Heard):
    """Is told of chunks only by models that are asked to stream."""


class HeardEvents(AsyncCallbackHandler, _V2StreamingCallbackHandler):
    """Writes down the events of the streaming protocol."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    async def on_stream_event(self, event: Any, **kwargs: Any) -> None:
        self.told.append(event)


async def test_the_message_is_the_bare_models(pair: tuple[Any, Any]) -> None:
    mine, theirs = [await model.ainvoke(QUESTION) for model in pair]

    assert plain(mine) == plain(theirs)
    assert mine.usage_metadata


async def test_the_chunks_are_the_bare_models(pair: tuple[Any, Any]) -> None:
    theirs, mine = [[chunk async for chunk in model.astream(QUESTION)] for model in pair]

    assert plain(mine) == plain(theirs)
    assert len(mine) > 3, "it does stream"


async def test_sync_callers_get_the_same(pair: tuple[Any, Any]) -> None:
    # In a thread: the provider is on this loop.
    theirs, mine = [plain(await asyncio.to_thread(model.invoke, QUESTION)) for model in pair]
    assert mine == theirs

    theirs, mine = [plain(await asyncio.to_thread(lambda model: list(model.stream(QUESTION)), model)) for model in pair]
    assert mine == theirs


async def test_batches_get_the_same_in_order(provider: ProviderServer, wire: str) -> None:
    models = [bare(provider, wire), ours(provider, wire)]

    theirs, mine = [[answer.text for answer in await model.abatch(["a", "b", "c"])] for model in models]
    assert mine == theirs == ["You said: a", "You said: b", "You said: c"]

    theirs, mine = [
        [answer.text for answer in await asyncio.to_thread(model.batch, ["a", "b", "c"])] for model in models
    ]
    assert mine == theirs == ["You said: a", "You said: b", "You said: c"]


async def test_the_provider_is_asked_the_same(pair: tuple[Any, Any], provider: ProviderServer) -> None:
    for model in pair:
        await model.ainvoke(QUESTION, stop=["END"], temperature=0.5)
        assert [chunk async for chunk in model.astream(QUESTION)]

    bodies = [request.body for request in provider.requests]
    assert bodies[:2] == bodies[2:]
    assert bodies[0]["tools"]


async def test_callbacks_are_told_the_same(pair: tuple[Any, Any]) -> None:
    heard = [Heard(), Heard()]
    for model, handler in zip(pair, heard, strict=True):
        await model.ainvoke(QUESTION, {"callbacks": [handler], "tags": ["t"], "metadata": {"user": 1}})
        assert [chunk async for chunk in model.astream(QUESTION, {"callbacks": [handler]})]

    theirs, mine = [plain(handler.told) for handler in heard]
    assert mine == theirs
    assert [told[0] for told in mine].count("token") > 3
    metadata = mine[0][5]
    assert (metadata["ls_provider"], metadata["ls_model_name"]) in [
        ("openai", "gpt-4o"), ("anthropic", "claude-sonnet-4-6"),
    ]  # fmt: skip


async def test_events_of_version_2_are_the_same(pair: tuple[Any, Any]) -> None:
    theirs, mine = [
        [_without_versions(event) async for event in model.astream_events(QUESTION, version="v2")] for model in pair
    ]

    assert plain(mine) == plain(theirs)
    assert [event["event"] for event in mine].count("on_chat_model_stream") > 3


async def test_events_of_version_3_are_the_same(pair: tuple[Any, Any]) -> None:
    told, messages = [], []
    for model in pair:
        stream = await model.astream_events(QUESTION, version="v3")
        told.append([event async for event in stream])
        messages.append(await stream)

    assert plain(told[1]) == plain(told[0])
    assert plain(messages[1]) == plain(messages[0])


async def test_listeners_to_the_protocol_are_told_the_same(pair: tuple[Any, Any]) -> None:
    heard, messages = [HeardEvents(), HeardEvents()], []
    for model, handler in zip(pair, heard, strict=True):
        messages.append(await model.ainvoke(QUESTION, {"callbacks": [handler]}))

    assert plain(heard[1].told) == plain(heard[0].told)
    assert plain(messages[1]) == plain(messages[0])
    assert heard[1].told[-1]["event"] == "message-finish"


async def test_an_error_reaches_callbacks_and_caller(provider: ProviderServer, wire: str) -> None:
    from outlast.errors import ProviderUnauthorized
    from outlast.testing.providers import faults

    provider.fail(faults.unauthorized())
    handler = Heard()

    with pytest.raises(ProviderUnauthorized):
        await ours(provider, wire).ainvoke("x", {"callbacks": [handler]})

    assert [told[0] for told in handler.told] == ["start", "error"]


# Of ChatOpenAI itself, which dumps an answer of its SDK that holds the parsed object.
@pytest.mark.filterwarnings("ignore:Pydantic serializer warnings")
@pytest.mark.parametrize("include_raw", [False, True])
@pytest.mark.parametrize("schema", [City, City.model_json_schema()], ids=["pydantic", "json-schema"])
async def test_structured_output_is_the_same(
    provider: ProviderServer, wire: str, schema: Any, *, include_raw: bool
) -> None:
    provider.script(lambda _: Reply(structured={"name": "Rome", "people": 3}))
    models = [
        model.with_structured_output(schema, include_raw=include_raw)
        for model in (bare(provider, wire), ours(provider, wire))
    ]

    theirs, mine = [plain(await model.ainvoke(QUESTION)) for model in models]
    assert mine == theirs
    if wire == "openai-responses" and schema is City:
        return  # ChatOpenAI cannot read this one from a stream

    theirs, mine = [plain([part async for part in model.astream(QUESTION)]) for model in models]
    assert mine == theirs

    bodies = [request.body for request in provider.requests]
    assert [bodies[0], bodies[2]] == [bodies[1], bodies[3]]


@pytest.mark.parametrize("method", ["function_calling", "json_schema", "json_mode"])
async def test_each_method_of_structured_output_is_the_integrations_own(provider: ProviderServer, method: str) -> None:
    provider.script(lambda _: Reply(structured={"name": "Rome", "people": 3}))

    for model in (bare(provider, "openai"), ours(provider, "openai")):
        answer = await model.with_structured_output(City, method=method).ainvoke("json, please")
        assert answer == City(name="Rome", people=3)

    assert provider.requests[0].body == provider.requests[1].body


async def test_a_wrapped_model_keeps_what_was_set_on_it(provider: ProviderServer, wire: str) -> None:
    heard = [Heard(), Heard()]
    theirs, wrapped = [
        bare(
            provider, wire, max_tokens=7, tags=["mine"], metadata={"team": "a"}, callbacks=[handler],
            custom_get_token_ids=lambda text: [len(text)],
        )
        for handler in heard
    ]  # fmt: skip
    mine = outlast.wrap(wrapped)

    for model in (theirs, mine):
        await model.ainvoke("x")

    assert plain(heard[1].told) == plain(heard[0].told)
    assert plain(heard[1].told[0])[-1]["team"] == "a"
    assert provider.requests[0].body == provider.requests[1].body
    assert mine.profile == theirs.profile is not None
    assert mine.get_token_ids("four") == [4]


def _without_versions(event: Any) -> Any:
    metadata = {key: value for key, value in event["metadata"].items() if key != "lc_versions"}
    return {**event, "metadata": metadata}
