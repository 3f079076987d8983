"""Graphs for what a run may ask of its execution: streams, commands, old checkpoints, contexts."""

import asyncio
import operator
from collections.abc import Callable, Coroutine, Iterator
from contextvars import Context as Variables
from dataclasses import dataclass
from typing import Annotated, Any, TypedDict

from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.func import entrypoint
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.types import interrupt
from pydantic import BaseModel

#: How often each node has been executed.
CALLS: dict[str, int] = {}
#: What the nodes saw of their configuration.
SAW: list[dict[str, Any]] = []
#: Nodes that raise the next time.
FAILING: set[str] = set()
#: Done by `interfere`, each once.
MEANWHILE: list[Callable[[], Coroutine[Any, Any, None]]] = []


def reset() -> None:
    CALLS.clear()
    SAW.clear()
    FAILING.clear()
    MEANWHILE.clear()


class State(TypedDict, total=False):
    log: Annotated[list[str], operator.add]
    answer: Any


class Counted(State):
    count: Annotated[int, operator.add]


class Talk(State):
    messages: Annotated[list[AnyMessage], add_messages]


class Answer(TypedDict, total=False):
    log: list[str]


def noted(name: str) -> Any:
    def node(_state: State) -> State:
        if name in FAILING:
            FAILING.remove(name)
            raise RuntimeError(name)
        CALLS[name] = CALLS.get(name, 0) + 1
        return {"log": [name]}

    return node


def chain(builder: Any, *names: str, **special: Any) -> Any:
    before = START
    for name in names:
        builder.add_node(name, special.get(name) or noted(name))
        builder.add_edge(before, name)
        before = name
    return builder


def say(_state: State) -> State:
    CALLS["say"] = CALLS.get("say", 0) + 1
    get_stream_writer()({"said": "hello"})
    return {"log": ["say"]}


def ask(_state: State) -> State:
    return {"answer": interrupt({"question": "which one?"}), "log": ["asked"]}


def replies() -> Iterator[AIMessage]:
    while True:
        yield AIMessage("three short words", id="reply")


async def talk(_state: Talk) -> Talk:
    return {"messages": [await GenericFakeChatModel(messages=replies()).ainvoke("hello")]}


async def see(_state: State, config: RunnableConfig, runtime: Runtime[Any]) -> State:
    item = None
    if runtime.store is not None:
        await runtime.store.aput(("seen",), "last", {"thread": config["configurable"]["thread_id"]})
        item = await runtime.store.aget(("seen",), "last")
    SAW.append(
        {
            "configurable": dict(config["configurable"]),
            "metadata": dict(config["metadata"]),
            "context": runtime.context,
            "server": runtime.server_info,
            "remembered": item.value if item is not None else None,
        }
    )
    return {"log": ["see"]}


async def interfere(_state: State) -> State:
    if MEANWHILE:
        # Outside of this graph's own context: somebody else does it.
        await asyncio.get_running_loop().create_task(MEANWHILE.pop()(), context=Variables())
    return {"log": ["interfered"]}


def fail(_state: State) -> State:
    msg = "no luck"
    raise ValueError(msg)


@dataclass
class Context:
    model: str = "small"


class Strict(BaseModel):
    """Its second field is missing until the second step."""

    asked: str
    answer: str


class Loose(TypedDict, total=False):
    asked: str
    answer: str


def pause(_state: Loose) -> Loose:
    return {}


def answered(_state: Loose) -> Loose:
    return {"answer": "42"}


inner = chain(StateGraph(State), "say", "ask", say=say, ask=ask).compile()

three = chain(StateGraph(Counted), "one", "two", "three").compile()
meddled = chain(StateGraph(State), "interfere", interfere=interfere).compile()
says = chain(StateGraph(State), "one", "say", say=say).compile()
asks = chain(StateGraph(State), "one", "ask", "last", ask=ask).compile()
nested = chain(StateGraph(State), "one", "deep", deep=inner).compile()
talks = chain(StateGraph(Talk), "talk", talk=talk).compile()
sees = chain(StateGraph(State, context_schema=Context), "see", see=see).compile()
fails = chain(StateGraph(State), "one", "fail", fail=fail).compile()
deepfail = chain(StateGraph(State), "deep", deep=fails).compile()
narrow = chain(StateGraph(Counted, output_schema=Answer), "one").compile()
strict = chain(StateGraph(Loose, output_schema=Strict), "pause", "answered", pause=pause, answered=answered).compile()


@entrypoint()
async def function(given: dict[str, Any]) -> dict[str, Any]:
    return {"got": given}


AGENTS = (
    "three", "meddled", "says", "asks", "nested", "talks", "sees", "fails", "deepfail", "narrow", "strict", "function",
)  # fmt: skip
