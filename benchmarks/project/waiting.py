"""A graph that asks a person and says when it went on; `inbox.py` measures it."""

import time
from typing import Any, TypedDict

from langgraph.graph import START, StateGraph
from langgraph.types import interrupt


class Asked(TypedDict, total=False):
    number: int
    answer: Any
    went_on: float


async def ask(state: Asked) -> Asked:
    answer = interrupt({"question": f"May {state['number']} go on?", "allowed": ["approve", "reject"]})
    return {"answer": answer, "went_on": time.time()}


waiting = StateGraph(Asked).add_node("ask", ask).add_edge(START, "ask").compile()
