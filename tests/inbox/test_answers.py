"""What each asker is told by a decision."""

from typing import Any

import pytest

from outlast.domain.question import Decision, hash_of, kind_of, subject_hash
from outlast.errors import InvalidInput
from outlast.inbox.answers import answer_of

HITL: Any = {
    "action_requests": [
        {"name": "refund", "args": {"eur": 900}, "description": "Refund 900?"}, {"name": "mail", "args": {"to": "ann"}},
    ],
    "review_configs": [],
}  # fmt: skip
ONE_CALL = {"type": "tool_approval", "tool_call_id": "call 1", "name": "refund", "args": {"eur": 9}, "description": "?"}
AGENT_INBOX = {"action_request": {"action": "refund", "args": {"eur": 9}}, "config": {}, "description": "?"}


def decide(word: Any, value: Any = None, message: str | None = None) -> Decision:
    return Decision(decision=word, value=value, message=message)


@pytest.mark.parametrize(
    ("value", "decision", "answer"),
    [
        ("go?", decide("approve"), True),
        ("go?", decide("reject"), False),
        ("go?", decide("respond", {"a": 1}), {"a": 1}),
        ("go?", decide("respond", message="later"), "later"),
        ("go?", decide("edit", 5), 5),
        ({"type": "tool_approval", "key": "tool:x"}, decide("approve"), {"approved": True}),
        ({"type": "tool_approval", "key": "tool:x"}, decide("reject", message="no"),
         {"approved": False, "reason": "no"}),
        ({"type": "approval"}, decide("reject"), {"approved": False}),
        ({"type": "effect_unknown"}, decide("approve", {"id": 7}), {"applied": True, "result": {"id": 7}}),
        ({"type": "effect_unknown"}, decide("reject"), {"applied": False}),
        ({"type": "effect_unknown"}, decide("respond", {"applied": None}), {"applied": None}),
        ({"type": "budget_exceeded"}, decide("approve"), {"go_on": True}),
        ({"type": "budget"}, decide("reject"), {"go_on": False}),
        ({"type": "review"}, decide("edit", {"price": 5}, "typo"),
         {"decision": "edit", "value": {"price": 5}, "message": "typo", "hash": subject_hash({"type": "review"})}),
        ({"type": "escalation", "subject": 5}, decide("approve"), {"decision": "approve", "hash": hash_of(5)}),
        (HITL, decide("approve"), {"decisions": [{"type": "approve"}, {"type": "approve"}]}),
        (HITL, decide("reject", message="no"), {"decisions": [{"type": "reject", "message": "no"}] * 2}),
        (HITL, decide("edit", [{"eur": 5}, None]),
         {"decisions": [
             {"type": "edit", "edited_action": {"name": "refund", "args": {"eur": 5}}}, {"type": "approve"},
         ]}),
        (HITL, decide("respond", ["done", "sent"]),
         {"decisions": [{"type": "respond", "message": "done"}, {"type": "respond", "message": "sent"}]}),
        (ONE_CALL, decide("approve"), {"type": "approve"}),
        (ONE_CALL, decide("edit", {"name": "refund", "args": {"eur": 5}}),
         {"type": "edit", "edited_action": {"name": "refund", "args": {"eur": 5}}}),
        (AGENT_INBOX, decide("approve"), [{"type": "accept", "args": AGENT_INBOX["action_request"]}]),
        ([AGENT_INBOX], decide("edit", {"eur": 5}),
         [{"type": "edit", "args": {"action": "refund", "args": {"eur": 5}}}]),
        ([AGENT_INBOX], decide("respond", "why?"), [{"type": "response", "args": "why?"}]),
        (AGENT_INBOX, decide("reject"), [{"type": "ignore", "args": None}]),
    ],
)  # fmt: skip
def test_the_asker_is_told_in_its_own_words(value: Any, decision: Decision, answer: Any) -> None:
    assert answer_of(kind_of(value), value, decision) == answer


@pytest.mark.parametrize(
    ("value", "decision"),
    [
        (HITL, decide("edit", {"eur": 5})),
        (HITL, decide("edit", [{"eur": 5}])),
        (HITL, decide("respond")),
        (ONE_CALL, decide("edit", "5")),
        (AGENT_INBOX, decide("respond")),
        ({"type": "effect_unknown"}, decide("respond", "perhaps")),
        ({"type": "review"}, decide("edit")),
    ],
)
def test_a_decision_that_lacks_what_it_needs_is_refused(value: Any, decision: Decision) -> None:
    with pytest.raises(InvalidInput) as refused:
        answer_of(kind_of(value), value, decision)
    assert refused.value.field == "value"
