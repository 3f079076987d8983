"""All validators of an agent, and the one verdict that is made of what they say."""

import asyncio
import threading
from collections.abc import Callable
from typing import Any

import pytest

from outlast.errors import ConfigurationError, LeaseLost
from outlast.refusals import BudgetExceeded
from outlast.settings_validation import ValidationSettings
from outlast.validation.attached import validated
from outlast.validation.engine import AgentValidation, Validation
from outlast.validation.validator import Context, Invalid, Reason, Valid, Validator

HERE = Context(agent="a")


class Says(Validator):
    def __init__(self, answer: Any, name: str = "says") -> None:
        self.name = name
        self.answer = answer
        self.asked = 0

    async def validate(self, output: Any, context: Context) -> Any:
        self.asked += 1
        return await self.answer() if inspect_is_function(self.answer) else self.answer


class Paid(Says):
    asks_model = True


def inspect_is_function(answer: Any) -> bool:
    return callable(answer)


class Sync(Validator):
    def __init__(self, answer: Callable[[], Any]) -> None:
        self.answer = answer

    def validate(self, output: Any, context: Context) -> Any:
        return self.answer()


class Bubble(Exception):
    """As LangGraph ends a task that has not failed."""


Open = Callable[..., AgentValidation]


@pytest.fixture
async def asking():
    opened: list[Validation] = []

    def of(*validators: Validator, timeout: float = 5.0, **table: Any) -> AgentValidation:
        settings = ValidationSettings(timeout=timeout, model_timeout=timeout, **table)
        made = Validation(settings, agents=["a"], load=lambda _: None, bubbles=[Bubble])
        opened.append(made)
        return made.of("a").with_more(validators)

    yield of
    for one in opened:
        await one.aclose()


def told(verdict: Any) -> list[tuple[str | None, str]]:
    return [(reason.by, reason.code) for reason in verdict.reasons]


async def test_all_are_asked_and_everything_is_told_in_their_order(asking: Open):
    late = asyncio.Event()

    async def slow() -> Any:
        await late.wait()
        return Invalid([Reason("x", "one", "price")], "high")

    async def quick() -> Any:
        late.set()
        return Invalid("two", "low", ["date"])

    verdict = await asking(Says(slow, "slow"), Says(Valid(), "fine"), Says(quick, "quick")).check({}, HERE)
    assert told(verdict) == [("slow", "x"), ("quick", "invalid")]
    assert (verdict.severity, verdict.fields) == ("high", ("price", "date"))


async def test_without_a_validator_everything_is_valid(asking: Open):
    agent = asking()
    assert await agent.check(object(), HERE) == Valid()
    assert not agent.concerns()


async def test_a_model_is_asked_only_about_what_nothing_else_speaks_against(asking: Open):
    paid = Paid(Invalid("dull"))
    assert told(await asking(paid, Says(Invalid("wrong"))).check({}, HERE)) == [("says", "invalid")]
    assert paid.asked == 0
    assert (await asking(paid, Says(Valid())).check({}, HERE)).reasons[0].text == "dull"


async def fails() -> Any:
    raise KeyError("what the validator knows")


async def hangs() -> Any:
    await asyncio.Event().wait()


async def impatient() -> Any:
    raise TimeoutError


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (fails, "validator_failed"), (None, "validator_failed"), (True, "validator_failed"),
        (hangs, "validator_timeout"),
        (impatient, "validator_failed"),
    ],
    ids=["raises", "none", "yes", "hangs", "own timeout"],
)  # fmt: skip
async def test_a_check_that_cannot_be_made_does_not_let_pass(asking: Open, answer: Any, code: str):
    verdict = await asking(Says(answer, "mine"), timeout=0.05 if answer is hangs else 5).check({}, HERE)
    assert told(verdict) == [("mine", code)]
    assert verdict.severity == "high"
    assert "knows" not in verdict.reasons[0].text


async def test_a_sync_validator_that_hangs_holds_up_nobody(asking: Open):
    free = threading.Event()
    try:
        verdict = await asking(Sync(free.wait), Says(Invalid("b")), timeout=0.05).check({}, HERE)
        assert told(verdict) == [("Sync", "validator_timeout"), ("says", "invalid")]
    finally:
        free.set()


async def test_a_sync_validator_is_asked_in_a_thread_of_the_pool(asking: Open):
    seen: list[str] = []

    def look() -> Any:
        seen.append(threading.current_thread().name)
        return Valid()

    assert await asking(Sync(look)).check({}, HERE) == Valid()
    assert seen[0].startswith("outlast-validation")


@pytest.mark.parametrize(
    "error",
    [
        LeaseLost(run_id="r", epoch=1), Bubble(),
        BudgetExceeded("spent", budget="b", limit=1, spent=1, unit="usd", resets_at=None),
    ],
    ids=["lease", "bubble", "budget"],
)  # fmt: skip
async def test_what_ends_the_attempt_is_no_verdict(asking: Open, error: Exception):
    async def ends() -> Any:
        raise error

    with pytest.raises(type(error)):
        await asking(Says(ends), Says(Valid())).check({}, HERE)


REQUIRED = {"use": "required", "fields": ["x"]}
RANGES = {"use": "ranges", "fields": {"x": {"min": 1}}}


async def test_nodes_tools_and_the_output_have_their_own_validators():
    table = {
        "validators": ["required"], "tools": {"send_*": [REQUIRED]},
        "agents": {"a": {"validators": [RANGES], "nodes": {"draft": ["length"]}, "tools": {"send_mail": [RANGES]}},
                   "b": {"inherit": False}},
    }  # fmt: skip
    table["agents"]["a"]["nodes"]["draft"] = [{"use": "length", "max": 1}]
    validation = Validation(ValidationSettings(**table), agents=["a", "b", "c"], load=lambda _: None)
    try:
        a, b, c = (validation.of(name) for name in "abc")
        assert [one.called for one in a.validators()] == ["required", "ranges"]
        assert [one.called for one in a.validators(tool="send_mail")] == ["ranges", "required"]
        assert [one.called for one in a.validators(tool="send_fax")] == ["required"]
        assert (a.nodes, a.concerns(node="draft"), a.concerns(node="other")) == (frozenset({"draft"}), True, False)
        assert not b.concerns()
        assert not b.concerns(tool="send_mail")
        assert c.concerns()
        said = await a.check({"x": 0}, Context(tool="send_mail"))
        assert told(said) == [("ranges", "out_of_range")]
        assert await a.check("long", Context(node="draft")) != Valid()
    finally:
        await validation.aclose()


def graph(**nodes: Any) -> Any:
    from langgraph.graph import START, StateGraph

    builder = StateGraph(dict)
    builder.add_node("n", lambda state: state)
    builder.add_edge(START, "n")
    return builder


@pytest.mark.parametrize("compiled", [True, False])
async def test_validators_given_in_code_come_behind_those_of_the_settings(compiled: bool):
    mine = Says(Valid(), "mine")
    builder = graph()
    loaded = validated(builder.compile(), mine, RANGES) if compiled else validated(builder, mine, RANGES).compile()
    validation = Validation(ValidationSettings(validators=["required"]), agents=["a"], load=lambda _: None)
    try:
        assert [one.called for one in validation.of("a", loaded).validators()] == ["required", "mine", "ranges"]
        assert [one.called for one in validation.of("a", graph().compile()).validators()] == ["required"]
    finally:
        await validation.aclose()


async def test_graphs_of_one_builder_have_their_own_validators():
    builder = graph()
    validation = Validation(ValidationSettings(), agents=["a", "b"], load=lambda _: None)
    try:
        first, second = validated(builder.compile(), RANGES), validated(builder.compile(), REQUIRED)
        assert [one.called for one in validation.of("a", first).validators()] == ["ranges"]
        assert [one.called for one in validation.of("b", second).validators()] == ["required"]
    finally:
        await validation.aclose()


async def test_a_node_that_is_not_there_is_told_once(caplog: pytest.LogCaptureFixture):
    nodes = {"n": ["required"], "draft": ["required"]}
    settings = ValidationSettings(agents={"a": {"nodes": nodes}})
    validation = Validation(settings, agents=["a"], load=lambda _: None)
    for _ in range(2):
        validation.of("a", graph().compile())
    await validation.aclose()
    assert [record.getMessage() for record in caplog.records] == [
        "validation.agents.a.nodes names draft, and its graph has no such node"
    ]


def test_a_function_is_no_graph_to_give_validators_to():
    async def agent(given: Any) -> Any:
        return given

    with pytest.raises(ConfigurationError, match="decorate it with LangGraph's @entrypoint"):
        validated(agent, "required")
