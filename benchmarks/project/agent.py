"""The graphs of the benchmarks: `ten` nodes in a row, each adds one message of about 200 bytes; `one` answers at once;
`talker` counts aloud."""

import asyncio
from typing import Annotated, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.config import get_stream_writer
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


one = StateGraph(State).add_node("answer", answer).add_edge(START, "answer").compile()


class Count(TypedDict, total=False):
    count: int
    pause: float
    before: float


async def talk(state: Count) -> Count:
    """Say the numbers, one by one."""
    say = get_stream_writer()
    await asyncio.sleep(state["before"])
    for number in range(state["count"]):
        say({"number": number})
        await asyncio.sleep(state["pause"])
    return {}


talker = StateGraph(Count).add_node("talk", talk).add_edge(START, "talk").compile()
