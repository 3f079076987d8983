"""Graphs that ask people; read as a file of the test project, never imported by a test."""

import operator
from typing import Annotated, Any, TypedDict

from langchain.agents import create_agent
from langchain.agents.middleware import HumanInTheLoopMiddleware
from langchain_core.messages import AIMessage, ToolMessage
from langchain_core.tools import tool
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

from scripted_models import Scripted


class Asking(TypedDict, total=False):
    question: Any
    answers: Annotated[list[Any], operator.add]


def _inquire(state: Asking) -> Asking:
    return {"answers": [interrupt(state["question"])]}


inquire = StateGraph(Asking).add_node("inquire", _inquire).add_edge(START, "inquire")


class Refunding(Scripted):
    """Calls the tool once, whatever the process has answered before; then says what came of it."""

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **more: Any) -> Any:
        results = [message.text for message in messages if isinstance(message, ToolMessage)]
        call = {"name": "refund", "args": {"order": 7, "amount": 200}, "id": "call-1"}
        self._script[:] = [AIMessage(f"done: {results[-1]}") if results else AIMessage("", tool_calls=[call])]
        return super()._generate(messages, stop, run_manager, **more)


@tool
def refund(order: int, amount: float) -> str:
    """Pay back."""
    return f"refunded {amount!r} of {order!r}"


def _careful(mode: Any) -> Any:
    ask = HumanInTheLoopMiddleware(interrupt_on={"refund": True}, interrupt_mode=mode)
    return create_agent(Refunding(), [refund], middleware=[ask])


careful = _careful("batched")
careful_by_call = _careful("per_call")
