"""A graph that asks people, as often at once as it is told, and then acts; the witness counts what it has done."""

from operator import add
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from witness import say


class State(TypedDict, total=False):
    questions: list[Any]
    question: Any
    answers: Annotated[list[Any], add]


def _fan_out(state: State) -> list[Send]:
    return [Send("ask", {"question": question}) for question in state["questions"]]


async def _ask(state: State) -> dict[str, Any]:
    return {"answers": [interrupt(state["question"])]}


async def _act(state: State, config: RunnableConfig) -> dict[str, Any]:
    say("acted", thread=config["configurable"]["thread_id"], answers=state["answers"])
    return {}


builder = StateGraph(State)
builder.add_node("ask", _ask)
builder.add_node("act", _act)
builder.add_conditional_edges(START, _fan_out, ["ask"])
builder.add_edge("ask", "act")
builder.add_edge("act", END)
asking = builder.compile()
