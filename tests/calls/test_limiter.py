"""The layer that keeps rate limits, round real SDKs and a provider with a limit of its own."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from langchain_core.messages import HumanMessage

from asking import ask, openai, question, said
from outlast import telemetry
from outlast.calls.call import Answer
from outlast.calls.limiter import Rates
from outlast.calls.local_rates import LocalRates
from outlast.calls.services import Calls
from outlast.domain.rates import Share
from outlast.errors import ProviderUnavailable
from outlast.settings import CallSettings, DatabaseSettings, RateSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.rate_limits import RateLimitStore
from outlast.testing.providers import ProviderServer, Reply, TokenUsage, faults
from waiting import until


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


def calls_with(rates: Rates | None = None, *, wait: float = 300, **limits: RateSettings) -> Calls:
    named = {name.replace("__", ":").replace("_", "-"): limit for name, limit in limits.items()}
    settings = CallSettings(limits=named, wait=timedelta(seconds=wait))
    return Calls(settings=settings, rates=rates or LocalRates())


def rate(requests: int | None = None, tokens: int | None = None, burst: float = 0.0) -> RateSettings:
    return RateSettings(requests_per_minute=requests, tokens_per_minute=tokens, burst=timedelta(seconds=burst))


@contextmanager
def heard(point: str) -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    stop = telemetry.subscribe(lambda name, fields: events.append(dict(fields)) if name == point else None)
    try:
        yield events
    finally:
        stop()


def is_not_empty(events: list[dict[str, Any]]) -> Callable[[], Awaitable[object]]:
    async def look() -> object:
        return events

    return look


async def share_of(rates: Rates, name: str) -> float:
    """Seconds until the next slot of a limit."""
    return (await rates.take([Share(name=name, seconds=0, burst=0)], patience=1e9)).wait


async def test_processes_together_ask_no_more_often_than_the_limit_allows(
    provider: ProviderServer, database: DatabaseSettings
) -> None:
    # 20 a second.
    async with AsyncExitStack() as stack:
        processes: list[Calls] = []
        for number in range(3):
            pool = Pool(database, application_name=f"process-{number}", size=4)
            await pool.open()
            stack.push_async_callback(pool.close)
            processes.append(calls_with(RateLimitStore(pool), openai=rate(1200)))
        target = openai(provider)
        began = time.time()

        answers = await asyncio.gather(*(ask(processes[number % 3], target, text=str(number)) for number in range(30)))

    assert [said(answer) for answer in answers] == [f"You said: {number}" for number in range(30)]
    arrivals = sorted(request.at for request in provider.requests)
    assert len(arrivals) == 30
    # The n-th may come late, whatever the machine has to do, but never before its slot.
    assert [at - began >= number * 0.05 - 0.01 for number, at in enumerate(arrivals)] == [True] * 30


async def test_a_wait_that_is_too_long_asks_nobody_and_takes_nothing(provider: ProviderServer) -> None:
    rates = LocalRates()
    calls, target = calls_with(rates, wait=0.5, openai=rate(1)), openai(provider)
    await ask(calls, target)

    with pytest.raises(ProviderUnavailable, match="gave up") as failed:
        await ask(calls, target)

    assert failed.value.kind == "limited"
    assert failed.value.retry_after == pytest.approx(60, abs=20)
    assert len(provider.requests) == 1
    assert await share_of(rates, f"openai#{target.key} requests") < 61


async def test_a_model_has_its_provider_s_limit_and_its_own(provider: ProviderServer) -> None:
    calls = calls_with(wait=0.2, openai=rate(6000), openai__gpt_4o=rate(1))
    narrow, wide = openai(provider, "gpt-4o"), openai(provider, "gpt-4o-mini")

    await ask(calls, narrow)
    await ask(calls, wide)
    await ask(calls, wide)

    with pytest.raises(ProviderUnavailable):
        await ask(calls, narrow)
    assert [request.model for request in provider.requests] == ["gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]


async def test_each_key_has_limits_of_its_own(provider: ProviderServer) -> None:
    calls = calls_with(wait=0.2, openai=rate(1))

    await ask(calls, openai(provider, api_key="one"))
    await ask(calls, openai(provider, api_key="two"))

    assert [request.key for request in provider.requests] == ["one", "two"]


async def test_tokens_are_estimated_first_and_settled_by_what_the_provider_counted(provider: ProviderServer) -> None:
    rates = LocalRates()
    calls, target = calls_with(rates, openai=rate(tokens=60)), openai(provider)
    provider.script([Reply("hi", usage=TokenUsage(input_tokens=100, output_tokens=20))])

    await ask(calls, target)

    # A token a second.
    assert await share_of(rates, f"openai#{target.key} tokens") == pytest.approx(120, abs=15)


async def test_a_long_question_waits_longer_than_a_short_one(provider: ProviderServer) -> None:
    rates = LocalRates()
    calls, target = calls_with(rates, openai=rate(tokens=6000)), openai(provider)
    held = provider.fail(faults.hold(), times=1)

    long = {"messages": [HumanMessage("word " * 2000)], "options": {"max_tokens": 10}}
    asking = asyncio.create_task(ask(calls, target, **long))
    await provider.wait_for(len)
    # 10,000 characters are about 2,500 tokens, 100 of them a second.
    assert await share_of(rates, f"openai#{target.key} tokens") == pytest.approx(25, abs=5)

    provider.release(held)
    await asking


async def test_a_refused_try_uses_no_tokens(provider: ProviderServer) -> None:
    rates = LocalRates()
    calls, target = calls_with(rates, openai=rate(tokens=60)), openai(provider)
    provider.fail(faults.bad_request())

    with pytest.raises(Exception, match="refuses"):
        await ask(calls, target)

    assert await share_of(rates, f"openai#{target.key} tokens") == 0


async def test_a_cancelled_call_gives_its_slot_to_the_next(provider: ProviderServer, pool: Pool) -> None:
    rates = RateLimitStore(pool)
    calls, target = calls_with(rates, openai=rate(1)), openai(provider)
    await ask(calls, target)

    with heard("call.limited") as waiting:
        asking = asyncio.create_task(ask(calls, target))
        await until(is_not_empty(waiting))
        asking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asking

    assert await share_of(rates, f"openai#{target.key} requests") < 61


async def test_a_429_pauses_the_calls_of_every_process(provider: ProviderServer, database: DatabaseSettings) -> None:
    provider.fail(faults.rate_limited(retry_after=1), times=1)
    async with AsyncExitStack() as stack:
        processes: list[Calls] = []
        for number in range(2):
            pool = Pool(database, application_name=f"process-{number}")
            await pool.open()
            stack.push_async_callback(pool.close)
            processes.append(calls_with(RateLimitStore(pool), openai=rate(60_000)))
        target = openai(provider)
        with heard("call.try_failed") as failed:
            first = asyncio.create_task(ask(processes[0], target, text="first"))
            await until(is_not_empty(failed))
            second = await ask(processes[1], target, text="second")
            await first

    assert said(second) == "You said: second"
    times = [request.at for request in provider.requests]
    assert times[1] - times[0] >= 0.99
    assert provider.requests[0].outcome != "answered"


async def test_without_limits_a_429_holds_back_the_other_calls_of_the_process(provider: ProviderServer) -> None:
    provider.fail(faults.rate_limited(retry_after=1), times=1)
    calls, target = calls_with(), openai(provider)
    with heard("call.try_failed") as failed:
        first = asyncio.create_task(ask(calls, target))
        await until(is_not_empty(failed))
        await ask(calls, target)
        await first

    times = [request.at for request in provider.requests]
    assert min(times[1:]) - times[0] >= 0.99


async def test_without_limits_nothing_is_asked_of_the_database(provider: ProviderServer) -> None:
    class Untouchable:
        def __getattr__(self, name: str) -> Any:
            pytest.fail(f"the layer asked for {name}")

    calls: Any = calls_with(Untouchable(), anthropic=rate(1))  # pyright: ignore[reportArgumentType]

    assert said(await ask(calls, openai(provider))) == "You said: hello"


async def test_a_database_that_is_away_leaves_each_process_its_own_limit(provider: ProviderServer) -> None:
    nowhere = DatabaseSettings(url="postgresql://127.0.0.1:1/none", pool_timeout_seconds=0.2)
    gone = Pool(nowhere, application_name="gone")
    calls, target = calls_with(RateLimitStore(gone), wait=0.3, openai=rate(1)), openai(provider)

    await ask(calls, target)

    with pytest.raises(ProviderUnavailable):
        await ask(calls, target)
    assert len(provider.requests) == 1


async def test_a_call_whose_deadline_ends_before_its_slot_is_refused_at_once(provider: ProviderServer) -> None:
    calls, target = calls_with(openai=rate(1)), openai(provider)
    await ask(calls, target)
    began = asyncio.get_running_loop().time()

    with pytest.raises(ProviderUnavailable):
        await ask(calls, target, seconds=5)

    assert asyncio.get_running_loop().time() - began < 4


async def test_bursts_are_what_the_settings_say(provider: ProviderServer) -> None:
    calls, target = calls_with(wait=0.1, openai=rate(6, burst=30)), openai(provider)

    answers: list[Answer] = [await ask(calls, target, text=str(number)) for number in range(4)]

    assert len(answers) == 4
    with pytest.raises(ProviderUnavailable):
        await calls.answer(question(calls, target))
