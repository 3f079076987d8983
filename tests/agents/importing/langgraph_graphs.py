"""Graphs whose threads are imported: everything that a state of LangGraph may hold."""

import operator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict
from uuid import UUID

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import Send, interrupt
from pydantic import BaseModel


class Colour(Enum):
    RED = "red"


class Point(NamedTuple):
    x: int
    y: int


@dataclass
class Note:
    text: str
    number: int = 5


class Person(BaseModel):
    name: str
    born: datetime


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    log: Annotated[list[Any], operator.add]
    things: dict[str, Any]
    big: int


def things() -> dict[str, Any]:
    return {
        "person": Person(name="Ada", born=datetime(1815, 12, 10, tzinfo=UTC)),
        "note": Note("by hand"),
        "colour": Colour.RED,
        "point": Point(1, 2),
        "set": {1, 2},
        "bytes": b"\x00\xff",
        "decimal": Decimal("1.10"),
        "uuid": UUID(int=7),
        "path": Path("/tmp"),
        "tuple": [1, 2],
        "none": None,
        "float": 1e30,
    }


def talk(state: State) -> State:
    return {"messages": [AIMessage(f"reply {len(state['messages'])}")], "log": ["talked"], "big": 2**63 - 1}


def make(_state: State) -> State:
    return {"things": things()}


def fan(_state: State) -> list[Send]:
    return [Send("one", {"n": n}) for n in range(3)]


def one(state: dict[str, Any]) -> State:
    return {"log": [state["n"]]}


def ask(_state: State) -> State:
    return {"log": [interrupt({"question": "go on?"})]}


def inside(_state: State) -> State:
    return {"log": ["inside"]}


def build(saver: Any) -> Any:
    inner = StateGraph(State).add_node("inside", inside).add_edge(START, "inside").compile()
    return (
        StateGraph(State)
        .add_node("talk", talk)
        .add_node("make", make)
        .add_node("one", one)
        .add_node("inner", inner)
        .add_node("ask", ask)
        .add_edge(START, "talk")
        .add_edge("talk", "make")
        .add_conditional_edges("make", fan, ["one"])
        .add_edge("one", "inner")
        .add_edge("inner", "ask")
        .compile(checkpointer=saver)
    )
