"""Our questions as Agent Inbox shows them, and its answers as those who ask understand them.

Agent Inbox reads the `interrupts` of threads. What has `action_request` and `config` it shows with its arguments and a
button for each decision; LangChain's HITL requests it brings into that shape itself; everything else is raw JSON that
can only be ignored. So threads show our own questions with these keys added, beside all that they say anyway.

Whatever was asked, it answers `[{"type": "accept" | "edit" | "response" | "ignore", "args": ...}]`, or the same within
`{"decisions": ...}`, by `command.resume`, and in edited arguments every value is a text. A graph that asked in Agent
Inbox's own shape wants exactly that. For our own questions and for LangChain's middleware it is turned into their own
answers, with numbers where there were numbers.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast

import orjson

from outlast.domain.question import Decision, Word, allowed_of, is_call, kind_of, reasons_of, subject_of, text_of
from outlast.domain.thread import Questions, ThreadView
from outlast.errors import InvalidInput
from outlast.inbox.answers import answer_of

#: Kinds whose question is ours to shape.
_OWN: Final = frozenset({"review", "escalation", "tool_approval", "effect_unknown", "budget", "approval"})
_TYPES: Final = frozenset({"accept", "edit", "response", "ignore"})
_HITL: Final = _TYPES | {"approve", "reject"}
_WORDS: Final[Mapping[str, Word]] = {
    "accept": "approve", "edit": "edit", "response": "respond", "ignore": "reject"
}  # fmt: skip
# What the description says in words, or the buttons.
_SAID: Final = frozenset({
    "type", "question", "reasons", "reason", "allowed", "how", "diff", "deadline_seconds", "default", "needs",
    "not_requester", "assign_to", "links", "problem",
})  # fmt: skip
_WHOLE: Final = "value"


def shown(interrupts: Questions) -> dict[str, list[Mapping[str, Any]]]:
    """Return the open questions of a thread as its clients get them."""
    return {task: [_shown(question) for question in questions] for task, questions in interrupts.items()}


def _shown(question: Mapping[str, Any]) -> Mapping[str, Any]:
    value = question.get("value")
    # The middleware's questions about one call are not in the shape that Agent Inbox knows of it.
    if not isinstance(value, Mapping) or not (kind_of(value) in _OWN or is_call(value)):
        return question
    own = _mapping(value)
    return {**question, "value": {**own, **human_interrupt(own)}}


def human_interrupt(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return a question of our own as Agent Inbox's `HumanInterrupt`."""
    kind = kind_of(value)
    allowed = allowed_of(kind, value)
    title = next((value[name] for name in ("tool", "effect", "name") if value.get(name)), kind)
    return {
        "action_request": {"action": str(title), "args": _arguments(kind, value)},
        "config": {
            "allow_accept": "approve" in allowed,
            "allow_edit": "edit" in allowed,
            "allow_respond": "respond" in allowed,
            "allow_ignore": "reject" in allowed,
        },
        "description": _description(kind, value),
    }


def _arguments(kind: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """Return what is approved, as fields that can be edited one by one."""
    for name in ("subject", "arguments", "args"):
        if name in value:
            whole = value[name]
            return dict(cast("Mapping[str, Any]", whole)) if isinstance(whole, Mapping) else {_WHOLE: whole}
    return {name: item for name, item in value.items() if name not in _SAID} if kind != "review" else {}


def _description(kind: str, value: Mapping[str, Any]) -> str:
    reasons = "\n".join(f"- {reason.text or reason.code}" for reason in reasons_of(value))
    diff = value.get("diff")
    text = diff if isinstance(diff, str) else orjson.dumps(diff, option=orjson.OPT_INDENT_2).decode()
    parts = (text_of(kind, value), reasons, f"```diff\n{text}\n```" if diff else "", value.get("how"))
    return "\n\n".join(part for part in parts if isinstance(part, str) and part)


def is_reply(resume: Any) -> bool:
    """Whether an answer has the shape in which Agent Inbox sends it, whatever was asked."""
    return _reply(resume) is not None or _decisions(resume) is not None


def heard(resume: Any, thread: ThreadView) -> Any:
    """Return an answer of Agent Inbox as the one question that the thread asks wants it; others as they are.

    Raises InvalidInput for what this question does not allow.
    """
    open_ones = [question for questions in thread.interrupts.values() for question in questions]
    if len(open_ones) != 1:
        return resume
    value = open_ones[0].get("value")
    kind, reply, decisions = kind_of(value), _reply(resume), _decisions(resume)
    if kind == "hitl" and decisions is not None:
        return {"decisions": _of_calls(decisions, _calls(value))}
    if is_call(value) and reply is not None:
        return _of_call(reply, *_calls(value))
    if kind in _OWN and reply is not None:
        return answer_of(kind, value, _decision(reply, kind, value))
    return resume


def _reply(resume: Any) -> Mapping[str, Any] | None:
    listed = _list(resume)
    return _mapping(listed[0]) if len(listed) == 1 and _is_reply(listed[0], _TYPES) else None


def _decisions(resume: Any) -> list[Mapping[str, Any]] | None:
    """Return decisions that have the `args` that LangChain's own have not."""
    listed = _list(_mapping(resume).get("decisions"))
    return [_mapping(each) for each in listed] if listed and all(_is_reply(each, _HITL) for each in listed) else None


def _is_reply(reply: Any, types: frozenset[str]) -> bool:
    said = _mapping(reply)
    return set(said) == {"type", "args"} and isinstance(said["type"], str) and said["type"] in types


def _decision(reply: Mapping[str, Any], kind: str, value: Any) -> Decision:
    allowed, args, word = allowed_of(kind, value), reply["args"], _WORDS[reply["type"]]
    if word not in allowed:
        msg = f"this question cannot be answered by {word}; it allows {', '.join(allowed)}"
        raise InvalidInput(msg, field="command.resume")
    match word:
        case "edit":
            return Decision(decision=word, value=_edited(args, kind, value))
        case "respond":
            return Decision(decision=word, value=args, message=args if isinstance(args, str) else None)
        case _:
            return Decision(decision=word)


def _edited(args: Any, kind: str, value: Any) -> Any:
    """Return the subject as a person has left it."""
    fields = _mapping(args).get("args")
    if not isinstance(fields, Mapping):
        raise InvalidInput('an edit is {"action": ..., "args": {...}}', field="command.resume")
    after = _retyped(_mapping(fields), _arguments(kind, _mapping(value)))
    return after if isinstance(subject_of(value), Mapping) else after.get(_WHOLE)


def _calls(value: Any) -> list[Mapping[str, Any]]:
    """Return the calls that LangChain's middleware asks about."""
    own = _mapping(value)
    return [own] if is_call(value) else [_mapping(call) for call in _list(own.get("action_requests"))]


def _of_calls(decisions: Sequence[Mapping[str, Any]], calls: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    if len(calls) != len(decisions):
        # The graph would fail with it.
        msg = f"this question is about {len(calls)} calls; send as many decisions, in their order"
        raise InvalidInput(msg, field="command.resume")
    return [_of_middleware(*pair) for pair in zip(decisions, calls, strict=True)]


def _of_call(reply: Mapping[str, Any], call: Mapping[str, Any]) -> Mapping[str, Any]:
    if reply["type"] == "response" and isinstance(reply["args"], str):
        return {"type": "respond", "message": reply["args"]}
    return _of_middleware(reply, call)


def _of_middleware(decision: Mapping[str, Any], call: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the decision in the words of LangChain's middleware."""
    args = decision["args"]
    match decision["type"]:
        case "accept" | "approve":
            return {"type": "approve"}
        case "edit":
            edited = _mapping(args)
            fields = _retyped(_mapping(edited.get("args")), _mapping(call.get("args")))
            return {"type": "edit", "edited_action": {"name": edited.get("action") or call.get("name"), "args": fields}}
        case _:
            return {"type": "reject", "message": args} if isinstance(args, str) and args else {"type": "reject"}


def _retyped(after: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    return {name: retyped(item, before.get(name)) for name, item in after.items()}


def retyped(given: Any, before: Any) -> Any:
    """Return an edited field as what it was before, where its text says such a thing: "12.5" for a 10 is 12.5."""
    if not isinstance(given, str) or before is None or isinstance(before, str):
        return given
    try:
        read: Any = orjson.loads(given)
    except orjson.JSONDecodeError:
        return given
    return read if _alike(read, before) else given


def _alike(read: Any, before: Any) -> bool:
    if read is None or isinstance(before, bool) or isinstance(read, bool):
        return read is None or (isinstance(before, bool) and isinstance(read, bool))
    return type(read) is type(before) or (isinstance(read, int | float) and isinstance(before, int | float))


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return cast("list[Any]", value) if isinstance(value, list) else []
