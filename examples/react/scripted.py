"""A chat model that plays its part from a script: it calls tools like a real one, needs no key, and never surprises."""

import re
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage, ToolCall, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import Runnable

_DATE = r"\d{4}-\d\d-\d\d"
_SUM = r"[\d(][\d\s.+\-*/%()]*[\d)]"


class ScriptedModel(BaseChatModel):
    """Decides by the question's words which tools to call, and answers from their results."""

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:  # noqa: ARG002
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,  # noqa: ARG002
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=_reply(messages))])


def _reply(messages: list[BaseMessage]) -> AIMessage:
    start = max(i for i, message in enumerate(messages) if isinstance(message, HumanMessage))
    wanted = _calls(str(messages[start].text))
    results = [message for message in messages[start + 1 :] if isinstance(message, ToolMessage)]
    if len(results) < len(wanted):
        # One after the other, as most models do: each is a step of its own, and saved as one.
        return AIMessage("", tool_calls=[wanted[len(results)]])
    if not results:
        return AIMessage("I can calculate, count days between two dates, and read the files of these examples.")
    return AIMessage("\n".join(f"{result.name}: {result.text}" for result in results))


def _calls(question: str) -> list[ToolCall]:
    calls: list[tuple[str, dict[str, str]]] = []
    dates = re.findall(_DATE, question)
    if len(dates) > 1:
        calls.append(("days_between", {"first": dates[0], "second": dates[1]}))
    without_dates = re.sub(_DATE, "", question)
    calls += [
        ("calculate", {"expression": found}) for found in re.findall(_SUM, without_dates) if re.search(r"\D", found)
    ]
    calls += [("read_example", {"path": found}) for found in re.findall(r"\b[\w/]+\.(?:json|toml|md|py)\b", question)]
    return [ToolCall(name=name, args=args, id=f"call-{number}") for number, (name, args) in enumerate(calls, 1)]
