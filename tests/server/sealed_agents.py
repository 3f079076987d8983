"""Agents that put what they are given everywhere; read as a file of a project, never imported by a test."""

import operator
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.config import get_store, get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

import outlast


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    notes: Annotated[list[str], operator.add]
    said: dict[str, Any]
    large: str


@outlast.effect(on_unknown="retry")
async def send(to: str, text: str) -> dict[str, str]:
    return {"receipt": f"{text} for {to}"}


async def gather(state: State) -> dict[str, Any]:
    said = state["said"]
    get_stream_writer()({"progress": said["streamed"]})
    looked_up = await outlast.journal("look-up", lambda: said["journaled"])
    await get_store().aput(("people", "ada"), "card", {"kept": said["kept"], "kind": "note", "size": 3})
    receipt = await send(said["to"], said["text"])
    return {
        "notes": [looked_up, receipt["receipt"]],
        "large": said["large"] * 200,
        "messages": [AIMessage(said["reply"])],
    }


async def decide(state: State) -> dict[str, Any]:
    answer = interrupt({"may I": state["said"]["asked"]})
    return {"notes": [f"answered {answer}"]}


async def fail(state: State) -> dict[str, Any]:
    said = state["said"]
    raise TypeError(f"cannot reach {said['broken']} with {said['token']}")


def chain(*nodes: Any) -> Any:
    return StateGraph(State).add_sequence(nodes).add_edge(START, nodes[0].__name__)


whole = chain(gather, decide)
broken = chain(fail)
quick = chain(gather)
