"""When two questions to a model are the same one, whichever process asks.

A question is what the provider will see: the model that is asked first, the messages, tools and parameters in that
provider's format. Left out is what differs each time without meaning anything: ids of messages, and what earlier
answers say about themselves.
"""

from collections.abc import Sequence
from typing import Any, cast

import orjson
import xxhash
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from pydantic import BaseModel

from outlast.calls.bindings import told
from outlast.calls.call import ModelCall

_OPTIONS = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


def fingerprint(call: ModelCall) -> bytes:
    """Return 16 bytes that are equal when the question is."""
    first = call.targets[0]
    return hashed([first.name, told(first, call.options), call.stop, normal(call.messages)])


def hashed(value: object) -> bytes:
    """Return 16 bytes that stand for JSON-like data; what is none is told by its type and its text."""
    try:
        data = orjson.dumps(value, default=_plain, option=_OPTIONS)
    # Lone surrogates, numbers above 64 bits, cycles: rare, and only to be told apart.
    except TypeError:
        data = repr(value).encode(errors="surrogatepass")
    # Of the whole conversation, with each call: 100 kB take 2 us, and 0.1 ms with a cryptographic hash. What it tells
    # apart are the questions of one task, whose answers are all of the same run.
    return xxhash.xxh3_128_digest(data)


def normal(messages: Sequence[BaseMessage]) -> list[tuple[Any, ...]]:
    """Return what providers see of messages."""
    return [_message(message) for message in messages]


def _message(message: BaseMessage) -> tuple[Any, ...]:
    # All messages of a thread, with each call: a pydantic model's own attributes take three times as long.
    fields = message.__dict__
    given = fields["type"], fields["content"], fields["name"], fields["additional_kwargs"]
    if isinstance(message, AIMessage):
        return (*given, fields["tool_calls"], fields["invalid_tool_calls"])
    if isinstance(message, ToolMessage):
        return (*given, fields["tool_call_id"], fields["status"])
    return given


def _plain(value: Any) -> Any:
    if isinstance(value, type):
        # A schema is what its fields are, not what it is called.
        fields = value.model_json_schema() if issubclass(value, BaseModel) else None
        return [value.__module__, value.__qualname__, fields]
    if isinstance(value, BaseModel):
        return [type(value).__qualname__, value.model_dump(mode="python")]
    if isinstance(value, set | frozenset):
        return sorted(cast("set[Any]", value), key=repr)
    if isinstance(value, bytes | bytearray):
        return value.hex()
    if callable(value):
        return [getattr(value, "__module__", ""), getattr(value, "__qualname__", repr(value))]
    return [type(value).__qualname__, repr(value)]
