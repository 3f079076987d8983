"""A model that says what the test wrote down, and remembers what it was shown."""

from collections.abc import Iterable
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from pydantic import PrivateAttr


class Scripted(BaseChatModel):
    """Answers in the order of the script; then, and for ever, with "done"."""

    _script: list[AIMessage] = PrivateAttr(default_factory=list)
    _shown: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @classmethod
    def saying(cls, *script: AIMessage | str) -> "Scripted":
        model = cls()
        model._script = [AIMessage(answer) if isinstance(answer, str) else answer for answer in script]
        return model

    @property
    def shown(self) -> list[list[BaseMessage]]:
        return self._shown

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Any, **_options: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], stop: Any = None, run_manager: Any = None, **_: Any) -> ChatResult:
        self._shown.append(list(messages))
        answer = self._script.pop(0) if self._script else AIMessage("done")
        return ChatResult(generations=[ChatGeneration(message=answer)])


def calling(*names: str, **arguments: Any) -> AIMessage:
    """An answer that calls tools, all with the same arguments; ids are made of the names."""
    calls = [{"name": name, "args": arguments, "id": f"{name}-{at}"} for at, name in enumerate(names)]
    return AIMessage("", tool_calls=calls)


def results(messages: Iterable[BaseMessage]) -> list[Any]:
    """The results of tools among the messages."""
    return [message for message in messages if message.type == "tool"]
