"""When two questions are the same.

Ids say nothing: messages go without theirs, and tool calls are numbered, so that the next step of an agent finds its
answer although its tool calls have other ids this time.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Final, cast

import orjson
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from pydantic import BaseModel

from outlast.calls.bindings import told
from outlast.calls.call import ModelCall

_SIZE: Final = 32
_KEPT: Final = 256
_OPTIONS: Final = orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS


class CacheKeys:
    """Makes the keys of a process; what a model's own parameters are is remembered."""

    def __init__(self) -> None:
        # The model is held, so that no other one gets its id.
        self._models: OrderedDict[int, tuple[BaseChatModel, str]] = OrderedDict()

    def key_of(self, call: ModelCall) -> bytes | None:
        """Return the key; None: something of the question has no form that another process would recognise."""
        target = call.targets[0]
        asked = {
            "tenant": "" if call.scope is None else call.scope.tenant,
            "circuit": target.circuit,
            "model": self._parameters(target.chat),
            "messages": _messages(call.messages),
            "options": told(target, call.options),
            "stop": call.stop,
        }
        try:
            return hashlib.blake2b(
                orjson.dumps(asked, _plain, _OPTIONS), digest_size=_SIZE, person=b"outlast1"
            ).digest()
        except TypeError:
            return None

    def _parameters(self, chat: BaseChatModel) -> str:
        found = self._models.get(id(chat))
        if found is None:
            # As LangChain's own cache tells models apart.
            found = self._models[id(chat)] = (chat, chat._get_llm_string())  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
            if len(self._models) > _KEPT:
                self._models.popitem(last=False)
        return found[1]


def _messages(messages: list[BaseMessage]) -> list[dict[str, Any]]:
    numbers: dict[str, str] = {}
    return [_normal(message, numbers) for message in messages]


def _normal(message: BaseMessage, numbers: dict[str, str]) -> dict[str, Any]:
    normal: dict[str, Any] = {"type": message.type, "name": message.name}
    if isinstance(message, AIMessage):
        for tool_call in message.tool_calls:
            numbers.setdefault(tool_call["id"] or "", f"#{len(numbers)}")
        normal["tool_calls"] = [(each["name"], each["args"], numbers[each["id"] or ""]) for each in message.tool_calls]
    if isinstance(message, ToolMessage):
        normal["tool_call_id"] = numbers.get(message.tool_call_id, message.tool_call_id)
        normal["status"] = message.status
    normal["content"] = _renamed(message.content, numbers)
    # Integrations keep tool calls in both places.
    normal["more"] = {
        name: _renamed(value, numbers) for name, value in message.additional_kwargs.items() if name != "tool_calls"
    }
    return normal


def _renamed(value: Any, numbers: Mapping[str, str]) -> Any:
    return renamed(value, numbers) if numbers and not isinstance(value, str) else value


def renamed(value: Any, names: Mapping[str, str]) -> Any:
    """Return plain data with each string that is a key of `names` replaced, wherever it stands."""
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, list):
        return [renamed(each, names) for each in cast("list[Any]", value)]
    if isinstance(value, dict):
        return {key: renamed(each, names) for key, each in cast("dict[Any, Any]", value).items()}
    return value


def _plain(value: object) -> Any:
    """Return a class or an object of pydantic as plain data; another object is nothing that can be compared."""
    if isinstance(value, type) and issubclass(value, BaseModel):
        return value.model_json_schema()
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError
