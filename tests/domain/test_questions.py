"""What a question is, as its value says it; and a value that nobody understands is still one."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.question import (
    Decision,
    Terms,
    asking,
    hash_of,
    kind_of,
    reasons_of,
    subject_hash,
    text_of,
    word_of,
)
from outlast.errors import InvalidInput

KEYS = (
    "type", "question", "reasons", "allowed", "subject", "deadline_seconds", "default", "needs", "not_requester",
    "assign_to", "action_requests", "review_configs", "action_request", "config", "decision", "decisions",
)  # fmt: skip
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("reject")
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=8,
)


@given(value=VALUES)
def test_any_value_is_a_question_that_somebody_can_answer(value: Any) -> None:
    question = asking("a" * 32, value, agent="a")
    assert question.allowed
    assert question.terms.needs in {1, 2}
    assert question.terms.default in (*question.allowed, None)
    assert question.terms.deadline_seconds is None or 0 < question.terms.deadline_seconds < math.inf
    assert len(question.hash) == 64
    text_of(question.kind, value)
    reasons_of(value)
    assert word_of(question.kind, value) in {"approve", "edit", "reject", "respond"}


def test_the_hash_is_that_of_the_subject_whatever_the_order_of_its_keys() -> None:
    first, second = {"subject": {"a": 1, "b": 2}, "question": "?"}, {"question": "really?", "subject": {"b": 2, "a": 1}}
    assert subject_hash(first) == subject_hash(second) == hash_of({"a": 1, "b": 2})
    assert subject_hash(first) != subject_hash({"subject": {"a": 1, "b": 3}})
    assert subject_hash({"a": 1, "deadline_seconds": 5}) == subject_hash({"a": 1, "deadline_seconds": 6})


def test_a_decision_for_many_calls_is_one_that_each_of_them_allows() -> None:
    value = {
        "action_requests": [{"name": "a"}, {"name": "b"}],
        "review_configs": [
            {"action_name": "a", "allowed_decisions": ["approve", "edit", "reject"]},
            {"action_name": "b", "allowed_decisions": ["approve", "reject"]},
        ],
    }
    assert asking("a" * 32, value, agent="a").allowed == ("approve", "reject")


def test_our_own_approval_of_a_tool_is_told_from_langchains() -> None:
    assert kind_of({"type": "tool_approval", "key": "tool:x", "tool": "refund"}) == "tool_approval"
    assert kind_of({"type": "tool_approval", "tool_call_id": "1", "name": "refund", "args": {}}) == "hitl"
    assert kind_of([{"action_request": {"action": "refund", "args": {}}}]) == "agent_inbox"
    assert kind_of({"type": "budget_exceeded"}) == "budget"


def test_a_default_that_is_not_allowed_is_none() -> None:
    terms = asking("a" * 32, {"allowed": ["reject"], "default": "approve"}, agent="a").terms
    assert terms.default is None
    usual = asking("a" * 32, {"type": "tool_approval"}, agent="a", terms_of=lambda *_: Terms(default="respond"))
    assert usual.terms.default is None


@pytest.mark.parametrize(
    ("sent", "field"),
    [
        (5, "decision"), ({"decision": "maybe"}, "decision"), ({"decision": "approve", "why": 1}, "decision"),
        ({"decision": "approve", "message": 1}, "message"), ({"decision": "approve", "hash": "abc"}, "hash"),
    ],
)  # fmt: skip
def test_a_decision_that_cannot_be_read_is_refused_with_its_field(sent: Any, field: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        Decision.of_json(sent)
    assert refused.value.field == field


def test_two_people_agree_by_what_they_decide_and_not_by_what_they_say() -> None:
    first, second = Decision.of_json("approve"), Decision.of_json({"decision": "approve", "message": "fine"})
    assert first.digest == second.digest != Decision(decision="edit", value=1).digest
