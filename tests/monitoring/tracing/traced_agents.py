"""Agents that do everything a trace tells: models, tools, effects, inner graphs, parallel nodes, and HTTP."""

import asyncio
import os
from operator import add
from typing import Annotated, Any, TypedDict

import httpx
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt
from traced_project import SECRET

import outlast
from scripted_models import Scripted, calling

provider = outlast.chat_model(
    "openai:gpt-4o", base_url=os.environ.get("PROVIDER_URL", "http://127.0.0.1:1/v1"), api_key="k", stream_usage=True
)


class State(TypedDict, total=False):
    url: str
    messages: Annotated[list[Any], add]
    said: Annotated[list[str], add]


@outlast.effect
async def charge(url: str, *, idempotency_key: str = "") -> str:
    return await _get(f"{url}/charge")


async def _get(url: str) -> str:
    async with httpx.AsyncClient() as client:
        return (await client.get(url, timeout=30)).text


@tool
async def look_up(url: str) -> str:
    """Look something up."""
    return await _get(f"{url}/look")


@tool
def look_up_in_thread(url: str) -> str:
    """Look something up."""
    return httpx.get(f"{url}/thread", headers=outlast.trace_headers()).text


async def think(state: State) -> dict[str, Any]:
    # A model of somebody else's, as every project has some.
    plan = await Scripted.saying(calling("look_up", "look_up_in_thread", url=state["url"])).ainvoke([("user", SECRET)])
    return {"messages": [plan], "said": [SECRET]}


async def answer(state: State) -> dict[str, Any]:
    return {"messages": [await provider.ainvoke([("user", SECRET)])]}


async def pay(state: State) -> dict[str, Any]:
    return {"said": [await charge(state["url"])]}


async def left(state: State) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"said": [await charge(state["url"])]}


async def right(state: State) -> dict[str, Any]:
    await asyncio.sleep(0)
    return {"said": [await _get(f"{state['url']}/right")]}


def ask(state: State) -> dict[str, Any]:
    return {"said": [str(interrupt("really?"))]}


def broken(state: State) -> dict[str, Any]:
    msg = f"cannot work with {SECRET}"
    raise RuntimeError(msg)


async def ask_provider(state: State) -> dict[str, Any]:
    return {"said": [str((await provider.ainvoke(SECRET)).content)]}


async def linger(state: State) -> dict[str, Any]:
    # The receiver answers when the test lets it.
    return {"said": [await _get(f"{state['url']}/linger")]}


def _line(**nodes: Any) -> Any:
    builder = StateGraph(State)
    for name, node in nodes.items():
        builder.add_node(name, node)
    for before, after in zip([START, *nodes], [*nodes, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


def _fork() -> Any:
    builder = StateGraph(State)
    for name, node in {"left": left, "right": right, "join": lambda _: {}}.items():
        builder.add_node(name, node)
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge(["left", "right"], "join")
    return builder.compile()


whole = _line(think=think, tools=ToolNode([look_up, look_up_in_thread]), answer=answer, inner=_line(pay=pay))
fork = _fork()
asking = _line(ask=ask)
failing = _line(broken=broken)
dying = _line(first=ask_provider, second=linger, third=pay)
