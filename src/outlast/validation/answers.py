"""The texts of an output: what an agent says, wherever it says it."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, cast

from outlast.policies.walking import texts
from outlast.validation.paths import Found, found_at

#: Where states of chat agents keep the conversation.
MESSAGES: Final = "messages"
_OWN: Final = frozenset({"ai", "assistant", "AIMessageChunk"})


def spoken(output: Any, fields: Sequence[str] = ()) -> list[Found]:
    """Return the texts that these fields hold; without fields, what the agent says.

    That is the text itself; the last message of the agent in a conversation, with every text that the output holds
    beside the conversation; else every text in it.
    """
    if fields:
        return [found for field in fields for found in _texts_at(output, field)]
    if isinstance(output, str):
        return [Found("", output)]
    last = last_answer(output)
    beside = [found for found in found_at(output, "*") if found.path != MESSAGES]
    if last is None and not beside:
        return [Found("", text) for text in texts(plain(output))]
    return [
        *([last] if last is not None else []),
        *(Found(f.path, text) for f in beside for text in texts(plain(f.value))),
    ]


def answer(output: Any, fields: Sequence[str] = ()) -> list[Found]:
    """Return what a person reads of it: these fields; without, the text or the agent's last message, else all texts."""
    last = None if fields else last_answer(output)
    return [last] if last is not None else spoken(output, fields)


def last_answer(output: Any) -> Found | None:
    """Return the agent's last message of a conversation."""
    found = next((found for found in found_at(output, MESSAGES) if found.there), None)
    given = found.value if found is not None else output
    if not isinstance(given, Sequence) or isinstance(given, str | bytes):
        return None
    messages = cast("Sequence[Any]", given)
    before = f"{MESSAGES}." if found is not None else ""
    for number in range(len(messages) - 1, -1, -1):
        if kind_of(messages[number]) in _OWN:
            return Found(f"{before}{number}.content", text_of(messages[number]))
    return None


def kind_of(message: Any) -> str:
    """Return whose message it is (`ai`, `human`, `tool`, `system`); empty when it is none."""
    return str(_part(message, "type") or _part(message, "role") or "")


def text_of(message: Any) -> str:
    """Return the text of a message; pictures and what is not said are left out."""
    content = _part(message, "content")
    if isinstance(content, str):
        return content
    if not isinstance(content, Sequence):
        return ""
    blocks = cast("Sequence[Any]", content)
    parts = [block if isinstance(block, str) else _part(block, "text") for block in blocks]
    return "\n".join(part for part in parts if isinstance(part, str))


def _part(message: Any, name: str) -> Any:
    return next((found.value for found in found_at(message, name) if found.there), None)


def _texts_at(output: Any, field: str) -> Iterable[Found]:
    for found in found_at(output, field):
        if not found.there:
            continue
        if kind_of(found.value):
            yield Found(found.path, text_of(found.value))
        else:
            yield from (Found(found.path, text) for text in texts(plain(found.value)))


def plain(value: Any) -> Any:
    """Return objects with fields as their fields, all the way down."""
    if isinstance(value, Mapping):
        return {str(key): plain(inner) for key, inner in cast("Mapping[Any, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [plain(inner) for inner in cast("Sequence[Any]", value)]
    fields = None if isinstance(value, str | bytes) else list(found_at(value, "*"))
    if fields and all(found.path for found in fields):
        return {found.path: plain(found.value) for found in fields}
    return value
