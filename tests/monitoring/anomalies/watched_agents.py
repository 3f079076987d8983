"""An agent that answers as its input says."""

from typing import Any, TypedDict

from langgraph.graph import END, START, StateGraph


class State(TypedDict, total=False):
    words: int
    answer: str


def answer(state: State) -> dict[str, Any]:
    return {"answer": "word " * state["words"]}


graph: Any = StateGraph(State)
graph.add_node("answer", answer)
graph.add_edge(START, "answer")
graph.add_edge("answer", END)
usual = graph.compile()
careful = graph.compile()
