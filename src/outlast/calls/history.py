"""Tool calls and their results in pairs, as every provider demands before it answers.

A cancel, a crash or a timeout in the middle of tool calls leaves a thread whose newest message asks for tools and has
no results. OpenAI and Anthropic refuse such a history with status 400 for ever after, so it is mended in what the
model is shown; the thread itself stays as it is.

    a call without a result      gets one that says: interrupted, outcome unknown
    a call that cannot be read   gets one that says so; without an id or a name it is left out
    a result without a call      is left out
    several results of a call    the last one counts
    a result elsewhere           moves right behind its call
    an id that is used twice     the later call and its result get another one
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Final, TypeVar, cast

from langchain_core.messages import AIMessage, BaseMessage, ToolMessage

M = TypeVar("M", bound=BaseMessage)

INTERRUPTED: Final = (
    "This call was interrupted, and nobody knows whether it was carried out. If it changes anything, look at what is "
    "there before you call it again."
)
UNREADABLE: Final = "This call was not carried out: its arguments are not valid JSON."
_LEFT_OUT: Final = "(A call of a tool that could not be read was left out here.)"
_AI: Final = frozenset({"ai", "AIMessageChunk"})
_TOOL: Final = frozenset({"tool", "ToolMessageChunk"})
# How providers write calls into the content, beside `tool_calls`.
_CALL_BLOCKS: Final = frozenset({"tool_use", "function_call", "tool_call", "invalid_tool_call"})


def mended(messages: list[M]) -> list[M]:
    """Return the messages with calls and results paired; the list itself when there is nothing to mend.

    A pure function: equal messages are mended alike, so that an answer is found again by what was asked.
    """
    if _paired(messages):
        return messages
    return cast("list[M]", _mended(cast("list[BaseMessage]", messages)))


def _paired(messages: Sequence[Any]) -> bool:
    """Whether nothing is to mend. On the path of every call: types go by their name, and nothing is made in vain."""
    open_ids: set[Any] = set()
    seen: set[Any] = set()
    for message in messages:
        # A pydantic model's own attributes take twice as long.
        fields = message.__dict__
        kind = fields.get("type")
        if kind in _TOOL:
            if fields["tool_call_id"] not in open_ids:
                return False
            open_ids.remove(fields["tool_call_id"])
            continue
        if open_ids and not open_ids <= _results_within(message):
            return False
        open_ids = _sound_ids(fields, seen) if kind in _AI else _NONE
        if open_ids is _UNSOUND:
            return False
    return not open_ids


_ID: Final = itemgetter("id")
_NONE: Final[set[Any]] = set()
_UNSOUND: Final[set[Any]] = {None}


def _sound_ids(fields: Mapping[str, Any], seen: set[Any]) -> set[Any]:
    """Return the ids of a message's calls, and add them to those seen; _UNSOUND when one of them needs mending."""
    calls, content = fields["tool_calls"], fields["content"]
    if fields["invalid_tool_calls"]:
        # Unreadable calls need results, too.
        calls = [*calls, *fields["invalid_tool_calls"]]
        if not all(call.get("name") and call.get("id") for call in calls):
            return _UNSOUND
    if not calls:
        sound = type(content) is str or _blocks_fit(content, _NONE)
        return _NONE if sound and "tool_calls" not in fields["additional_kwargs"] else _UNSOUND
    ids = set(map(_ID, calls))
    sound = type(content) is str or _blocks_fit(content, ids)
    if not sound or len(ids) != len(calls) or not all(ids) or not seen.isdisjoint(ids):
        return _UNSOUND
    seen |= ids
    return ids


def _blocks_fit(content: object, ids: set[Any]) -> bool:
    written = [_call_of(block) for block in _blocks(content) if _is_call(block)]
    return not written or (len(set(written)) == len(written) and ids.issuperset(written))


def _blocks(content: object) -> list[Any]:
    return cast("list[Any]", content) if isinstance(content, list) else []


def _is_call(block: object) -> bool:
    return isinstance(block, dict) and cast("dict[str, Any]", block).get("type") in _CALL_BLOCKS


def _call_of(block: Mapping[str, Any]) -> Any:
    return block.get("call_id") or block.get("id")


def _results_within(message: BaseMessage) -> set[Any]:
    """Return whose results a person's message carries, as Anthropic's own format has it."""
    blocks = [cast("dict[str, Any]", block) for block in _blocks(message.content) if isinstance(block, dict)]
    return {block.get("tool_use_id") for block in blocks if block.get("type") == "tool_result"}


@dataclass(slots=True)
class _Call:
    """A call of the history, where it stands, and what became of it."""

    given: Mapping[str, Any]
    #: The index of its message.
    at: int
    #: Its id, unlike that of every other call.
    id: str
    readable: bool
    result: ToolMessage | None = None
    #: Its result is part of the next message.
    within: bool = False


@dataclass(slots=True)
class _Calls:
    """The calls of a history, by message and by the id that they were made with."""

    by_message: dict[int, list[_Call]] = field(default_factory=dict[int, list[_Call]])
    by_id: dict[Any, list[_Call]] = field(default_factory=dict[Any, list[_Call]])
    ids: set[str] = field(default_factory=set[str])

    def made_by(self, message: AIMessage, at: int) -> None:
        """Add the calls of a message, but those that no result could name."""
        for call in message.tool_calls:
            self._add(at, cast("Mapping[str, Any]", call), readable=True)
        for call in message.invalid_tool_calls:
            if call.get("id") and call.get("name"):
                self._add(at, cast("Mapping[str, Any]", call), readable=False)

    def answered(self, result: ToolMessage, at: int) -> None:
        """Give a result to its call: that of the nearest message before it, else of the first one behind."""
        calls = self.by_id.get(result.tool_call_id, [])
        before = [call for call in calls if call.at < at]
        near = [call for call in before if call.at == before[-1].at] if before else calls[:1]
        for call in near:
            if call.result is None or call is near[-1]:
                call.result = result
                return

    def _add(self, at: int, given: Mapping[str, Any], *, readable: bool) -> None:
        name = given.get("id")
        call = _Call(given, at, self._unlike_others(name or f"call_{at}"), readable)
        self.ids.add(call.id)
        self.by_message.setdefault(at, []).append(call)
        self.by_id.setdefault(name, []).append(call)

    def _unlike_others(self, name: str) -> str:
        number, unique = 2, name
        while unique in self.ids:
            unique, number = f"{name}_{number}", number + 1
        return unique


def _mended(messages: list[BaseMessage]) -> list[BaseMessage]:
    calls = _calls_of(messages)
    mended: list[BaseMessage] = []
    for at, message in enumerate(messages):
        if message.type in _TOOL:
            continue
        own = calls.by_message.get(at, [])
        mended.append(_with_calls(message, own) if isinstance(message, AIMessage) else message)
        mended.extend(_result_of(call) for call in own if not call.within)
    return mended


def _calls_of(messages: list[BaseMessage]) -> _Calls:
    calls = _Calls()
    for at, message in enumerate(messages):
        if isinstance(message, AIMessage):
            calls.made_by(message, at)
    for at, message in enumerate(messages):
        if isinstance(message, ToolMessage):
            calls.answered(message, at)
    for at, own in calls.by_message.items():
        within = _results_within(messages[at + 1]) if at + 1 < len(messages) else _NONE
        for call in own:
            call.within = call.id in within
    return calls


def _result_of(call: _Call) -> ToolMessage:
    if call.result is None:
        text = INTERRUPTED if call.readable else UNREADABLE
        return ToolMessage(text, tool_call_id=call.id, name=call.given.get("name"), status="error")
    if call.result.tool_call_id == call.id:
        return call.result
    return call.result.model_copy(update={"tool_call_id": call.id})


def _with_calls(message: AIMessage, calls: list[_Call]) -> AIMessage:
    """Return the message with these calls and no others, in whichever form a provider reads them."""
    content = _content(message.content, calls)
    unread = [call for call in calls if not call.readable]
    changes: dict[str, Any] = {}
    if any(call.given.get("id") != call.id for call in calls):
        changes["tool_calls"] = [{**call.given, "id": call.id} for call in calls if call.readable]
    if len(unread) != len(message.invalid_tool_calls) or any(call.given.get("id") != call.id for call in unread):
        changes["invalid_tool_calls"] = [{**call.given, "id": call.id} for call in unread]
    if not calls and "tool_calls" in message.additional_kwargs:
        kept = {key: value for key, value in message.additional_kwargs.items() if key != "tool_calls"}
        changes["additional_kwargs"] = kept
    if content != message.content:
        changes["content"] = content
    if not changes:
        return message
    if not content and not calls:
        changes["content"] = _LEFT_OUT
    return message.model_copy(update=changes)


def _content(content: Any, calls: list[_Call]) -> Any:
    """Rename or leave out the calls that are written into the content as well."""
    if not isinstance(content, list):
        return content
    new_ids: dict[Any, list[str]] = {}
    for call in calls:
        new_ids.setdefault(call.given.get("id"), []).append(call.id)
    kept: list[Any] = []
    for block in cast("list[Any]", content):
        if not _is_call(block):
            kept.append(block)
        elif ids := new_ids.get(_call_of(block)):
            kept.append(_renamed(block, ids.pop(0)))
    return kept


def _renamed(block: dict[str, Any], call_id: str) -> dict[str, Any]:
    key = "call_id" if block.get("call_id") else "id"
    return block if block[key] == call_id else {**block, key: call_id}
