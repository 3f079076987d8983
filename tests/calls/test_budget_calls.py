"""Model calls of a run under budgets: nothing is asked that may take more than is left."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from budget_models import PRICES, Model
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage

from asking import ask, openai, question, scope_of, target_of
from budget_rows import execute, line, never_beyond, reservations, running, spent
from outlast import telemetry
from outlast.calls.bills import bill_of
from outlast.calls.budgeted import spender_of
from outlast.calls.budgets import Budgets
from outlast.calls.call import Target
from outlast.calls.services import Calls
from outlast.refusals import BudgetExceeded
from outlast.settings import CallSettings
from outlast.settings_budgets import BudgetRule, BudgetSettings
from outlast.storage.postgres.budgets import BudgetStore
from outlast.storage.postgres.pool import Pool
from outlast.testing.providers import ProviderServer

RETRY = {"base": timedelta(0), "network": 2, "timeout": 2}


@pytest.fixture
async def pool(pool: Pool) -> Pool:
    await never_beyond(pool)
    return pool


class Spending:
    """A run under budgets, which asks."""

    def __init__(self, pool: Pool, calls: Calls, scope: Any) -> None:
        self.pool, self.calls, self.scope = pool, calls, scope

    async def ask(self, *models: tuple[Model, str], **fields: Any) -> Any:
        targets = [target_of(model, name, provider="test") for model, name in models]
        answer = await ask(self.calls, *targets, scope=self.scope, **fields)
        await self.scope.close()
        return answer

    async def spent(self, name: str = "b", subject: str = "default") -> Any:
        await self.scope.close()
        return await spent(self.pool, name, subject)

    async def limit(self, **limits: Any) -> None:
        await execute(self.pool, "UPDATE budget_counters SET " + ", ".join(f"{k} = {v}" for k, v in limits.items()))


Open = Callable[..., Awaitable[Spending]]


@pytest.fixture
def spending(pool: Pool) -> Open:
    async def open_one(rules: dict[str, Any], *, retry: Any = RETRY, prices: Any = PRICES, **budgets: Any) -> Spending:
        given = {"max_output_tokens": 1000, "least_output_tokens": 10, "wait": timedelta(0)} | budgets
        settings = BudgetSettings(rules={name: BudgetRule(**rule) for name, rule in rules.items()}, **given)
        calls = Calls(settings=CallSettings(prices=prices, retry=retry), budgets=Budgets(settings, BudgetStore(pool)))
        attempt = await running(pool)
        return Spending(pool, calls, scope_of(calls, run_id=attempt.run_id))

    return open_one


@pytest.fixture
def told() -> Iterator[list[str]]:
    heard: list[str] = []
    stop = telemetry.subscribe(lambda name, fields: heard.append(name) if name.startswith("budget.") else None)
    yield heard
    stop()


async def test_what_a_call_may_take_is_reserved_before_it_and_what_it_took_is_charged(spending):
    seen: list[Any] = []

    async def look() -> None:
        seen.append(await run.spent())

    run = await spending({"b": {"usd": 1}})
    model = Model(gate=look)
    await run.ask((model, "plain"))
    [(before, reserved, _, tokens)] = seen
    assert before == 0
    assert 1000 + len("hello") <= reserved == tokens < 1100, "the question, and the longest answer"
    assert model.limits == [1000], "the answer is held to what was reserved"
    assert await run.spent() == (12, 0, 12, 0)


async def test_a_limit_of_the_call_or_of_the_model_is_the_one_that_counts(spending):
    run = await spending({"b": {"tokens": 100_000}})
    called, built = Model(), Model(max_tokens=300)
    seen: list[Any] = []

    async def look() -> None:
        seen.append((await run.spent())[3])

    called.gate = built.gate = look
    await run.ask((called, "plain"), options={"max_tokens": 200})
    await run.ask((built, "plain"))
    assert called.limits == [200]
    assert built.limits == [None]
    assert 200 <= seen[0] < 300 <= seen[1] < 400
    await run.calls.budgets.store.set(replace(line("b").budget, limit_micros=None, limit_tokens=24 + 200))
    with pytest.raises(BudgetExceeded):
        await run.ask((called, "plain"), options={"max_tokens": 200})
    await run.ask((built, "plain"))
    assert 100 < built.limits[1] < 200, "what the model was built with may be cut, what the call says may not"


async def test_near_the_end_answers_are_cut_to_what_is_left_and_then_refused(spending, told):
    run = await spending({"b": {"usd": "0.0005"}})
    model = Model(takes=(5, 400))
    await run.ask((model, "plain"))
    [first] = model.limits
    assert first is not None
    assert 400 < first < 500, "what 500 micros leave beside the question"
    with pytest.raises(BudgetExceeded) as refused:
        await run.ask((model, "plain"), text="long " * 20)
    error = refused.value
    assert (error.budget, error.limit, error.spent, error.unit) == ("b", 500, 405, "usd_micros")
    assert "budget 'b': $0.000405 of $0.0005 are spent or reserved" in str(error)
    assert len(model.limits) == 1, "it was not asked"
    assert told.count("budget.exceeded") == 1


async def test_every_try_and_every_fallback_reserves_at_its_own_price(spending):
    run = await spending({"b": {"usd": 1}}, max_output_tokens=100)
    reserved: list[int] = []

    async def look() -> None:
        reserved.append((await run.spent())[1])

    down, dear = Model(gate=look), Model(gate=look)
    down.raises = [ConnectionError(), ConnectionError()]
    await run.ask((down, "plain"), (dear, "dear"))
    assert reserved[0] == reserved[1]
    assert reserved[2] == 10 * reserved[0]
    # Two tries that never reached anybody, and an answer.
    assert await run.spent() == (120, 0, 12, 0)


async def test_a_try_that_was_given_up_is_charged_as_it_was_reserved(spending):
    run = await spending({"b": {"usd": 1}}, max_output_tokens=100)
    await run.ask((Model(raises=[TimeoutError()]), "plain"))
    charged, reserved, tokens, _ = await run.spent()
    assert reserved == 0
    assert charged == tokens >= 100 + 12, "that try, and the answer of the next one"


async def test_a_cancelled_call_leaves_nothing_reserved(spending, pool):
    run = await spending({"b": {"usd": 1}})
    asked, for_ever = asyncio.Event(), asyncio.Event()

    async def stop() -> None:
        asked.set()
        await for_ever.wait()

    call = asyncio.create_task(run.ask((Model(gate=stop), "plain")))
    await asked.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    charged, reserved, _, _ = await run.spent()
    assert charged >= 1000, "it may be billed"
    assert reserved == 0
    assert await reservations(pool) == 0


async def test_a_model_without_a_price_is_refused_under_dollars_or_held_to_tokens(spending):
    rules = {"b": {"usd": 1, "tokens": 10_000}}
    strict = await spending(rules)
    with pytest.raises(BudgetExceeded, match=r"nobody knows what test:unknown costs.*calls\.prices"):
        await strict.ask((Model(), "unknown"))
    lenient = await spending(rules, on_unpriced="tokens only")
    await lenient.ask((Model(), "unknown"))
    assert await lenient.spent() == (0, 0, 12, 0)
    only_tokens = await spending({"t": {"tokens": 10_000}})
    await only_tokens.ask((Model(), "unknown"))
    assert await only_tokens.spent("t") == (0, 0, 12, 0)


async def test_a_call_waits_for_those_under_way_when_only_they_are_in_the_way(spending):
    run = await spending({"b": {"usd": "0.001300"}}, wait=timedelta(seconds=20))
    asked, go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await go.wait()

    first = asyncio.create_task(run.ask((Model(gate=hold), "plain")))
    await asked.wait()
    waits = Model()
    second = asyncio.create_task(run.ask((waits, "plain")))
    standing = await run.calls.budgets.store.standings(await run.calls.budgets.lines(_spender(run)))
    assert standing[0].reserved_micros > 1000
    go.set()
    await asyncio.gather(first, second)
    assert waits.limits == [1000]
    assert await run.spent() == (24, 0, 24, 0)


async def test_a_call_takes_what_those_under_way_leave_or_is_tried_again_later(spending):
    run = await spending({"b": {"usd": "0.001300"}})
    asked, go = asyncio.Event(), asyncio.Event()

    async def hold() -> None:
        asked.set()
        await go.wait()

    first = asyncio.create_task(run.ask((Model(gate=hold), "plain")))
    await asked.wait()
    waits = Model()
    target = target_of(waits, "plain", provider="test")
    with pytest.raises(BudgetExceeded) as busy:
        await ask(run.calls, target, scope=run.scope, options={"max_tokens": 500})
    assert busy.value.retryable
    await ask(run.calls, target, scope=run.scope)
    [cut] = waits.limits
    assert cut is not None
    assert 200 < cut < 300
    go.set()
    await first


async def test_the_limit_of_an_answer_reaches_the_provider(spending):
    run = await spending({"b": {"usd": 1}}, prices={"openai:gpt-4o": {"input": 1, "output": 1}})
    async with ProviderServer() as provider:
        await ask(run.calls, openai(provider), scope=run.scope)
        [request] = provider.requests
        assert request.body["max_completion_tokens"] == 1000
    await run.scope.close()


def _spender(run: Spending) -> Any:
    return spender_of(run.scope)


async def test_each_subject_has_a_counter_and_only_those_concerned_pay(spending):
    run = await spending({
        "run": {"per": "run", "usd": 1}, "thread": {"per": "thread", "usd": 1}, "user": {"per": "user", "usd": 1},
        "agent": {"per": "agent", "usd": 1}, "other": {"per": "agent", "usd": 1, "agent": "another"},
        "ann": {"usd": 0, "user": "ann"}, "acme": {"usd": 0, "tenant": "acme"},
    })  # fmt: skip
    await run.ask((Model(), "plain"))
    subjects = {"run": str(run.scope.run_id), "thread": "t", "user": "", "agent": "a"}
    for name, subject in subjects.items():
        assert await run.spent(name, subject) == (12, 0, 12, 0)
    assert await execute(run.pool, "SELECT count(*) FROM budget_counters") == [(len(subjects),)]


async def test_a_call_outside_of_a_run_has_no_budget(spending):
    run = await spending({"b": {"usd": 0}})
    model = Model()
    answer = await ask(run.calls, target_of(model, "plain", provider="test"))
    assert answer.result.generations
    assert model.limits == [None]


async def test_without_a_budget_nothing_is_asked_of_the_database_for_a_call(spending, pool):
    run = await spending({"theirs": {"usd": 1, "tenant": "acme"}}, refresh=timedelta(hours=1))
    await run.ask((Model(), "plain"))
    await pool.close()
    await run.ask((Model(), "plain"))


async def test_a_call_that_took_more_than_it_could_have_is_charged_and_told(spending, pool, told):
    await execute(pool, "ALTER TABLE budget_counters DROP CONSTRAINT never_beyond")
    run = await spending({"b": {"usd": "0.002"}})
    await run.ask((Model(takes=(5, 9000)), "plain"))
    assert (await run.spent())[0] == 9005
    assert told == ["budget.reserved", "budget.before_settle", "budget.soft_limit", "budget.overrun"]


def _bill(messages: list[BaseMessage], settings: BudgetSettings | None = None, **options: Any) -> Any:
    chat = Model()
    target = Target(provider="test", model="plain", key="", chat=chat)
    calls = Calls(settings=CallSettings(prices=PRICES))
    call = question(calls, target, messages=messages, options=options)
    return bill_of(call, target, settings or BudgetSettings())


async def test_a_question_has_at_most_as_many_tokens_as_its_bill_says():
    # The worst that a byte-level tokenizer can do: each byte a token.
    for text in ("plain English words", "数十億のトークン", "🤷🏽‍♀️" * 50, "\x00\x01\x02", "a" * 5000):
        assert _bill([HumanMessage(text)]).input_tokens >= len(text.encode())
    tool = {"type": "function", "function": {"name": "look", "description": "d" * 900, "parameters": {}}}
    assert _bill([HumanMessage("x")], tools=[tool]).input_tokens >= 900
    calling = AIMessage("", tool_calls=[{"name": "look", "args": {"for": "y" * 700}, "id": "1"}])
    assert _bill([HumanMessage("x"), calling]).input_tokens >= 700


async def test_an_image_is_estimated_as_one_and_not_by_its_bytes():
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 100_000}}
    bill = _bill([HumanMessage([{"type": "text", "text": "what is this?"}, image])], BudgetSettings(media_tokens=3000))
    assert 3000 <= bill.input_tokens < 3200


async def test_several_answers_at_once_are_reserved_for_all():
    bill = _bill([HumanMessage("x")], BudgetSettings(max_output_tokens=100), n=3)
    assert bill.cost.tokens - bill.input_tokens == 300
