"""How a call travels: its time, its threads and loops, and leaving a stream early."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from model_twins import WIRES, ours

import outlast
from outlast.calls import bridging
from outlast.calls import provider as provider_layer
from outlast.calls.call import ModelCall
from outlast.calls.deadline import Deadline
from outlast.calls.scope import Scope, current
from outlast.calls.services import Calls, local
from outlast.errors import BlockingCall, ProviderUnavailable
from outlast.settings import CallSettings
from outlast.testing.providers import ProviderServer, Reply, faults


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


def call_of(model: Any, **given: Any) -> ModelCall:
    fields = {"messages": [], "targets": model.models.all, "deadline": Deadline.after(30), "calls": local()}
    from langchain_core.messages import HumanMessage

    return ModelCall(**{**fields, "messages": [HumanMessage("x")], **given})


async def heard(call: ModelCall) -> list[str]:
    texts: list[str] = []

    async def listen(chunk: Any) -> None:
        texts.append(chunk.message.text)

    call.listen = listen
    await provider_layer.ask_provider(call)
    return texts


async def test_a_try_ends_when_its_time_is_over(provider: ProviderServer, wire: str) -> None:
    held = provider.fail(faults.hold())
    call = call_of(ours(provider, wire, try_timeout=0.05))
    call.wishes = ours(provider, wire, try_timeout=0.05)._call([], None, {}, None).wishes

    with pytest.raises(TimeoutError):
        await provider_layer.ask_provider(call)
    provider.release(held)


async def test_no_try_outlasts_the_deadline(provider: ProviderServer, wire: str) -> None:
    held = provider.fail(faults.hold())

    with pytest.raises(TimeoutError):
        await provider_layer.ask_provider(call_of(ours(provider, wire), deadline=Deadline.after(0.05)))
    provider.release(held)


async def test_a_pause_in_a_stream_is_bounded_and_the_whole_stream_is_not(provider: ProviderServer, wire: str) -> None:
    provider.script(lambda _: Reply("a long answer in many pieces", chunk_characters=2, chunk_delay_seconds=0.05))
    model = ours(provider, wire, try_timeout=0.5)
    call = call_of(model, wishes=model._call([], None, {}, None).wishes)

    assert "".join(await heard(call)) == "a long answer in many pieces", "it takes longer than a try may pause"

    held = provider.fail(faults.hold(pieces=2), times=1)
    model = ours(provider, wire, try_timeout=0.05)
    with pytest.raises(TimeoutError):
        await heard(call_of(model, wishes=model._call([], None, {}, None).wishes))
    provider.release(held)


async def test_a_slow_listener_is_no_pause_of_the_provider(provider: ProviderServer, wire: str) -> None:
    provider.script(lambda _: Reply("some answer"))
    model = ours(provider, wire, try_timeout=0.2)
    call = call_of(model, wishes=model._call([], None, {}, None).wishes)
    first = asyncio.Event()

    async def listen(_: Any) -> None:
        if not first.is_set():
            first.set()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.4)

    call.listen = listen
    assert (await provider_layer.ask_provider(call)).result.generations[0].text == "some answer"


async def test_the_time_of_a_call_covers_all_tries(provider: ProviderServer, wire: str) -> None:
    held = provider.fail(faults.hold())

    with pytest.raises(ProviderUnavailable):
        await ours(provider, wire, timeout=1.2, try_timeout=0.1).ainvoke("x")
    provider.release(held)


async def test_leaving_a_stream_early_lets_go_of_the_provider(provider: ProviderServer, wire: str) -> None:
    held = provider.fail(faults.hold(pieces=2), times=1)
    before = len(asyncio.all_tasks())
    stream = ours(provider, wire).astream("x")

    assert await anext(stream)
    await stream.aclose()

    await provider.wait_for(lambda requests: requests[0].outcome in ("lost", "failed"))
    provider.release(held)
    assert len(asyncio.all_tasks()) <= before + 1


async def test_what_is_not_taken_is_not_asked_for(wire: str, provider: ProviderServer) -> None:
    asked: list[int] = []

    async def ask(listen: Any) -> None:
        for number in range(5):
            asked.append(number)
            await listen(number)

    stream = bridging.paced(ask)
    assert await anext(stream) == 0
    assert asked == [0]
    assert [number async for number in stream] == [1, 2, 3, 4]


async def test_an_error_comes_behind_the_chunks_before_it() -> None:
    async def ask(listen: Any) -> None:
        await listen(1)
        raise ValueError("broken")

    stream = bridging.paced(ask)

    assert await anext(stream) == 1
    with pytest.raises(ValueError, match="broken"):
        await anext(stream)


# Threads and loops.


def scope(**given: Any) -> Scope:
    fields: dict[str, Any] = {
        "calls": Calls(settings=CallSettings()), "run_id": uuid4(), "epoch": 1, "lineage": uuid4(), "thread_id": "t",
        "thread_key": b"", "agent": "a", "locate": lambda: None, "settled": None, "ask": lambda _: None,
    }  # fmt: skip
    return Scope(**{**fields, **given})


@contextmanager
def in_a_run() -> Iterator[None]:
    token = current.set(scope())
    try:
        yield
    finally:
        current.reset(token)


async def test_a_sync_call_on_the_loop_of_a_run_is_refused(provider: ProviderServer, wire: str) -> None:
    with in_a_run(), pytest.raises(BlockingCall, match="ainvoke"):
        ours(provider, wire).invoke("x")
    with in_a_run(), pytest.raises(BlockingCall):
        list(ours(provider, wire).stream("x"))
    assert not provider.requests


async def test_a_sync_call_in_a_thread_of_a_run_is_made_on_its_loop(provider: ProviderServer, wire: str) -> None:
    model = ours(provider, wire)

    with in_a_run():
        assert (await asyncio.to_thread(model.invoke, "x")).text == "You said: x"
        chunks = await asyncio.to_thread(lambda: list(model.stream("x")))
    assert "".join(chunk.text for chunk in chunks) == "You said: x"
    assert all("async" in request.headers["x-stainless-async"] for request in provider.requests), (
        "its clients are at home"
    )


async def test_a_loop_of_a_thread_of_a_run_calls_on_the_runs_loop(provider: ProviderServer, wire: str) -> None:
    model = ours(provider, wire)

    async def inner() -> tuple[str, str]:
        answer = await model.ainvoke("x")
        return answer.text, "".join([chunk.text async for chunk in model.astream("x")])

    with in_a_run():
        said = await asyncio.to_thread(lambda: asyncio.run(inner()))
    assert said == ("You said: x", "You said: x")


async def test_a_sync_stream_may_be_left_early(provider: ProviderServer, wire: str) -> None:
    def look() -> Any:
        for chunk in ours(provider, wire).stream("some words to stream"):
            return chunk
        return None

    assert await asyncio.to_thread(look)


def test_loops_of_threads_share_nothing() -> None:
    async def mine() -> Calls:
        assert local() is local()
        return local()

    assert asyncio.run(mine()) is not asyncio.run(mine())


def test_sync_callers_need_no_loop() -> None:
    with ProviderServer.in_thread() as server:
        model = outlast.chat_model("openai:gpt-4o", base_url=server.openai_url, api_key="k")
        assert model.invoke("a").text == "You said: a"
        assert [answer.text for answer in model.batch(["b", "c"])] == ["You said: b", "You said: c"]
