"""The order of policies, and what becomes of those that cannot decide."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from outlast.domain.admission import Allow, AskHuman, Later, Refuse
from outlast.domain.policy import PolicyFacts, PolicyRequest
from outlast.policies.engine import PolicyEngine
from outlast.policies.policy import Instead, Policy

FACTS = PolicyFacts(tenant="acme", agent="support", at=datetime(2026, 11, 21, 12, tzinfo=UTC))
RUN = PolicyRequest(kind="run", agent="support", input={"task": "go"})


class Says(Policy):
    def __init__(self, called: str, answer: Callable[[PolicyRequest], Any]) -> None:
        self.name = called  # pyright: ignore[reportIncompatibleVariableOverride]
        self._answer = answer
        self.asked: list[PolicyRequest] = []

    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Any:
        self.asked.append(request)
        return self._answer(request)


def saying(called: str, answer: Any) -> Says:
    return Says(called, lambda _: answer)


def engine(*policies: Policy) -> PolicyEngine:
    return PolicyEngine(policies, timeout_seconds=0.05)


async def test_the_first_refusal_counts_and_nobody_is_asked_after_it() -> None:
    last = saying("last", Allow())
    decided = await engine(saying("a", Allow()), saying("b", Refuse("no")), saying("c", Refuse("never")), last).decide(
        RUN, FACTS
    )
    assert decided.verdict == Refuse("no", "b")
    assert decided.by == "b"
    assert not last.asked


async def test_a_refusal_wins_over_a_question_before_it() -> None:
    decided = await engine(saying("a", AskHuman("may it?")), saying("b", Refuse("no"))).decide(RUN, FACTS)
    assert decided.verdict == Refuse("no", "b")


async def test_the_first_question_is_asked_and_wins_over_a_delay() -> None:
    policies = (saying("a", Later(5, "soon")), saying("b", AskHuman("may it?")), saying("c", AskHuman("really?")))
    assert (await engine(*policies).decide(RUN, FACTS)).verdict == AskHuman("may it?", "b")


async def test_the_longest_delay_counts() -> None:
    policies = (saying("a", Later(5, "soon")), saying("b", Later(60, "later")), saying("c", Later(7, "soon")))
    assert (await engine(*policies).decide(RUN, FACTS)).verdict == Later(60, "later")


async def test_who_comes_after_a_change_sees_the_change() -> None:
    changed = PolicyRequest(kind="run", agent="support", input={"task": "<email>"})
    last = saying("last", Allow())
    decided = await engine(saying("a", Instead(changed, "masked")), last).decide(RUN, FACTS)
    assert last.asked == [changed]
    assert (decided.request, decided.notes) == (changed, ("masked",))


async def hangs(_: PolicyRequest) -> Any:
    await asyncio.Event().wait()


def fails(_: PolicyRequest) -> Any:
    raise KeyError("secret-of-the-policy")


@pytest.mark.parametrize(
    "answer", [fails, hangs, lambda _: None, lambda _: True], ids=["raises", "hangs", "none", "yes"]
)
async def test_a_policy_that_cannot_decide_refuses(answer: Callable[[PolicyRequest], Any]) -> None:
    decided = await engine(Says("mine", answer)).decide(RUN, FACTS)
    assert isinstance(decided.verdict, Refuse)
    assert decided.by == "mine"
    assert "secret" not in decided.verdict.reason


async def test_nobody_is_asked_about_what_a_policy_is_not_about() -> None:
    policy = saying("runs only", Refuse("no"))
    tool = PolicyRequest(kind="tool", agent="support", tool="search")
    assert (await engine(policy).decide(tool, FACTS)).verdict == Allow()
    assert not engine(policy).concerns("tool")
    assert engine(policy).concerns("run")
