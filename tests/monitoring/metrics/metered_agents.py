"""Agents of which there is something to count."""

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt

import outlast

AGENTS = ("clerk", "metered_broken", "metered_flaky")


class Counted(BaseChatModel):
    """Says how many tokens it took."""

    model_name: str = "counted-1"

    @property
    def _llm_type(self) -> str:
        return "counted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        usage = UsageMetadata(
            input_tokens=30, output_tokens=12, total_tokens=42, input_token_details={"cache_read": 20},
            output_token_details={"reasoning": 5},
        )  # fmt: skip
        message = AIMessage("done", usage_metadata=usage, response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])


MODEL = outlast.wrap(Counted())


@tool
async def look(q: str) -> str:
    """Look something up."""
    return q


@tool
async def fall(q: str) -> str:
    """Fall."""
    raise ValueError(q)


async def plan(state: MessagesState) -> dict[str, Any]:
    made_up = str(state["messages"][0].content)
    calls = [{"name": name, "args": {"q": made_up}, "id": name} for name in ("look", "fall", made_up)]
    return {"messages": [AIMessage("", tool_calls=calls)]}


async def think(_state: MessagesState) -> dict[str, Any]:
    return {"messages": [await MODEL.ainvoke("hello")]}


async def ask(state: MessagesState) -> None:
    if "ask" in str(state["messages"][0].content):
        interrupt("May I?")


builder = StateGraph(MessagesState)
for name, node in {
    "plan": plan,
    "act": ToolNode([look, fall], handle_tool_errors=True),
    "think": think,
    "ask": ask,
}.items():
    builder.add_node(name, node)
for before, after in [(START, "plan"), ("plan", "act"), ("act", "think"), ("think", "ask"), ("ask", END)]:
    builder.add_edge(before, after)
clerk = builder.compile()


async def fails(_state: MessagesState) -> None:
    raise ValueError("never")


async def fails_once(_state: MessagesState) -> None:
    if FAILED.append(1) is None and len(FAILED) == 1:
        raise ConnectionError("once")


FAILED: list[int] = []
metered_broken = StateGraph(MessagesState).add_node("break", fails).add_edge(START, "break").compile()
metered_flaky = StateGraph(MessagesState).add_node("try", fails_once).add_edge(START, "try").compile()
