"""A graph that asks a model in every way there is; each question is asked once per run, so the provider can count."""

import asyncio
import os
from operator import add
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.graph import END, START, StateGraph
from witness import say

import outlast

model = outlast.chat_model(
    "openai:gpt-4o", base_url=os.environ.get("PROVIDER_URL", "http://127.0.0.1:1/v1"), api_key="k", stream_usage=True
)


class State(TypedDict, total=False):
    said: Annotated[list[str], add]


def question(name: str, config: RunnableConfig) -> str:
    return f"<{config['configurable']['run_id']} {name}>"


async def ask(name: str, config: RunnableConfig) -> str:
    return str((await model.ainvoke(question(name, config))).content)


async def plan(state: State, config: RunnableConfig) -> dict[str, Any]:
    return {"said": [await ask("plan", config), await ask("refine", config)]}


async def gather(state: State, config: RunnableConfig) -> dict[str, Any]:
    return {"said": await asyncio.gather(*(ask(f"side{number}", config) for number in range(3)))}


def thread(state: State, config: RunnableConfig) -> dict[str, Any]:
    return {"said": [str(model.invoke(question("thread", config)).content)]}


async def stream(state: State, config: RunnableConfig) -> dict[str, Any]:
    chunks = [str(chunk.content) async for chunk in model.astream(question("stream", config))]
    return {"said": ["".join(chunks)]}


async def inner(state: State, config: RunnableConfig) -> dict[str, Any]:
    return {"said": [await ask("inner", config)]}


async def read(state: State, config: RunnableConfig) -> dict[str, Any]:
    identity = await outlast.journal.uuid()
    say("read", run=config["configurable"]["run_id"], value=str(identity))
    return {"said": [await ask(f"read {identity}", config)]}


def _line(**nodes: Any) -> Any:
    builder = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in zip([START, *nodes], [*nodes, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


#: How many questions a run asks.
QUESTIONS = 9
calling = _line(plan=plan, gather=gather, thread=thread, stream=stream, sub=_line(inner=inner), read=read)
