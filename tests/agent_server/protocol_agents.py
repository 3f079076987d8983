"""Graphs for the thread-centred protocol; read as a file of the test project, never imported by a test."""

import asyncio
import operator
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any, TypedDict

import agent_server_gates as gates
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.tools import tool
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.prebuilt import ToolNode
from langgraph.types import interrupt


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    items: Annotated[list[str], operator.add]


class Scripted(BaseChatModel):
    """Says its words one by one, or first calls a tool, whose arguments come in pieces."""

    words: str = "Hello big world"
    calls: bool = False
    pause: float = 0.0

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(self.words))])

    def _chunks(self, messages: Any) -> Iterator[AIMessageChunk]:
        if self.calls and not any(isinstance(message, ToolMessage) for message in messages):
            for name, arguments, call in (("search", "", "call_1"), (None, '{"q":', None), (None, '"v3"}', None)):
                piece = {"name": name, "args": arguments, "id": call, "index": 0}
                yield AIMessageChunk("", tool_call_chunks=[piece])
            yield AIMessageChunk("", usage_metadata={"input_tokens": 3, "output_tokens": 2, "total_tokens": 5})
            return
        for number, word in enumerate(self.words.split()):
            yield AIMessageChunk(word if number == 0 else f" {word}")

    def _stream(self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any) -> Iterator[Any]:
        for chunk in self._chunks(messages):
            yield ChatGenerationChunk(message=chunk)

    async def _astream(
        self, messages: Any, stop: Any = None, run_manager: Any = None, **kwargs: Any
    ) -> AsyncIterator[Any]:
        for chunk in self._chunks(messages):
            await asyncio.sleep(self.pause)
            yield ChatGenerationChunk(message=chunk)


@tool
def search(q: str) -> str:
    """Look something up."""
    return f"result {q}"


async def _begin(_state: State) -> State:
    get_stream_writer()({"name": "progress", "step": 1})
    return {"items": ["begun"]}


async def _model(state: State) -> State:
    return {"messages": [await Scripted(calls=True).ainvoke(state["messages"])]}


async def _inner_model(state: State) -> State:
    get_stream_writer()("raw text")
    return {"messages": [await Scripted(words="from inside").ainvoke(state["messages"])], "items": ["inside"]}


def _ask(_state: State) -> State:
    return {"items": [f"answered {interrupt({'question': 'go on?'})}"]}


_inner = StateGraph(State).add_node("speak", _inner_model).add_edge(START, "speak").compile(name="inner")
#: A model that calls a tool, a graph inside of the graph, and a question.
helper = (
    StateGraph(State)
    .add_node("begin", _begin)
    .add_node("model", _model)
    .add_node("tools", ToolNode([search]))
    .add_node("inner", _inner)
    .add_node("ask", _ask)
    .add_edge(START, "begin")
    .add_edge("begin", "model")
    .add_edge("model", "tools")
    .add_edge("tools", "inner")
    .add_edge("inner", "ask")
)


async def _slow(state: State) -> State:
    return {
        "messages": [await Scripted(words="a b c d e f", pause=0.05).ainvoke(state.get("messages", []))],
        "items": ["slow"],
    }


slow = StateGraph(State).add_node("speak", _slow).add_edge(START, "speak")


def _quick(_state: State) -> State:
    return {"items": ["quick"]}


quick = StateGraph(State).add_node("speak", _quick).add_edge(START, "speak")


def _fail(_state: State) -> State:
    msg = "boom"
    raise ValueError(msg)


broken = StateGraph(State).add_node("break", _fail).add_edge(START, "break")


async def _hold(state: State) -> State:
    model = Scripted(words="before the door")
    async for _ in model.astream(state.get("messages", [])):
        pass
    await gates.wait_at(state["items"][0])
    return {"items": ["held"]}


held = StateGraph(State).add_node("hold", _hold).add_edge(START, "hold")


def _asks(what: str) -> Any:
    def ask(_state: State) -> State:
        return {"items": [interrupt(what)]}

    return ask


_two = StateGraph(State).add_node("a", _asks("A?")).add_node("b", _asks("B?")).add_edge(START, "a").add_edge(START, "b")
#: Two questions at once, inside of a graph inside.
two_questions = StateGraph(State).add_node("deep", _two.compile()).add_edge(START, "deep")
