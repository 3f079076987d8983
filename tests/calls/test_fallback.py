"""Which model is asked next, when, and when none is."""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from langchain_anthropic import ChatAnthropic

from asking import ask, openai, said, target_of
from outlast import telemetry
from outlast.calls.call import Target
from outlast.calls.services import Calls
from outlast.errors import BadAnswer, ProviderRefused, ProviderUnauthorized, ProviderUnavailable
from outlast.settings import BreakerSettings, CallRetrySettings, CallSettings, PriceSettings, RateSettings
from outlast.testing.providers import Fault, ProviderServer, Reply, faults

ONE_TRY = CallRetrySettings(timeout=1, rate_limit=1, network=1, bad_answer=1)


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


def calls_with(*, wait: float = 0.0, **settings: Any) -> Calls:
    return Calls(settings=CallSettings(**{"retry": ONE_TRY, "wait": timedelta(seconds=wait), **settings}))


def anthropic(provider: ProviderServer) -> Target:
    chat = ChatAnthropic(model="claude-haiku-4-5", base_url=provider.anthropic_url, api_key="test", max_retries=0)  # pyright: ignore[reportCallIssue, reportArgumentType]
    return target_of(chat, "claude-haiku-4-5", "anthropic")


@contextmanager
def fell_back() -> Iterator[list[dict[str, Any]]]:
    events: list[dict[str, Any]] = []
    stop = telemetry.subscribe(lambda name, fields: events.append(dict(fields)) if name == "call.fell_back" else None)
    try:
        yield events
    finally:
        stop()


def models(provider: ProviderServer) -> list[str]:
    return [request.model for request in provider.requests]


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (faults.status(503), "network"),
        (faults.reset(), "network"),
        (faults.rate_limited(retry_after=60), "rate_limit"),
        (faults.unauthorized(), "unauthorized"),
        (faults.garbage(), "bad_answer"),
    ],
    ids=["outage", "reset", "limited", "unauthorized", "garbage"],
)
async def test_the_next_model_answers_what_the_first_one_does_not(
    provider: ProviderServer, fault: Fault, kind: str
) -> None:
    provider.fail(fault, model="gpt-4o")

    with fell_back() as events:
        answer = await ask(calls_with(), openai(provider), anthropic(provider))

    assert answer.model == "anthropic:claude-haiku-4-5"
    assert events == [
        {"model": "anthropic:claude-haiku-4-5", "instead_of": "openai:gpt-4o", "kind": kind, "run_id": None}
    ]


@pytest.mark.parametrize("fault", [faults.bad_request(), faults.content_policy()], ids=["bad_request", "policy"])
async def test_a_request_that_is_refused_is_never_taken_to_another_model(
    provider: ProviderServer, fault: Fault
) -> None:
    provider.fail(fault, model="gpt-4o")

    with pytest.raises(ProviderRefused):
        await ask(calls_with(), openai(provider), anthropic(provider))

    assert models(provider) == ["gpt-4o"]


async def test_models_are_asked_in_the_order_of_preference(provider: ProviderServer) -> None:
    provider.fail(faults.status(503))

    with pytest.raises(ProviderUnavailable, match=r"openai:a \(network\), openai:b \(network\), openai:c \(network\)"):
        await ask(calls_with(), *(openai(provider, name) for name in "abc"))

    assert models(provider) == ["a", "b", "c"]


async def test_an_open_breaker_is_passed_by_without_asking(provider: ProviderServer) -> None:
    provider.fail(faults.status(503), model="gpt-4o")
    calls = calls_with(breaker=BreakerSettings(failures=1, open=timedelta(minutes=1), longest=timedelta(minutes=1)))
    first, second = openai(provider), openai(provider, "gpt-4o-mini")

    await ask(calls, first, second)
    answer = await ask(calls, first, second)

    assert answer.model == "openai:gpt-4o-mini"
    assert models(provider) == ["gpt-4o", "gpt-4o-mini", "gpt-4o-mini"]


async def test_a_model_whose_limit_is_used_up_is_passed_by(provider: ProviderServer) -> None:
    calls = calls_with(wait=60, limits={"openai:gpt-4o": RateSettings(requests_per_minute=1, burst=timedelta(0))})
    first, second = openai(provider), openai(provider, "gpt-4o-mini")

    answers = [await ask(calls, first, second) for _ in range(2)]

    assert [answer.model for answer in answers] == ["openai:gpt-4o", "openai:gpt-4o-mini"]


async def test_with_all_limits_used_up_the_slot_that_comes_first_is_waited_for(provider: ProviderServer) -> None:
    limits = {
        "openai:gpt-4o": RateSettings(requests_per_minute=1, burst=timedelta(0)),
        "openai:gpt-4o-mini": RateSettings(requests_per_minute=30, burst=timedelta(0)),
    }
    calls = calls_with(wait=30, limits=limits)
    first, second = openai(provider), openai(provider, "gpt-4o-mini")
    for _ in range(2):
        await ask(calls, first, second)
    began = time.monotonic()

    answer = await ask(calls, first, second)

    assert answer.model == "openai:gpt-4o-mini"
    assert 1 <= time.monotonic() - began < 20


async def test_when_all_are_away_the_call_waits_for_the_first_that_comes_back(provider: ProviderServer) -> None:
    down = [provider.fail(faults.status(503), model=name) for name in ("gpt-4o", "gpt-4o-mini")]
    calls = calls_with(wait=60, breaker=BreakerSettings(failures=1, open=timedelta(milliseconds=300)))
    asking = asyncio.create_task(ask(calls, openai(provider), openai(provider, "gpt-4o-mini")))
    await provider.wait_for(lambda requests: len(requests) >= 2)

    down[1].end()

    assert (await asking).model == "openai:gpt-4o-mini"


async def test_the_wait_ends_with_the_deadline(provider: ProviderServer) -> None:
    provider.fail(faults.status(503))
    began = time.monotonic()

    with pytest.raises(ProviderUnavailable) as failed:
        await ask(calls_with(wait=60), openai(provider), seconds=2)

    assert failed.value.retryable
    assert time.monotonic() - began < 20


async def test_when_no_wait_can_help_the_error_is_that_of_the_preferred_model(provider: ProviderServer) -> None:
    provider.fail(faults.unauthorized(), model="gpt-4o")
    provider.fail(faults.garbage(), model="gpt-4o-mini")

    with pytest.raises(ProviderUnauthorized) as failed:
        await ask(calls_with(wait=60), openai(provider), openai(provider, "gpt-4o-mini"))

    assert failed.value.model == "openai:gpt-4o"


async def test_a_bad_answer_of_the_only_model_is_told_as_it_is(provider: ProviderServer) -> None:
    provider.fail(faults.garbage())

    with pytest.raises(BadAnswer):
        await ask(calls_with(wait=60), openai(provider))


async def test_a_fallback_that_costs_too_much_is_left_out(provider: ProviderServer) -> None:
    provider.fail(faults.status(503), model="cheap")
    prices = {f"openai:{name}": PriceSettings(input=cost, output=cost) for name, cost in
              (("cheap", 1), ("dear", 5), ("fair", 2))}  # fmt: skip
    targets = [openai(provider, name) for name in ("cheap", "dear", "fair")]

    bounded = await ask(calls_with(prices=prices, fallback_price_ratio=3), *targets)
    free = await ask(calls_with(prices=prices), *targets)

    assert (bounded.model, free.model) == ("openai:fair", "openai:dear")


async def test_a_fallback_without_a_known_price_is_asked(provider: ProviderServer) -> None:
    provider.fail(faults.status(503), model="cheap")
    calls = calls_with(prices={"openai:cheap": PriceSettings(input=1, output=1)}, fallback_price_ratio=1)

    answer = await ask(calls, openai(provider, "cheap"), openai(provider, "my-own"))

    assert answer.model == "openai:my-own"


async def test_each_model_s_tries_are_metered_under_its_own_name(provider: ProviderServer) -> None:
    provider.fail(faults.status(503), model="gpt-4o")
    provider.script([Reply("hi")])
    spent: list[Any] = []

    answer = await ask(calls_with(), openai(provider), openai(provider, "gpt-4o-mini"), spent=spent)

    assert said(answer) == "hi"
    assert [(usage.model, usage.outcome) for usage in spent] == [("gpt-4o", "failed"), ("gpt-4o-mini", "answered")]
