"""A run that runs away is stopped before its next call, whichever figure says so."""

import asyncio
from typing import Any
from uuid import UUID

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.outputs import ChatResult

from asking import scope_of
from outlast import telemetry
from outlast.agents.failures import classify
from outlast.calls.call import Answer, ModelCall, Target, Usage
from outlast.calls.caps import capped, caps_of
from outlast.calls.deadline import Deadline
from outlast.calls.scope import Scope
from outlast.calls.services import Calls
from outlast.calls.spending import Spent
from outlast.errors import CapReached, DatabaseUnavailable, ProviderUnavailable
from outlast.settings import CallSettings

TARGET = Target(provider="openai", model="gpt-4o", key="", chat=FakeListChatModel(responses=[]))


def usage(outcome: Any = "answered", cost: int | None = 1000) -> Usage:
    return Usage(
        provider="openai", model="gpt-4o", input_tokens=80, output_tokens=20, cost_micros=cost, outcome=outcome
    )


class Run:
    """A run that asks through the caps alone; what stands behind them is the test's."""

    def __init__(self, *tries: Usage, log: Any = None, agent: str = "a", **settings: Any) -> None:
        self.tries = tries or (usage(),)
        self.calls = Calls(settings=CallSettings(**settings), usage=log)
        self.scope: Scope = scope_of(self.calls)
        self.scope.agent = agent
        self.asked = 0
        self.layer = capped(self.calls)(self.answer)

    async def answer(self, call: ModelCall) -> Answer:
        self.asked += 1
        call.spent.extend(self.tries)
        return Answer(result=ChatResult(generations=[]), model="openai:gpt-4o")

    async def ask(self, **fields: Any) -> Answer:
        given = {"scope": self.scope, "deadline": Deadline.after(30), **fields}
        return await self.layer(ModelCall(messages=[], targets=(TARGET,), calls=self.calls, **given))


@pytest.mark.parametrize(
    ("caps", "calls", "used"),
    [
        ({"turns": 3}, 3, 3),
        ({"tokens": 250}, 3, 300),
        ({"cost_usd": 0.002}, 2, 0.002),
        ({"turns": 5, "cost_usd": 0.001}, 1, 0.001),
    ],
)
async def test_a_run_gets_no_call_beyond_its_cap(caps, calls, used):
    run = Run(caps=caps)
    for _ in range(calls):
        await run.ask()
    for _ in range(2):
        with pytest.raises(CapReached) as reached:
            await run.ask()
    assert run.asked == calls
    name = min(caps, key=["cost_usd", "tokens", "turns"].index)
    assert (reached.value.cap, reached.value.used, reached.value.limit) == (name, used, caps[name])
    assert f"calls.caps.{name}" in str(reached.value)


async def test_without_a_cap_it_goes_on():
    run = Run(caps={"turns": None})
    for _ in range(300):
        await run.ask()
    assert run.asked == 300


async def test_by_default_a_run_has_200_calls():
    run = Run()
    for _ in range(200):
        await run.ask()
    with pytest.raises(CapReached, match="200 turns of 200"):
        await run.ask()


async def test_outside_of_a_run_there_is_no_cap():
    run = Run(caps={"turns": 1})
    for _ in range(3):
        await run.ask(scope=None)


async def test_calls_side_by_side_do_not_pass_by_the_same_figure():
    run = Run(caps={"turns": 5})
    answers = await asyncio.gather(*(run.ask() for _ in range(20)), return_exceptions=True)
    assert run.asked == 5
    assert sum(isinstance(answer, CapReached) for answer in answers) == 15


async def test_failed_tries_are_counted_and_cached_answers_use_nothing():
    run = Run(usage("failed"), usage("cache"), usage(), caps={"tokens": 200})
    await run.ask()
    with pytest.raises(CapReached, match="200 tokens of 200"):
        await run.ask()


async def test_a_call_that_failed_for_good_is_counted():
    run = Run(caps={"turns": 1, "tokens": None})

    async def fails(call: ModelCall) -> Answer:
        call.spent.append(usage("failed"))
        raise ProviderUnavailable("it is away", model="openai:gpt-4o", kind="network")

    run.layer = capped(run.calls)(fails)
    with pytest.raises(ProviderUnavailable):
        await run.ask()
    assert (run.scope.spent.turns, run.scope.spent.tokens) == (1, 100)
    with pytest.raises(CapReached):
        await run.ask()


async def test_what_nobody_knows_the_price_of_counts_as_tokens_and_not_as_cost():
    run = Run(usage(cost=None), caps={"cost_usd": 0.000001, "tokens": 300})
    for _ in range(3):
        await run.ask()
    with pytest.raises(CapReached, match="tokens"):
        await run.ask()


class Log:
    """What earlier attempts have used, as the database would say."""

    def __init__(self, *answers: Any) -> None:
        self.answers = list(answers)
        self.asked: list[UUID] = []

    async def spent_by(self, run_id: UUID) -> tuple[int, int, int]:
        self.asked.append(run_id)
        # The others arrive meanwhile.
        await asyncio.sleep(0)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


async def test_what_earlier_attempts_used_is_counted_once():
    log = Log((3, 300, 3000))
    run = Run(log=log, caps={"turns": 5})
    run.scope.epoch = 2
    answers = await asyncio.gather(*(run.ask() for _ in range(5)), return_exceptions=True)
    assert run.asked == 2
    assert [type(answer).__name__ for answer in answers].count("CapReached") == 3
    assert log.asked == [run.scope.run_id]
    assert run.scope.spent.tokens == 500


async def test_the_first_attempt_asks_nobody_what_it_used():
    log = Log()
    run = Run(log=log)
    await run.ask()
    assert log.asked == []


async def test_without_the_figures_no_call_is_made():
    log = Log(DatabaseUnavailable("away"), (1, 0, 0))
    run = Run(log=log, caps={"turns": 2})
    run.scope.epoch = 2
    with pytest.raises(DatabaseUnavailable):
        await run.ask()
    assert run.asked == 0
    await run.ask()
    with pytest.raises(CapReached):
        await run.ask()


async def test_time_is_counted_from_the_first_claim():
    run = Run(caps={"seconds": 100})
    now = asyncio.get_running_loop().time()
    run.scope.spent = Spent(began_at=now - 50)
    await run.ask()
    run.scope.spent = Spent(began_at=now - 100)
    with pytest.raises(CapReached, match="seconds of 100"):
        await run.ask()


async def test_a_call_is_given_up_when_the_runs_time_is_over():
    run = Run(caps={"seconds": 100})
    run.scope.spent = Spent(began_at=asyncio.get_running_loop().time() - 99.99)

    async def until_its_deadline(call: ModelCall) -> Answer:
        assert call.deadline.left < 0.1
        await asyncio.sleep(call.deadline.left)
        raise ProviderUnavailable("no time left", model="openai:gpt-4o", kind="deadline")

    run.layer = capped(run.calls)(until_its_deadline)
    with pytest.raises(CapReached, match="seconds of 100"):
        await run.ask()


async def test_a_call_that_fails_in_time_fails_as_it_does():
    run = Run(caps={"seconds": 100})

    async def fails(call: ModelCall) -> Answer:
        raise ProviderUnavailable("it is away", model="openai:gpt-4o", kind="network")

    run.layer = capped(run.calls)(fails)
    with pytest.raises(ProviderUnavailable):
        await run.ask()


def test_an_agents_caps_are_its_own_and_else_the_projects():
    settings = CallSettings(caps={"turns": 10, "tokens": 1000}, agents={"support": {"caps": {"turns": 3}}})
    assert caps_of(settings, "other") == settings.caps
    assert (caps_of(settings, "support").turns, caps_of(settings, "support").tokens) == (3, 1000)
    without = CallSettings(agents={"batch": {"caps": {"turns": None}}})
    assert caps_of(without, "batch").turns is None


async def test_an_agents_cap_names_its_setting():
    run = Run(agent="support", agents={"support": {"caps": {"turns": 1}}}, caps={"tokens": 1000})
    await run.ask()
    with pytest.raises(CapReached, match=r"calls\.agents\.support\.caps\.turns"):
        await run.ask()


async def test_it_is_told_and_ends_the_run_for_good():
    told: list[Any] = []
    leave = telemetry.subscribe(lambda point, fields: told.append(fields) if point == "call.capped" else None)
    run = Run(caps={"tokens": 1_234_567})
    run.scope.spent.tokens = 1_300_000
    try:
        with pytest.raises(CapReached) as reached:
            await run.ask()
    finally:
        leave()
    [event] = told
    assert (event["run_id"], event["cap"], event["used"]) == (run.scope.run_id, "tokens", 1_300_000)
    failed = classify(ExceptionGroup("of a task group", [reached.value]))
    assert (failed.code, failed.retryable) == ("cap_reached", False)
    assert "1,300,000 tokens of 1,234,567" in failed.message
