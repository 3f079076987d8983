"""Breakers as processes use them: one clock of our own, or several processes on one database."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from datetime import timedelta
from typing import Any

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel

from outlast import telemetry
from outlast.calls.breaker import Breakers, LocalBreakers, Permit
from outlast.calls.call import Target
from outlast.errors import DatabaseUnavailable
from outlast.settings import BreakerSettings, DatabaseSettings
from outlast.storage.postgres.breakers import BreakerStore, open_breakers
from outlast.storage.postgres.pool import Pool
from waiting import until


def target(model: str = "gpt-4o", key: str = "k") -> Target:
    return Target(provider="openai", model=model, key=key, chat=FakeListChatModel(responses=["x"]))


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@contextmanager
def heard(*points: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    events: list[tuple[str, dict[str, Any]]] = []
    stop = telemetry.subscribe(lambda name, fields: events.append((name, dict(fields))) if name in points else None)
    try:
        yield events
    finally:
        stop()


async def fail(breakers: Breakers, model: Target, times: int) -> None:
    for _ in range(times):
        permit = await breakers.admit(model)
        assert permit is not None
        await breakers.failed(permit)


async def permit_of(breakers: Breakers, model: Target) -> Permit:
    permit = await breakers.admit(model)
    assert permit is not None
    return permit


async def test_a_circuit_opens_probes_once_and_closes_on_an_answer() -> None:
    clock = Clock()
    breakers, model = Breakers(BreakerSettings(), clock=clock), target()

    with heard("breaker.opened", "breaker.probing", "breaker.closed") as events:
        await fail(breakers, model, 5)
        assert await breakers.admit(model) is None
        clock.now += 2.0
        probe = await permit_of(breakers, model)
        assert probe.probe is not None
        assert await breakers.admit(model) is None
        await breakers.concluded(probe, answered=True)

    assert (await permit_of(breakers, model)).probe is None
    assert [name for name, _ in events] == ["breaker.opened", "breaker.probing", "breaker.closed"]


async def test_a_probe_that_fails_doubles_the_time_until_the_next_one() -> None:
    clock = Clock()
    breakers, model = Breakers(BreakerSettings(), clock=clock), target()
    await fail(breakers, model, 5)
    clock.now += 2.0
    await breakers.concluded(await permit_of(breakers, model), answered=False)

    clock.now += 3.9
    assert await breakers.admit(model) is None
    clock.now += 0.2
    assert (await permit_of(breakers, model)).probe is not None


async def test_a_probe_whose_process_died_is_replaced_and_its_late_answer_still_counts() -> None:
    clock = Clock()
    breakers, model = Breakers(BreakerSettings(), clock=clock), target()
    await fail(breakers, model, 5)
    clock.now += 2.0
    lost = await permit_of(breakers, model)
    clock.now += 9.9
    assert await breakers.admit(model) is None
    clock.now += 0.2
    second = await permit_of(breakers, model)
    assert second.probe not in {None, lost.probe}

    # A failure of the one that was given up says nothing new; an answer does.
    await breakers.concluded(lost, answered=False)
    assert not breakers.may_ask(model)
    await breakers.concluded(lost, answered=True)
    assert breakers.may_ask(model)


async def test_a_cancelled_probe_makes_room_for_another_one() -> None:
    clock = Clock()
    breakers, model = Breakers(BreakerSettings(), clock=clock), target()
    await fail(breakers, model, 5)
    clock.now += 2.0
    await breakers.concluded(await permit_of(breakers, model), answered=None)

    assert await breakers.admit(model) is None
    clock.now += 2.0
    assert (await permit_of(breakers, model)).probe is not None


async def test_one_models_failures_leave_others_alone() -> None:
    breakers = Breakers(BreakerSettings())
    await fail(breakers, target(key="bad"), 5)

    assert not breakers.may_ask(target(key="bad"))
    assert breakers.may_ask(target(key="good"))
    assert breakers.may_ask(target("gpt-4o-mini", key="bad"))


async def test_a_failure_among_many_answers_opens_nothing() -> None:
    breakers, model = Breakers(BreakerSettings()), target()
    for number in range(100):
        permit = await permit_of(breakers, model)
        if number % 4 == 0:
            await breakers.failed(permit)
        else:
            breakers.answered(permit)
            breakers.answered(permit)

    assert breakers.may_ask(model)


@pytest.fixture
async def fleet(database: DatabaseSettings) -> AsyncIterator[list[Breakers]]:
    """Four processes, as far as breakers can tell."""
    settings = BreakerSettings(open=timedelta(milliseconds=100), longest=timedelta(milliseconds=100))
    async with AsyncExitStack() as stack:
        processes: list[Breakers] = []
        for number in range(4):
            pool = Pool(database, application_name=f"process-{number}", size=2)
            await pool.open()
            stack.push_async_callback(pool.close)
            processes.append(Breakers(settings, BreakerStore(pool)))
        yield processes


async def test_failures_of_all_processes_count_together_and_one_of_them_opens_it(fleet: list[Breakers]) -> None:
    model = target()
    with heard("breaker.opened") as events:
        for breakers in [*fleet, fleet[0]]:
            assert breakers.may_ask(model)
            await fail(breakers, model, 1)

        async def known() -> bool:
            await asyncio.gather(*(breakers.admit(model) for breakers in fleet))
            return not any(breakers.may_ask(model) for breakers in fleet)

        await until(known)
    assert [fields["decided"] for _, fields in events].count(True) == 1
    assert len(events) == 4


async def test_many_processes_send_one_probe_per_open_period(fleet: list[Breakers]) -> None:
    model = target()
    await fail(fleet[0], model, 5)
    probes: list[Permit] = []

    async def storm() -> list[Permit]:
        permits = await asyncio.gather(*(breakers.admit(model) for breakers in fleet for _ in range(8)))
        # Who has not heard yet is let through as usual; that is no probe.
        return [permit for permit in permits if permit is not None and permit.probe is not None]

    for _ in range(3):
        probes.clear()

        async def sent() -> bool:
            probes.extend(await storm())
            return bool(probes)

        await until(sent)
        assert len(probes) == 1
        await fleet[0].concluded(probes[0], answered=False)

    probes.clear()
    await until(sent)
    await fleet[0].concluded(probes[0], answered=True)

    async def closed() -> bool:
        permits = await asyncio.gather(*(breakers.admit(model) for breakers in fleet))
        return all(permit is not None and permit.probe is None for permit in permits)

    await until(closed)


async def test_open_circuits_are_counted_by_model(fleet: list[Breakers], database: DatabaseSettings) -> None:
    await fail(fleet[0], target(key="a"), 5)
    await fail(fleet[0], target(key="b"), 5)
    probe: list[Permit] = []

    async def due() -> bool:
        permit = await fleet[0].admit(target(key="b"))
        probe.extend([permit] if permit is not None else [])
        return bool(probe)

    await until(due)
    await fleet[0].concluded(probe[0], answered=True)

    pool = Pool(database, application_name="metrics", size=1)
    await pool.open()
    try:
        assert await open_breakers(pool) == {"openai:gpt-4o": 1}
    finally:
        await pool.close()


async def test_waiting_calls_go_on_when_the_model_answers_again(fleet: list[Breakers]) -> None:
    model = target()
    await fail(fleet[0], model, 5)
    waiting = [asyncio.create_task(breakers.pause([model], turn=1, left=20)) for breakers in fleet for _ in range(5)]

    async def probed() -> bool:
        permit = await fleet[0].admit(model)
        if permit is not None and permit.probe is not None:
            await fleet[0].concluded(permit, answered=True)
        return fleet[0].may_ask(model)

    await until(probed)
    assert all(await asyncio.gather(*waiting))


async def test_a_wait_ends_when_its_time_is_over() -> None:
    breakers, model = Breakers(BreakerSettings()), target()
    await fail(breakers, model, 5)

    assert not await breakers.pause([model], turn=1, left=0.05)


class Away(LocalBreakers):
    async def exchange(self, circuit: str, **counted: Any) -> Any:
        raise DatabaseUnavailable("away")


async def test_without_its_database_a_process_counts_for_itself() -> None:
    breakers, model = Breakers(BreakerSettings(), Away()), target()

    await fail(breakers, model, 5)

    assert await breakers.admit(model) is None
