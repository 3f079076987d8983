"""Each try is metered by the provider's own count, in one piece or streamed, answered or not."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.language_models import FakeListChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_openai import ChatOpenAI

from outlast import telemetry
from outlast.calls.call import Answer, ModelCall, Target, Usage
from outlast.calls.chain import composed
from outlast.calls.deadline import Deadline
from outlast.calls.metering import metered
from outlast.calls.services import Calls
from outlast.settings import CallSettings, PriceSettings
from outlast.testing.providers import ProviderServer, Reply, TokenUsage, faults
from waiting import until

USED = TokenUsage(
    input_tokens=1000, output_tokens=100, cache_read_tokens=600, cache_write_tokens=0, reasoning_tokens=40
)
#: US dollars per million tokens: plain input, cached input, output.
OPENAI = (400 * 2.5, 600 * 1.25, 100 * 10)
ANTHROPIC = (400 * 3, 600 * 0.3, 100 * 15)
Model = Callable[..., Target]


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture
def gpt(provider: ProviderServer) -> Model:
    def target(model: str = "gpt-4o") -> Target:
        chat = ChatOpenAI(model=model, base_url=provider.openai_url, api_key="test", max_retries=0, stream_usage=True)
        return Target(provider="openai", model=model, key="", chat=chat)

    return target


@pytest.fixture
def claude(provider: ProviderServer) -> Model:
    def target(model: str = "claude-sonnet-4-6") -> Target:
        chat = ChatAnthropic(model=model, base_url=provider.anthropic_url, api_key="test", max_retries=0)
        return Target(provider="anthropic", model=model, key="", chat=chat)

    return target


async def ignore(_chunk: Any) -> None:
    """Listen, which makes a call stream."""


async def asked(target: Target, *, stream: bool = False, fails: bool = False, **settings: Any) -> list[Usage]:
    """What one try has cost."""
    calls = Calls(settings=CallSettings(**settings))
    call = ModelCall(
        messages=[HumanMessage("hi")], targets=(target,), deadline=Deadline.after(30), calls=calls,
        listen=ignore if stream else None,
    )  # fmt: skip
    with pytest.raises(Exception) if fails else nullcontext():  # noqa: PT011 - whatever the SDK raises
        await composed(calls, [metered])(call)
    assert call.listen is (ignore if stream else None), "what listens is the caller's again"
    return call.spent


@pytest.mark.parametrize("stream", [False, True])
async def test_openai(provider, gpt, stream):
    provider.script([Reply("hello", usage=USED)])
    [usage] = await asked(gpt(), stream=stream)
    assert (usage.provider, usage.model, usage.outcome) == ("openai", "gpt-4o", "answered")
    assert (usage.input_tokens, usage.output_tokens) == (1000, 100)
    assert (usage.cache_read_tokens, usage.reasoning_tokens) == (600, 40)
    assert usage.cost_micros == sum(OPENAI)
    assert 0 < usage.seconds < 30


@pytest.mark.parametrize("stream", [False, True])
async def test_anthropic(provider, claude, stream):
    provider.script([Reply("hello", usage=USED)])
    [usage] = await asked(claude(), stream=stream)
    # LangChain adds what Anthropic counts apart: what was read from its cache is part of the input.
    assert (usage.input_tokens, usage.output_tokens, usage.cache_read_tokens) == (1000, 100, 600)
    assert usage.cost_micros == sum(ANTHROPIC)


async def test_what_anthropics_cache_takes_in_costs_more(provider, claude):
    provider.script([Reply("hello", usage=TokenUsage(input_tokens=1000, output_tokens=0, cache_write_tokens=1000))])
    [usage] = await asked(claude())
    assert (usage.cache_write_tokens, usage.cost_micros) == (1000, 3750)


@pytest.mark.parametrize("fault", [faults.status(500), faults.rate_limited(), faults.reset(), faults.bad_request()])
async def test_a_try_that_was_refused_costs_nothing(provider, gpt, fault):
    provider.fail(fault, times=1)
    [usage] = await asked(gpt(), fails=True)
    assert (usage.outcome, usage.input_tokens, usage.output_tokens, usage.cost_micros) == ("failed", 0, 0, 0)


async def test_a_stream_that_breaks_costs_nobody_knows_what(provider, gpt, claude):
    for target in (gpt(), claude()):
        provider.script([Reply("a long answer", usage=USED, chunk_characters=2)])
        provider.fail(faults.reset_midway(), times=1)
        [usage] = await asked(target, stream=True, fails=True)
        assert (usage.outcome, usage.input_tokens, usage.cost_micros) == ("failed", 0, None)


async def test_a_stream_that_breaks_costs_what_it_had_reported():
    counted = AIMessageChunk("half", usage_metadata={"input_tokens": 8, "output_tokens": 1, "total_tokens": 9})

    async def broken(call: ModelCall) -> Answer:
        for message in (AIMessageChunk("first"), counted):
            await call.listen(ChatGenerationChunk(message=message))
        raise ConnectionError

    calls = Calls(settings=CallSettings())
    target = Target(provider="openai", model="gpt-4o", key="", chat=FakeListChatModel(responses=[]))
    call = ModelCall(messages=[], targets=(target,), deadline=Deadline.after(30), calls=calls, listen=ignore)
    with pytest.raises(ConnectionError):
        await metered(calls)(broken)(call)
    assert [(usage.outcome, usage.input_tokens, usage.cost_micros) for usage in call.spent] == [("failed", 8, 30)]


async def test_a_cancelled_try_is_metered(provider, gpt):
    provider.fail(faults.hold(), times=1)
    calls = Calls(settings=CallSettings())
    call = ModelCall(messages=[HumanMessage("hi")], targets=(gpt(),), deadline=Deadline.after(30), calls=calls)
    task = asyncio.ensure_future(composed(calls, [metered])(call))

    async def is_asked() -> bool:
        return bool(provider.requests)

    await until(is_asked)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    # The provider goes on, and bills it.
    assert [(usage.outcome, usage.cost_micros) for usage in call.spent] == [("failed", None)]


async def test_a_try_that_was_given_up_costs_nobody_knows_what(provider, gpt):
    provider.fail(faults.hold(), times=1)
    [usage] = await asked(gpt(), fails=True, try_timeout=timedelta(milliseconds=300))
    assert (usage.outcome, usage.cost_micros) == ("failed", None)


@pytest.fixture
def unpriced() -> Any:
    told: list[Any] = []
    leave = telemetry.subscribe(lambda point, fields: told.append(fields) if point == "call.unpriced" else None)
    yield told
    leave()


async def test_a_model_without_a_price_is_unpriced_and_never_free(provider, gpt, unpriced):
    provider.script([Reply("hello", usage=USED)])
    [usage] = await asked(gpt("my-own"))
    assert (usage.input_tokens, usage.cost_micros) == (1000, None)
    assert [(told["model"], told["first"]) for told in unpriced] == [("openai:my-own", True)]


async def test_each_unpriced_call_is_told_and_one_of_a_model_is_the_first(provider, gpt, unpriced):
    calls = Calls(settings=CallSettings())
    answer = composed(calls, [metered])
    for model in ("my-own", "my-own", "another"):
        await answer(
            ModelCall(messages=[HumanMessage("hi")], targets=(gpt(model),), deadline=Deadline.after(30), calls=calls)
        )
    assert [told["first"] for told in unpriced] == [True, False, True]


async def test_the_projects_price_prices_it(provider, gpt, unpriced):
    provider.script([Reply("hello", usage=USED)])
    [usage] = await asked(gpt("my-own"), prices={"openai:my-own": PriceSettings(input=1, output=2, cache_read=0)})
    assert usage.cost_micros == 400 + 200
    assert unpriced == []


def said(message: AIMessage, **llm_output: Any) -> Any:
    async def handler(_call: ModelCall) -> Answer:
        result = ChatResult(generations=[ChatGeneration(message=message)], llm_output=llm_output)
        return Answer(result=result, model="openai:gpt-4o")

    return handler


async def metered_answer(message: AIMessage, **llm_output: Any) -> Usage:
    calls = Calls(settings=CallSettings())
    target = Target(provider="openai", model="gpt-4o", key="", chat=FakeListChatModel(responses=[]))
    call = ModelCall(messages=[], targets=(target,), deadline=Deadline.after(30), calls=calls)
    await metered(calls)(said(message, **llm_output))(call)
    [usage] = call.spent
    return usage


async def test_an_integration_that_fills_no_usage_is_read_where_it_puts_its_counts():
    for usage in (
        await metered_answer(
            AIMessage("x", response_metadata={"token_usage": {"prompt_tokens": 8, "completion_tokens": 1}})
        ),
        await metered_answer(AIMessage("x", response_metadata={"usage": {"input_tokens": 8, "output_tokens": 1}})),
        await metered_answer(AIMessage("x"), token_usage={"prompt_tokens": 8, "completion_tokens": 1}),
    ):
        assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (8, 1, 30)


async def test_an_answer_without_any_count_is_unpriced(unpriced):
    usage = await metered_answer(AIMessage("x"))
    assert (usage.input_tokens, usage.cost_micros) == (0, None)
    assert len(unpriced) == 1


@pytest.mark.parametrize("wrong", [-5, 10**30])
async def test_a_count_that_cannot_be_is_none(wrong):
    usage = await metered_answer(
        AIMessage("x", usage_metadata={"input_tokens": wrong, "output_tokens": 10, "total_tokens": 0})
    )
    assert (usage.input_tokens, usage.output_tokens, usage.cost_micros) == (0, 10, 100)


async def test_what_is_kept_for_an_hour_is_dearer_than_what_is_kept_for_minutes():
    costs: list[int | None] = []
    for age in ("5m", "1h"):
        details: Any = {f"ephemeral_{age}_input_tokens": 1000, "cache_creation": 0}
        message = AIMessage(
            "x",
            usage_metadata={
                "input_tokens": 1000, "output_tokens": 0, "total_tokens": 1000, "input_token_details": details
            },
        )  # fmt: skip
        calls = Calls(settings=CallSettings())
        target = Target(provider="anthropic", model="claude-sonnet-4-6", key="", chat=FakeListChatModel(responses=[]))
        call = ModelCall(messages=[], targets=(target,), deadline=Deadline.after(30), calls=calls)
        await metered(calls)(said(message))(call)
        assert call.spent[0].cache_write_tokens == 1000
        costs.append(call.spent[0].cost_micros)
    assert costs == [3750, 6000]
