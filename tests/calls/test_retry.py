"""Calls through the whole chain, at a provider that fails in every way there is."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest

from asking import ask, openai, question, said
from outlast import telemetry
from outlast.calls.services import Calls
from outlast.errors import BadAnswer, ProviderRefused, ProviderUnauthorized, ProviderUnavailable
from outlast.settings import BreakerSettings, CallRetrySettings, CallSettings
from outlast.testing.providers import ProviderServer, faults
from outlast.testing.providers.faults import Fault


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


def calls_with(*, wait: float = 0.2, breaker: BreakerSettings | None = None, **retry: Any) -> Calls:
    settings = CallRetrySettings(**{"base": timedelta(milliseconds=5), **retry})
    return Calls(
        settings=CallSettings(
            wait=timedelta(seconds=wait), retry=settings, breaker=breaker or BreakerSettings(failures=1000)
        )
    )


@contextmanager
def heard(*points: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    stop = telemetry.subscribe(lambda name, fields: events.append((name, dict(fields))) if name in points else None)
    try:
        yield events
    finally:
        stop()


@pytest.mark.parametrize(
    ("fault", "times"),
    [
        (faults.status(500), 2),
        (faults.status(503, html=True), 2),
        (faults.reset(), 2),
        (faults.rate_limited(retry_after=0.01), 7),
        (faults.garbage(), 1),
        (faults.empty(), 1),
    ],
    ids=lambda value: value.kind if isinstance(value, Fault) else None,
)
async def test_what_passes_is_asked_again(provider: ProviderServer, fault: Fault, times: int) -> None:
    provider.fail(fault, times=times)

    answer = await ask(calls_with(wait=10), openai(provider))

    assert said(answer) == "You said: hello"
    assert len(provider.requests) == times + 1


@pytest.mark.parametrize(
    ("fault", "raised", "kind"),
    [
        (faults.unauthorized(), ProviderUnauthorized, "unauthorized"),
        (faults.forbidden(), ProviderUnauthorized, "unauthorized"),
        (faults.rate_limited(quota=True), ProviderUnauthorized, "quota"),
        (faults.content_policy(), ProviderRefused, "refused"),
        (faults.bad_request(), ProviderRefused, "refused"),
        (faults.status(404), ProviderRefused, "not_found"),
    ],
    ids=lambda value: value.code if isinstance(value, Fault) else None,
)
async def test_what_does_not_pass_is_asked_once(
    provider: ProviderServer, fault: Fault, raised: type[Any], kind: str
) -> None:
    provider.fail(fault)

    with pytest.raises(raised) as failed:
        await ask(calls_with(), openai(provider))

    assert failed.value.kind == kind
    assert failed.value.__cause__ is not None
    assert len(provider.requests) == 1


async def test_a_key_that_is_not_accepted_is_told_to_an_operator_without_the_key(provider: ProviderServer) -> None:
    provider.fail(faults.unauthorized())

    with heard("call.unauthorized") as events, pytest.raises(ProviderUnauthorized) as failed:
        await ask(calls_with(), openai(provider, api_key="sk-secret"))

    assert [fields["kind"] for _, fields in events] == ["unauthorized"]
    assert "secret" not in str(failed.value)
    assert "secret" not in str(events)


async def test_a_bad_answer_is_given_up_after_the_second(provider: ProviderServer) -> None:
    provider.fail(faults.garbage())

    with pytest.raises(BadAnswer):
        await ask(calls_with(), openai(provider))

    assert len(provider.requests) == 2


async def test_a_stream_that_ends_early_is_asked_for_once_more(provider: ProviderServer) -> None:
    provider.fail(faults.early_end(), times=1)
    chunks: list[Any] = []

    async def listen(chunk: Any) -> None:
        chunks.append(chunk)

    answer = await ask(calls_with(), openai(provider), listen=listen)

    assert said(answer) == "You said: hello"
    assert len(provider.requests) == 2


async def test_no_try_is_begun_that_cannot_end(provider: ProviderServer) -> None:
    calls = calls_with()

    with pytest.raises(ProviderUnavailable) as failed:
        await calls.answer(question(calls, openai(provider), seconds=0.5))

    assert failed.value.kind == "deadline"
    assert provider.requests == []


async def test_a_wait_that_does_not_fit_the_deadline_is_not_begun(provider: ProviderServer) -> None:
    provider.fail(faults.rate_limited(retry_after=30))
    calls = calls_with(wait=60)

    with pytest.raises(ProviderUnavailable) as failed:
        await calls.answer(question(calls, openai(provider), seconds=10))

    assert failed.value.retry_after == 30
    assert len(provider.requests) == 1


async def test_retries_of_all_calls_stay_within_their_budget(provider: ProviderServer) -> None:
    provider.fail(faults.status(500))
    calls, target = calls_with(allowance=4, budget=0.1), openai(provider)

    with heard("call.retry_denied") as denied:
        results = await asyncio.gather(*(ask(calls, target) for _ in range(30)), return_exceptions=True)

    assert all(isinstance(result, ProviderUnavailable) for result in results)
    # 10 % of 30 calls are 3; 4 are always allowed.
    assert len(provider.requests) == 34
    assert denied


async def test_an_invited_try_is_not_taken_from_the_budget(provider: ProviderServer) -> None:
    provider.fail(faults.rate_limited(retry_after=0.01), times=3)

    answer = await ask(calls_with(allowance=0, budget=0), openai(provider))

    assert said(answer) == "You said: hello"


async def test_a_provider_that_is_down_is_left_alone_until_a_probe_is_answered(provider: ProviderServer) -> None:
    breaker = BreakerSettings(failures=3, open=timedelta(milliseconds=50), longest=timedelta(milliseconds=50))
    calls, target = calls_with(wait=30, breaker=breaker), openai(provider)
    outage = provider.fail(faults.status(503))

    with heard("breaker.opened", "breaker.probing", "breaker.closed") as events:
        waiting = [asyncio.create_task(ask(calls, target)) for _ in range(10)]
        await provider.wait_for(lambda _: [name for name, _ in events].count("breaker.probing") >= 2)
        outage.end()
        answers = await asyncio.gather(*waiting)

    assert {said(answer) for answer in answers} == {"You said: hello"}
    assert [name for name, _ in events][-1] == "breaker.closed"


@pytest.mark.parametrize("fault", [faults.bad_request(), faults.unauthorized()], ids=["refused", "unauthorized"])
async def test_faults_of_the_caller_do_not_open_the_circuit(provider: ProviderServer, fault: Fault) -> None:
    calls, target = calls_with(breaker=BreakerSettings(failures=1)), openai(provider)
    provider.fail(fault, times=10)

    for _ in range(10):
        with pytest.raises((ProviderRefused, ProviderUnauthorized)):
            await ask(calls, target)

    assert said(await ask(calls, target)) == "You said: hello"


async def test_an_error_that_is_not_the_providers_goes_to_the_caller_as_it_is(provider: ProviderServer) -> None:
    class Broken(Exception):
        pass

    async def listen(chunk: Any) -> None:
        raise Broken

    with pytest.raises(Broken):
        await ask(calls_with(), openai(provider), listen=listen)

    assert len(provider.requests) == 1
