"""A graph that asks one model, whose provider is at OPENAI_API_BASE; `outage.py` measures it."""

import os

from langchain_core.messages import AnyMessage
from langgraph.graph import START, MessagesState, StateGraph

import outlast

model = outlast.chat_model(
    "openai:gpt-4o",
    base_url=os.environ.get("OPENAI_API_BASE", "http://127.0.0.1:9/v1"),
    api_key=os.environ.get("OPENAI_API_KEY", "none"),
)


async def ask(state: MessagesState) -> dict[str, list[AnyMessage]]:
    return {"messages": [await model.ainvoke(state["messages"])]}


asking = StateGraph(MessagesState).add_node("ask", ask).add_edge(START, "ask").compile()
