"""`outlast.escalate`: a node or a tool hands a decision to a person, and goes on with it.

decision = outlast.escalate(
    "Refund 120 EUR?", reasons=["more than an agent may refund"], subject={"amount": 120}, default="reject",
    deadline=timedelta(hours=4),
)
if decision["decision"] in {"approve", "edit"}:
    refund(decision.get("value", {"amount": 120})["amount"])
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from langgraph.types import interrupt

from outlast.agents.jsonable import jsonable
from outlast.domain.question import WORDS, Decision, Word, subject_hash
from outlast.domain.review import read_answer
from outlast.errors import InvalidInput
from outlast.validation.validator import Reason

_NOTHING: Final = object()
_HOW: Final = (
    'Answer {"decision": ...} with one of `allowed`; with `edit` as "value" what is to take the place of the subject, '
    'with `respond` what you say; "message" for whoever reads it later.'
)


def escalate(
    question: str,
    *,
    reasons: Iterable[str | Reason | Mapping[str, str]] = (),
    subject: Any = _NOTHING,
    allowed: Sequence[Word] = WORDS,
    deadline: timedelta | float | None = None,
    default: Word | Mapping[str, Any] | None = None,
    needs: int | None = None,
    not_requester: bool | None = None,
    assign_to: str | None = None,
    diff: Any = None,
    links: Any = None,
) -> dict[str, Any]:
    """Ask a person, and return the decision: `{"decision": "approve", "value": ..., "message": ...}`.

    The run waits, durably and at no cost, in the inbox; the node (or the tool) is then executed again from its first
    line and gets the answer here, so what it does before belongs into `outlast.effect` or a node of its own. Works in
    sync and async code. A node that asks several times asks in the same order each time.

    - `subject`: exactly what is decided about, as JSON; an approval is bound to its hash.
    - `reasons`: why, as texts or with codes (`outlast.Reason`).
    - `deadline` (a timedelta or seconds) and `default`: what is decided when nobody answers until then, a word or a
      whole decision. Without a default the question stays open.
    - `needs`: 2 for two people who agree; `not_requester`: whoever asked for the run may not approve.
    - `value` of the answer: with `edit` what is to stand in the place of the subject, with `respond` what was said.

    An answer that cannot be read, or is for another subject than the node asks about when it is executed again, is
    asked for again. Raises InvalidInput for a default that is not allowed, and RuntimeError outside of a run.
    """
    asked = _value(
        question=question,
        reasons=[_reason(reason) for reason in reasons],
        allowed=list(allowed),
        deadline_seconds=deadline.total_seconds() if isinstance(deadline, timedelta) else deadline,
        default=_default(default, allowed),
        needs=needs,
        not_requester=not_requester,
        assign_to=assign_to,
        diff=jsonable(diff),
        links=jsonable(links),
    )
    if subject is not _NOTHING:
        asked["subject"] = jsonable(subject)
    return _answered(asked, allowed)


def _answered(asked: dict[str, Any], allowed: Sequence[Word]) -> dict[str, Any]:
    shown = asked
    while True:
        answer = interrupt(shown)
        try:
            decision = read_answer(answer, allowed=allowed)
            if decision.hash in {None, subject_hash(shown)}:
                return decision.to_json()
            problem = "what is asked about has changed since it was decided about; look at it again"
        except InvalidInput as error:
            problem = str(error)
        shown = {**asked, "problem": problem}


def _value(**fields: Any) -> dict[str, Any]:
    given = {name: value for name, value in fields.items() if value is not None}
    return {"type": "escalation", **given, "how": _HOW}


def _reason(reason: str | Reason | Mapping[str, str]) -> dict[str, str]:
    if isinstance(reason, Reason):
        return reason.as_json()
    return {"code": "escalated", "text": reason} if isinstance(reason, str) else dict(reason)


def _default(given: Word | Mapping[str, Any] | None, allowed: Sequence[Word]) -> dict[str, Any] | None:
    if given is None:
        return None
    decision = Decision.of_json(given, field="default")
    if decision.decision not in allowed:
        msg = f"the default {decision.decision!r} is not among what is allowed: {', '.join(allowed)}"
        raise InvalidInput(msg, field="default")
    return decision.to_json()
