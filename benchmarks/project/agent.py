"""The graph of the benchmarks: ten nodes in a row, each adds one message of about 200 bytes."""

from typing import Annotated, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages

NODES = 10


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


async def answer(state: State) -> State:
    return {"messages": [AIMessage(f"{len(state['messages']):>200}")]}


def build() -> StateGraph[State]:
    builder = StateGraph(State)
    previous = START
    for number in range(NODES):
        builder.add_node(f"node{number}", answer)
        builder.add_edge(previous, f"node{number}")
        previous = f"node{number}"
    return builder


ten = build().compile()
