"""Agents whose attempts are worth a summary."""

from typing import Any, TypedDict

from langchain_core.tools import tool
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt

from outlast import chat_model


class State(TypedDict, total=False):
    what: str
    answer: str
    confidence: float


@tool
def breaks() -> str:
    """Break."""
    raise ValueError("of no use")


async def _does(state: State) -> dict[str, Any]:
    match state["what"]:
        case "fail":
            raise ValueError("it went wrong with sk-proj-Zk3vQ9xWb7LmT2pRy8NcJ5dHs6FgA1eU")
        case "ask":
            return {"answer": interrupt("really?")}
        case "tool":
            try:
                await breaks.ainvoke({})
            except ValueError:
                return {"answer": "the tool broke", "confidence": 0.25}
    return {"answer": "all is well", "confidence": 0.9}


def _graph(state: Any, **nodes: Any) -> Any:
    builder = StateGraph(state)
    names = list(nodes)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


async def _chats(state: MessagesState) -> dict[str, Any]:
    return {"messages": [await chat_model("openai:gpt-4o").ainvoke(state["messages"])]}


does = _graph(State, does=_does)
chats = _graph(MessagesState, chats=_chats)
