"""What an asker is told by a decision: each kind of question understands an answer of its own shape.

hitl            LangChain's HumanInTheLoopMiddleware: {"decisions": [{"type": ...}, ...]}, one for each call; for a
                question about one call the decision by itself
agent_inbox     Agent Inbox: [{"type": "accept" | "edit" | "response" | "ignore", "args": ...}]
tool_approval   {"approved": true}, or {"approved": false, "reason": ...}
effect_unknown  {"applied": true, "result": ...}, {"applied": false}, or what was responded
budget          {"go_on": ...}
approval        {"approved": ...}
review, escalation: the decision as it is, with the `hash` of what it is about
interrupt       the value that was responded, true or false
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, cast

from outlast.domain.question import Decision, is_call, subject_hash
from outlast.errors import InvalidInput

_Answer = Callable[[Any, Decision], Any]


def answer_of(kind: str, value: Any, decision: Decision) -> Any:
    """Return what the asker of `value` is told; raises InvalidInput when the decision lacks what it needs.

    Whether the decision is allowed is not asked here.
    """
    return _BY_KIND.get(kind, _plain)(value, decision)


def _as_it_is(value: Any, decision: Decision) -> dict[str, Any]:
    if decision.decision == "edit" and decision.value is None:
        raise _missing("an edit has the edited subject as its `value`")
    # Whoever acts on it compares: what is done is what was approved.
    return {**decision.to_json(), "hash": subject_hash(value)}


def _approved(_value: Any, decision: Decision) -> dict[str, Any]:
    if decision.decision == "approve":
        return {"approved": True}
    reason = _said(decision)
    return {"approved": False} | ({"reason": reason} if reason else {})


def _applied(_value: Any, decision: Decision) -> Any:
    match decision.decision:
        case "approve":
            return {"applied": True} | ({} if decision.value is None else {"result": decision.value})
        case "reject":
            return {"applied": False}
        case _:
            value: Any = decision.value
            said = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
            if "applied" in said:
                return said
            raise _missing('respond with {"applied": true, "result": ...}, {"applied": false} or {"applied": null}')


def _budget(_value: Any, decision: Decision) -> dict[str, Any]:
    return {"go_on": decision.decision == "approve"}


def _plain(_value: Any, decision: Decision) -> Any:
    match decision.decision:
        case "approve":
            return True
        case "reject":
            return False
        case _:
            return decision.message if decision.value is None else decision.value


def _agent_inbox(value: Any, decision: Decision) -> list[dict[str, Any]]:
    asked = cast("list[Any]", value)[0] if isinstance(value, list) else value
    request = cast("dict[str, Any]", asked["action_request"])
    match decision.decision:
        case "approve":
            return [{"type": "accept", "args": request}]
        case "reject":
            return [{"type": "ignore", "args": None}]
        case "edit":
            edited = _action(decision.value, str(request.get("action")), name="action")
            return [{"type": "edit", "args": {"action": edited["name"], "args": edited["args"]}}]
        case "respond":
            return [{"type": "response", "args": _response(decision)}]


def _hitl(value: Any, decision: Decision) -> dict[str, Any]:
    if is_call(value):
        return _decided(value, decision, decision.value)
    calls = cast("list[dict[str, Any]]", value["action_requests"])
    values = _by_call(decision, len(calls))
    return {"decisions": [_decided(call, decision, own) for call, own in zip(calls, values, strict=True)]}


def _by_call(decision: Decision, calls: int) -> list[Any]:
    """Return the value for each call: one for all of them, or a list with one for each."""
    value: Any = decision.value
    if not isinstance(value, list):
        if decision.decision == "edit" and calls > 1:
            raise _missing(f"{calls} calls are asked about: edit them with a list, null for one that stays as it is")
        return [value] * calls
    given = cast("list[Any]", value)
    if len(given) != calls:
        raise _missing(f"{calls} calls are asked about, and the value is a list of {len(given)}")
    return given


def _decided(call: Mapping[str, Any], decision: Decision, own: Any) -> dict[str, Any]:
    match decision.decision:
        case "edit":
            if own is None:
                return {"type": "approve"}
            return {"type": "edit", "edited_action": _action(own, str(call.get("name")), name="name")}
        case "reject":
            reason = own if isinstance(own, str) else decision.message
            return {"type": "reject"} | ({"message": reason} if reason else {})
        case "respond":
            return {"type": "respond", "message": own if isinstance(own, str) else _response(decision)}
        case "approve":
            return {"type": "approve"}


def _action(edited: Any, usual: str, *, name: str) -> dict[str, Any]:
    """Return what is called in the place of what was asked about: given whole, or its arguments alone."""
    if not isinstance(edited, Mapping):
        raise _missing("an edit has the arguments to call it with as its `value`, an object")
    given = cast("Mapping[str, Any]", edited)
    if set(given) == {name, "args"} and isinstance(given[name], str) and isinstance(given["args"], Mapping):
        return {"name": given[name], "args": dict(cast("Mapping[str, Any]", given["args"]))}
    return {"name": usual, "args": dict(given)}


def _response(decision: Decision) -> str:
    said = _said(decision)
    if said is None:
        raise _missing("a response has a text as its `value` or `message`")
    return said


def _said(decision: Decision) -> str | None:
    return decision.value if isinstance(decision.value, str) else decision.message


def _missing(what: str) -> InvalidInput:
    return InvalidInput(what, field="value")


_BY_KIND: Final[Mapping[str, _Answer]] = {
    "hitl": _hitl,
    "agent_inbox": _agent_inbox,
    "tool_approval": _approved,
    "effect_unknown": _applied,
    "budget": _budget,
    "approval": _approved,
    "review": _as_it_is,
    "escalation": _as_it_is,
}
