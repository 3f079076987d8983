"""The agents of the API's test project; read as a file of that project, never imported by a test."""

import asyncio
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt

from outlast.agents.progress import progress


@entrypoint()
async def echo(given: Any) -> Any:
    return {"got": given}


@entrypoint()
async def count(given: dict[str, Any]) -> dict[str, Any]:
    await progress(3, 3)
    return {"counted": given["task"]}


@entrypoint()
async def ask(given: Any) -> Any:
    answer = interrupt(given)
    return {"answer": answer}


@entrypoint()
async def hold(given: Any) -> Any:
    await progress(1, 4)
    await asyncio.Event().wait()


@entrypoint()
async def broken(given: Any) -> Any:
    raise KeyError("secret-\0-\ud800")


class Conversation(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    intent: str


def talk(state: Conversation) -> dict[str, Any]:
    said = state["messages"][-1].text
    turns = sum(message.type == "human" for message in state["messages"])
    if said == "fail":
        raise TypeError("no")
    if said == "silence":
        return {"intent": "none"}
    if "money" in said:
        decision = interrupt({"type": "escalation", "question": "May 5 EUR go? He is angry."})
        return {"messages": [AIMessage(decision["decision"])], "intent": "money"}
    if "human" in said:
        answer = interrupt({"question": "What is your order number?"})
        return {"messages": [AIMessage(f"order {answer} found")], "intent": "order"}
    return {"messages": [AIMessage([{"type": "text", "text": f"{turns}: {said}"}])], "intent": "faq"}


chat = StateGraph(Conversation).add_node("talk", talk).add_edge(START, "talk")
