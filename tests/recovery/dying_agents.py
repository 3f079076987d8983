"""Agents that fail for as long as a file is there; read as a file of a project, never imported by a test."""

import json
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

import outlast

HERE = Path(__file__).parent


class State(TypedDict, total=False):
    order: str
    done: Annotated[list[str], add]


@outlast.effect
async def send(order: str) -> str:
    """Tell the witness, who is outside."""
    with (HERE / "sent").open("a") as sent:
        sent.write(json.dumps(order) + "\n")
    return f"sent {order}"


async def first(state: State) -> dict[str, Any]:
    return {"done": [await send(state["order"])]}


async def second(state: State) -> dict[str, Any]:
    if (HERE / "poison").exists():
        raise ConnectionError(f"the warehouse does not answer for {state['order']}")
    return {"done": ["packed"]}


shop = StateGraph(State)
shop.add_node("first", first)
shop.add_node("second", second)
shop.add_edge(START, "first")
shop.add_edge("first", "second")


class Conversation(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]


def think(state: Conversation) -> dict[str, Any]:
    return {"messages": [AIMessage("", tool_calls=[{"name": "refund", "args": {"amount": 5}, "id": "call-1"}])]}


def act(state: Conversation) -> dict[str, Any]:
    if (HERE / "poison").exists():
        raise RuntimeError("no refund today")
    return {"messages": []}


caller = StateGraph(Conversation)
caller.add_node("think", think)
caller.add_node("act", act)
caller.add_edge(START, "think")
caller.add_edge("think", "act")
