"""The built-in policies, one by one, and how they are put together from the settings."""

from collections.abc import Mapping
from datetime import UTC, datetime, time
from typing import Any
from uuid import uuid4

import pytest

from outlast.domain.acting import Principal
from outlast.domain.admission import Allow, AskHuman, Later, Refuse
from outlast.domain.options import RunOptions
from outlast.domain.policy import PolicyFacts, PolicyRequest
from outlast.domain.run import NewRun
from outlast.errors import ConfigurationError
from outlast.policies.building import build
from outlast.policies.engine import PolicyEngine
from outlast.policies.hours import WorkingHours
from outlast.policies.policing import Policing
from outlast.policies.policy import Policy
from outlast.policies.switchboard import Switchboard
from outlast.settings import load
from outlast.settings_policies import HoursSettings, PolicySettings

SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)


class Never(Policy):
    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Refuse:
        return Refuse("never")


class NeedsArguments(Policy):
    def __init__(self, what: str) -> None:
        self.what = what

    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Allow:
        return Allow()


OWN: Mapping[str, Any] = {
    "./p.py:Never": Never,
    "./p.py:never": Never(),
    "./p.py:wrong": int,
    "./p.py:args": NeedsArguments,
}


def policing(tables: Mapping[str, Any], at: datetime = SATURDAY) -> Policing:
    settings = PolicySettings(**tables)
    engine = PolicyEngine(build(settings, load=OWN.__getitem__), timeout_seconds=1)
    nothing: Any = None
    return Policing(
        settings=settings, engine=engine, board=Switchboard(nothing, look_seconds=1), hold=nothing, now=lambda: at
    )


def run(given: Any = None, **fields: Any) -> NewRun:
    usual: dict[str, Any] = {"id": uuid4(), "thread_id": "t", "agent": "support", "config": {}, "metadata": {}}
    return NewRun(input=given, **(usual | fields))


async def admitted(tables: Mapping[str, Any], new: NewRun, *, tenant: str = "acme", at: datetime = SATURDAY) -> Any:
    opened = policing(tables, at)
    try:
        return await opened.admit(new, Principal(tenant=tenant))
    finally:
        await opened.aclose()


async def named(
    tables: Mapping[str, Any], kind: str, name: str, *, agent: str = "support", tenant: str = "acme"
) -> Any:
    fields: dict[str, Any] = {"kind": kind, kind: name, "agent": agent}
    facts = PolicyFacts(tenant=tenant, agent=agent, at=SATURDAY)
    return (await policing(tables).decide(PolicyRequest(**fields), facts)).verdict


# models and tools

MODELS = {
    "models": {
        "deny": ["*:*-preview"],
        "agents": {"support": {"allow": ["openai:gpt-4o*"]}},
        "tenants": {"acme": {"deny": ["openai:gpt-4o"]}},
    }
}


@pytest.mark.parametrize(
    ("model", "agent", "tenant", "allowed"),
    [
        ("openai:gpt-4o-mini", "support", "acme", True),
        ("openai:gpt-4o", "support", "acme", False),
        ("openai:gpt-4o", "support", "other", True),
        ("anthropic:claude", "support", "other", False),
        ("anthropic:claude", "report", "acme", True),
        ("openai:gpt-4o-preview", "support", "other", False),
    ],
)
async def test_a_model_needs_the_yes_of_all_the_agent_and_the_tenant(
    model: str, agent: str, tenant: str, allowed: bool
) -> None:
    verdict = await named(MODELS, "model", model, agent=agent, tenant=tenant)
    assert isinstance(verdict, Allow if allowed else Refuse)


async def test_tools_are_allowed_denied_or_asked_about() -> None:
    tables = {
        "tools": {"allow": ["search", "send_*"], "deny": ["send_money"], "agents": {"support": {"ask": ["send_*"]}}}
    }
    assert isinstance(await named(tables, "tool", "search"), Allow)
    assert isinstance(await named(tables, "tool", "send_mail"), AskHuman)
    assert isinstance(await named(tables, "tool", "send_mail", agent="report"), Allow)
    assert isinstance(await named(tables, "tool", "send_money"), Refuse)
    assert isinstance(await named(tables, "tool", "delete"), Refuse)


async def test_a_refusal_names_the_setting_that_says_so() -> None:
    verdict = await named(MODELS, "model", "openai:gpt-4o")
    assert "policies.models.tenants.acme.deny" in verdict.reason


# limits of runs


@pytest.mark.parametrize(("asked", "stored"), [(None, 10), (5, 5), (500, 10)])
async def test_a_run_asks_for_no_more_steps_than_it_may_have(asked: int | None, stored: int) -> None:
    config = {} if asked is None else {"recursion_limit": asked}
    verdict = await admitted({"runs": {"steps": 10}}, run(config=config))
    after = verdict.instead or run(config=config)
    assert after.config["recursion_limit"] == stored


@pytest.mark.parametrize(("asked", "stored"), [(None, 60), (30, 30), (600, 60)])
async def test_an_attempt_has_no_more_time_than_it_may_have(asked: int | None, stored: int) -> None:
    verdict = await admitted({"runs": {"tenants": {"acme": {"seconds": 60}}}}, run(timeout_seconds=asked))
    assert (verdict.instead or run(timeout_seconds=asked)).timeout_seconds == stored


def test_the_least_of_what_applies_counts() -> None:
    opened = policing({"runs": {"tokens": 100, "cost_usd": 5, "agents": {"support": {"tokens": 50}},
                                "tenants": {"acme": {"tokens": 80, "cost_usd": 1}}}})  # fmt: skip
    limits = opened.limits("acme", "support")
    assert (limits.tokens, limits.cost_usd, limits.steps) == (50, 1, None)
    assert opened.limits("other", "report").tokens == 100


# hours

BERLIN = {"zone": "Europe/Berlin", "opens": "08:00", "closes": "18:00"}


@pytest.mark.parametrize(
    ("at", "open_"),
    [
        (datetime(2026, 11, 20, 7, 0, tzinfo=UTC), True),  # Friday, 8:00 in Berlin
        (datetime(2026, 11, 20, 6, 59, tzinfo=UTC), False),
        (datetime(2026, 11, 20, 16, 59, tzinfo=UTC), True),
        (datetime(2026, 11, 20, 17, 0, tzinfo=UTC), False),
        (datetime(2026, 7, 17, 6, 0, tzinfo=UTC), True),  # in summer it is two hours ahead
        (SATURDAY, False),
    ],
)
async def test_runs_begin_in_the_hours_of_the_zone(at: datetime, open_: bool) -> None:
    assert isinstance(await admitted({"hours": BERLIN}, run(), at=at), Allow if open_ else Refuse)


async def test_a_run_may_wait_until_it_opens() -> None:
    verdict = await admitted({"hours": {**BERLIN, "closed": "later"}}, run())
    assert isinstance(verdict, Later)
    # Saturday noon to Monday 8:00 in Berlin, which is 7:00 in UTC.
    assert verdict.seconds == (12 + 24 + 7) * 3600


def test_what_opens_in_the_evening_is_open_past_midnight() -> None:
    hours = WorkingHours(HoursSettings(days=("fri",), opens=time(22), closes=time(4)))
    assert hours.opens_at(datetime(2026, 11, 21, 3, 59, tzinfo=UTC)) is None
    assert hours.opens_at(datetime(2026, 11, 21, 4, 0, tzinfo=UTC)) == datetime(2026, 11, 27, 22, tzinfo=UTC)


def test_an_hour_that_comes_twice_does_not_confuse_it() -> None:
    hours = WorkingHours(HoursSettings(days=("sun",), opens=time(2, 30), closes=time(3, 30), zone="Europe/Berlin"))
    # The clock goes back from 3:00 to 2:00 on 2026-10-25.
    assert hours.opens_at(datetime(2026, 10, 25, 2, 0, tzinfo=UTC)) is None
    assert hours.opens_at(datetime(2026, 10, 25, 2, 31, tzinfo=UTC)) is not None


async def test_agents_that_are_not_named_have_no_hours() -> None:
    assert isinstance(await admitted({"hours": {**BERLIN, "agents": ["report"]}}, run()), Allow)


# patterns and personal data


async def test_a_blocked_pattern_refuses_wherever_it_stands() -> None:
    tables = {"patterns": {"hotline": {"pattern": r"project\s+x", "reason": "not a word about that"}}}
    for given in ({"a": [{"b": "Project  X"}]}, {"project x": 1}):
        verdict = await admitted(tables, run(given))
        assert verdict == Refuse("not a word about that", "patterns")
    command = RunOptions(protocol="v1", command={"resume": "project x"})
    assert isinstance(await admitted(tables, run(options=command)), Refuse)
    assert isinstance(await admitted(tables, run({"a": "projector"})), Allow)


async def test_an_input_that_takes_too_long_to_look_at_is_refused() -> None:
    tables = {"patterns": {"evil": {"pattern": "(a+)+$"}}, "pattern_timeout": 0.2}
    verdict = await admitted(tables, run("a" * 40 + "!"))
    assert isinstance(verdict, Refuse)
    assert "too long" in verdict.reason


async def test_personal_data_is_masked_before_the_run_is_stored() -> None:
    given = {"messages": [{"content": "I am ann@example.com"}], "card": 4111111111111111, "n": 5}
    options = RunOptions(protocol="v1", command={"resume": "ann@example.com"})
    verdict = await admitted({"personal_data": {"found": "mask"}}, run(given, options=options))
    assert verdict.instead.input == {"messages": [{"content": "I am <email>"}], "card": "<credit_card>", "n": 5}
    assert verdict.instead.options.command == {"resume": "<email>"}
    assert given["messages"][0]["content"] == "I am ann@example.com"
    assert "email (2)" in verdict.note
    assert "ann" not in verdict.note


@pytest.mark.parametrize(("found", "kind"), [("refuse", Refuse), ("ask", AskHuman), ("nothing", Allow)])
async def test_personal_data_is_refused_asked_about_or_let_in(found: str, kind: type) -> None:
    verdict = await admitted({"personal_data": {"found": found}}, run("ann@example.com"))
    assert isinstance(verdict, kind)
    assert "ann" not in str(verdict)


async def test_a_run_that_is_masked_and_has_to_wait_does_both() -> None:
    opened = policing({"personal_data": {"found": "mask"}, "hours": {**BERLIN, "closed": "ask"}})
    who, new = Principal(tenant="acme"), run("ann@example.com")
    changed: Any = await opened.admit(new, who)
    assert changed.instead.input == "<email>"
    assert isinstance(await opened.admit_changed(changed.instead, who), AskHuman)
    assert await opened.admit_changed(changed.instead, who) == Allow()


# the order


def names(tables: Mapping[str, Any]) -> list[str]:
    return [policy.called for policy in build(PolicySettings(**tables), load=OWN.__getitem__)]


def test_what_says_nothing_is_not_asked() -> None:
    assert names({}) == []
    assert names({"models": {"allow": ["x"]}, "hours": {"opens": "08:00"}}) == ["hours", "models"]


def test_the_order_is_that_of_the_settings() -> None:
    tables = {
        "order": ["models", "./p.py:Never", "./p.py:never", "hours"],
        "models": {"deny": ["x"]},
        "hours": {"opens": "08:00"},
    }
    assert names(tables) == ["models", "Never", "Never", "hours"]


@pytest.mark.parametrize(
    ("tables", "told"),
    [
        ({"order": ["hours"], "models": {"deny": ["x"]}}, r"leaves out models"),
        ({"order": ["hourz"]}, "no built-in policy"),
        ({"order": ["./p.py:wrong"]}, "no outlast.Policy"),
        ({"order": ["./p.py:args"]}, "gets no arguments"),
        ({"patterns": {"broken": {"pattern": "(a"}}}, r"policies\.patterns\.broken\.pattern"),
    ],
)
def test_what_is_wrong_is_told_at_the_start(tables: Mapping[str, Any], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        names(tables)


def test_a_zone_that_does_not_exist_is_told() -> None:
    with pytest.raises(ConfigurationError, match=r"policies\.hours\.zone.*Berlyn"):
        load(project={"policies": {"hours": {"zone": "Europe/Berlyn"}}})
