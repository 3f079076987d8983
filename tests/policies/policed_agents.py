"""Agents that are stopped, asked and refused; each node says that it was there."""

import asyncio
from typing import Any

from langchain.agents import create_agent
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from typing_extensions import TypedDict

import outlast


class World:
    """What happened outside of the runs, and what they wait for."""

    steps: list[str]
    sent: list[str]
    gate: asyncio.Event
    arrived: asyncio.Event
    says: list[AIMessage]
    #: Where the provider of `asks_model` is.
    provider_url = ""

    @classmethod
    def begin(cls) -> None:
        cls.steps, cls.sent, cls.says = [], [], []
        cls.gate, cls.arrived = asyncio.Event(), asyncio.Event()


class Steps(TypedDict, total=False):
    at: str
    task: str


async def first(_: Steps) -> Steps:
    World.steps.append("first")
    World.arrived.set()
    await World.gate.wait()
    return {"at": "first"}


async def second(_: Steps) -> Steps:
    World.steps.append("second")
    return {"at": "second"}


def two_steps() -> Any:
    graph = StateGraph(Steps)
    graph.add_node("first", first)
    graph.add_node("second", second)
    graph.add_edge(START, "first")
    graph.add_edge("first", "second")
    return graph.compile()


@outlast.effect(name="send_mail")
async def mail(text: str) -> str:
    World.sent.append(text)
    return f"sent {text}"


async def sends(state: Steps) -> Steps:
    World.steps.append("sends")
    return {"at": await mail(state.get("task", ""))}


def effecting() -> Any:
    graph = StateGraph(Steps)
    graph.add_node("sends", sends)
    graph.add_edge(START, "sends")
    return graph.compile()


@tool
async def send(text: str) -> str:
    """Send a text to somebody."""
    World.sent.append(text)
    return f"sent {text}"


@tool
async def search(about: str) -> str:
    """Search for something."""
    World.steps.append(f"search {about}")
    return f"nothing about {about}"


TOOLS = [send, search]


class Scripted(GenericFakeChatModel):
    """Says what the test wants, whatever it is asked."""

    def bind_tools(self, *_args: Any, **_given: Any) -> Any:
        return self


def _model() -> Any:
    def script() -> Any:
        while True:
            yield World.says.pop(0) if World.says else AIMessage("done")

    return Scripted(messages=script())


def with_middleware() -> Any:
    return create_agent(_model(), TOOLS, middleware=[outlast.middleware()])


async def _decides(_: MessagesState) -> Any:
    return {"messages": [World.says.pop(0)]}


def _plain(node: Any) -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("model", _decides)
    graph.add_node("tools", node)
    graph.add_edge(START, "model")
    graph.add_edge("model", "tools")
    return graph.compile()


def plain_tools() -> Any:
    return _plain(ToolNode(TOOLS))


def hooked_tools() -> Any:
    return _plain(ToolNode(TOOLS, **outlast.middleware().hooks))


async def _both(_: MessagesState) -> Any:
    """Decide and call in one step, so that it is decided anew when the step is executed again."""
    message = World.says.pop(0)
    (call,) = message.tool_calls
    return {"messages": [message, await send.ainvoke({**call, "type": "tool_call"})]}


def decides_and_calls() -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("both", _both)
    graph.add_edge(START, "both")
    return graph.compile()


async def _asks(_: MessagesState) -> Any:
    model = outlast.chat_model(
        "openai:gpt-4o", fallbacks=["openai:gpt-4o-mini"], base_url=World.provider_url, api_key="k"
    )
    return {"messages": [await model.ainvoke("hello")]}


def asks_model() -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("asks", _asks)
    graph.add_edge(START, "asks")
    return graph.compile()


def asks_twice() -> Any:
    graph = StateGraph(MessagesState)
    graph.add_node("one", _asks)
    graph.add_node("two", _asks)
    graph.add_edge(START, "one")
    graph.add_edge("one", "two")
    return graph.compile()


AGENTS = (
    "two_steps",
    "effecting",
    "with_middleware",
    "plain_tools",
    "hooked_tools",
    "decides_and_calls",
    "asks_model",
    "asks_twice",
)


class Fridays(outlast.Policy):
    """A policy of the project's own."""

    def decide(self, request: Any, facts: Any) -> Any:
        return outlast.Refuse("not today") if (request.input or {}).get("task") == "today" else outlast.Allow()


class Frugal(outlast.Policy):
    """Looks at what the run has used."""

    about = frozenset({"model"})

    async def decide(self, request: Any, facts: Any) -> Any:
        await asyncio.sleep(0)
        return outlast.Refuse("one call is enough") if facts.turns >= 1 else outlast.Allow()
