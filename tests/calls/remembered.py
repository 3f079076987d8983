"""Runs whose nodes are given by a test, on workers of this process; and a model that counts what it is asked."""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.messages.ai import UsageMetadata
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableConfig
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import RetryPolicy, Send
from pydantic import Field

import outlast
from outlast import telemetry
from outlast.agents.project import AgentSpec, Project

sys.path.insert(0, str(Path(__file__).parents[1] / "workers"))

Node = Callable[[dict[str, Any], RunnableConfig], Awaitable[Any]]


class Counted(BaseChatModel):
    """Answers `QUESTION #n`, n counting how often it was asked that."""

    asked: list[str] = Field(default_factory=list[str])
    #: Question -> errors to raise first.
    fails: dict[str, list[Exception]] = Field(default_factory=dict[str, list[Exception]])

    @property
    def _llm_type(self) -> str:
        return "counted"

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        question = str(messages[-1].content)
        self.asked.append(question)
        if self.fails.get(question):
            raise self.fails[question].pop(0)
        message = AIMessage(
            content=f"{question} #{self.asked.count(question)}",
            usage_metadata=UsageMetadata(input_tokens=3, output_tokens=2, total_tokens=5),
            response_metadata={"finish_reason": "stop"},
        )
        return ChatResult(generations=[ChatGeneration(message=message)])

    async def _agenerate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return self._generate(messages)


class State(TypedDict, total=False):
    said: Annotated[list[Any], lambda old, new: old + new]
    number: int


#: What the nodes of a test do, by the node's name.
NODES: dict[str, Any] = {}
MODEL = Counted()
model = outlast.wrap(MODEL)
#: How often each node was begun.
BEGUN: list[str] = []


def reset() -> None:
    NODES.clear()
    MODEL.asked.clear()
    MODEL.fails.clear()
    BEGUN.clear()


async def ask(question: str) -> str:
    return str((await model.ainvoke(question)).content)


def _node(name: str) -> Any:
    async def node(state: State, config: RunnableConfig) -> dict[str, Any]:
        BEGUN.append(name)
        if name not in NODES:
            return {"said": [name]}
        return {"said": [await NODES[name](dict(state), config)]}

    return node


def _thread_node(state: State, config: RunnableConfig) -> dict[str, Any]:
    BEGUN.append("thread")
    return {"said": [NODES["thread"](dict(state), config)]}


def _line(*names: str, checkpointer: Any = None, **special: Any) -> Any:
    builder = StateGraph(State)
    for name in names:
        node = special.get(name) or _node(name)
        retry = RetryPolicy(max_attempts=3, initial_interval=0.01, jitter=False) if name == "stubborn" else None
        builder.add_node(name, node, retry_policy=retry)
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile(checkpointer=checkpointer)


def _wide() -> Any:
    builder = StateGraph(State)
    builder.add_node("branch", _node("branch"))
    builder.add_conditional_edges(START, lambda state: [Send("branch", {"number": n}) for n in range(3)], ["branch"])
    builder.add_edge("branch", END)
    return builder.compile()


@task
async def errand(name: str) -> Any:
    BEGUN.append(name)
    return await NODES[name]({}, {})


@entrypoint()
async def functional(given: dict[str, Any]) -> Any:
    BEGUN.append("functional")
    return {"said": [await NODES["functional"](given, {})]}


async def _calls_forgetful(state: State, config: RunnableConfig) -> dict[str, Any]:
    BEGUN.append("outer")
    return {"said": (await _FORGETFUL.ainvoke({"said": []}))["said"]}


_FORGETFUL = _line("inner", "inner2", checkpointer=False)
one = _line("first", "step", "last")
stubborn = _line("first", "stubborn", "last")
thread = _line("first", "thread", thread=_thread_node)
nested = _line("first", "sub", sub=_line("inner", "inner2"))
forgetful = _line("first", "outer", outer=_calls_forgetful)
wide = _wide()
AGENTS = ("one", "stubborn", "thread", "nested", "forgetful", "wide", "functional")


def project() -> Project:
    specs = {name: AgentSpec(name=name, path=None, module="remembered", attribute=name) for name in AGENTS}
    return Project(root=Path(__file__).parent, agents=specs)


class Gate:
    """Where a node stops, the first time it comes there."""

    def __init__(self) -> None:
        self.come, self.open = asyncio.Event(), asyncio.Event()

    async def __call__(self) -> None:
        if not self.come.is_set():
            self.come.set()
            await self.open.wait()


@contextmanager
def heard(*points: str) -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What was emitted at these points."""
    events: list[tuple[str, dict[str, Any]]] = []

    def listen(point: str, fields: Any) -> None:
        if point in points:
            events.append((point, dict(fields)))

    unsubscribe = telemetry.subscribe(listen)
    try:
        yield events
    finally:
        unsubscribe()
