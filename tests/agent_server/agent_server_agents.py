"""The graphs of the test project; read as a file of that project, never imported by a test."""

import operator
from dataclasses import asdict, dataclass
from typing import Annotated, Any, TypedDict

import agent_server_gates as gates
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_config, get_store, get_stream_writer
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.types import Command, interrupt


class Conversation(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]


class Log(TypedDict, total=False):
    """Each node adds its name; `at` names the door of `hold`, `answers` what people said."""

    log: Annotated[list[Any], operator.add]
    at: str
    answers: Annotated[list[Any], operator.add]


# a reply at once: how often the person has spoken, and the last words


def talk(state: Conversation) -> dict[str, Any]:
    turns = sum(message.type == "human" for message in state["messages"])
    return {"messages": [AIMessage(f"{turns}: {state['messages'][-1].text}")]}


agent = StateGraph(Conversation).add_node("talk", talk).add_edge(START, "talk")


# three steps in a row


def _step(name: str) -> Any:
    def step(_state: Log) -> Log:
        return {"log": [name]}

    return step


steps = (
    StateGraph(Log)
    .add_node("one", _step("one"))
    .add_node("two", _step("two"))
    .add_node("three", _step("three"))
    .add_edge(START, "one")
    .add_edge("one", "two")
    .add_edge("two", "three")
)


# a step, a door, another step: how the run is when it is cancelled, rolled back, killed


async def _held(state: Log) -> Log:
    await gates.wait_at(state.get("at", "never"))
    return {"log": ["held"]}


hold = (
    StateGraph(Log)
    .add_node("begin", _step("begun"))
    .add_node("hold", _held)
    .add_edge(START, "begin")
    .add_edge("begin", "hold")
)


# questions


def _ask(state: Log) -> Log:
    return {"answers": [interrupt({"question": "which one?", "log": state.get("log", [])})], "log": ["asked"]}


ask = (
    StateGraph(Log)
    .add_node("begin", _step("begun"))
    .add_node("ask", _ask)
    .add_edge(START, "begin")
    .add_edge("begin", "ask")
)


def _ask_for(what: str) -> Any:
    def asking(_state: Log) -> Log:
        return {"answers": [{what: interrupt(what)}]}

    return asking


ask_two = (
    StateGraph(Log)
    .add_node("left", _ask_for("left"))
    .add_node("right", _ask_for("right"))
    .add_edge(START, "left")
    .add_edge(START, "right")
)


def _ask_twice(_state: Log) -> Log:
    first = interrupt("first")
    return {"answers": [first, interrupt("second")]}


ask_twice = StateGraph(Log).add_node("ask", _ask_twice).add_edge(START, "ask")


# a failure


def _break(_state: Log) -> Log:
    msg = "boom"
    raise ValueError(msg)


broken = (
    StateGraph(Log)
    .add_node("begin", _step("begun"))
    .add_node("break", _break)
    .add_edge(START, "begin")
    .add_edge("begin", "break")
)


# a model that streams word by word, and what a node says by itself


async def _say(_state: Conversation, config: RunnableConfig) -> dict[str, Any]:
    model = GenericFakeChatModel(messages=iter([AIMessage("Hello big world")]))
    get_stream_writer()({"said": "soon"})
    return {"messages": [await model.ainvoke("hi", config)]}


tokens = StateGraph(Conversation).add_node("say", _say).add_edge(START, "say")


# a graph inside a graph

_inner = StateGraph(Log).add_node("inside", _step("inside")).add_edge(START, "inside").compile()
nested = (
    StateGraph(Log)
    .add_node("before", _step("before"))
    .add_node("sub", _inner)
    .add_edge(START, "before")
    .add_edge("before", "sub")
)
_asking = StateGraph(Log).add_node("ask", _ask).add_edge(START, "ask").compile()
nested_ask = (
    StateGraph(Log).add_node("before", _step("before")).add_node("sub", _asking).add_edge(START, "before")
    .add_edge("before", "sub")
)  # fmt: skip
_holding = (
    StateGraph(Log)
    .add_node("within", _step("within"))
    .add_node("hold", _held)
    .add_edge(START, "within")
    .add_edge("within", "hold")
    # With a memory of its own: each step inside is a checkpoint.
    .compile(checkpointer=True)
)
nested_hold = (
    StateGraph(Log)
    .add_node("before", _step("before"))
    .add_node("sub", _holding)
    .add_edge(START, "before")
    .add_edge("before", "sub")
)


# a question, then a door: what a resumed run is while it runs


async def _ask_and_wait(state: Log) -> Log:
    answer = interrupt("go on?")
    await gates.wait_at(state.get("at", "never"))
    return {"answers": [answer]}


ask_and_hold = StateGraph(Log).add_node("ask", _ask_and_wait).add_edge(START, "ask")


# what the graph is given besides its input


@dataclass
class Settings:
    tone: str = "plain"
    mood: str = "calm"


class Seen(TypedDict, total=False):
    given: Any
    seen: dict[str, Any]


def _see(_state: Seen, runtime: Runtime[Settings]) -> Seen:
    config = get_config()
    configurable = config.get("configurable", {})
    context: Any = runtime.context
    return {
        "seen": {
            # The rest is LangGraph's own machinery.
            "configurable": {k: v for k, v in configurable.items() if isinstance(v, str | int | float | bool)},
            "metadata": dict(config.get("metadata", {})),
            "tags": list(config.get("tags") or ()),
            "recursion_limit": config.get("recursion_limit"),
            "context": context if isinstance(context, dict) or context is None else asdict(context),
        }
    }


see = StateGraph(Seen, context_schema=Settings).add_node("see", _see).add_edge(START, "see")


# where a command may lead


def _route(state: Log) -> Command[Any]:
    return Command(goto="end_here", update={"log": ["routed"]}) if state.get("at") == "end" else Command(goto=END)


routed = StateGraph(Log).add_node("route", _route).add_node("end_here", _step("ended")).add_edge(START, "route")


# the store


async def _remember(state: Log) -> Log:
    store = get_store()
    before = await store.aget(("notes",), "log")
    await store.aput(("notes",), "log", {"log": state.get("log", [])})
    return {"answers": [None if before is None else before.value]}


remember = StateGraph(Log).add_node("remember", _remember).add_edge(START, "remember")


# a functional graph: its state is no mapping


@entrypoint()
async def echo(given: Any) -> Any:
    return {"got": given}
