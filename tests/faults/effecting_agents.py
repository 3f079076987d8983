"""Graphs that write to a receiver outside: in a loop, in parallel in one node, in parallel branches, in threads."""

import asyncio
import sys
from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.graph import END, START, StateGraph
from langgraph.types import Send

import outlast

sys.path.insert(0, str(Path(__file__).parents[1] / "calls"))

from effect_receiver import send, send_in_thread

#: What one run of each agent writes, each item once.
ITEMS = [*(f"{where} {n}" for where in ("loop", "beside", "branch") for n in range(2)), "thread"]


class State(TypedDict, total=False):
    url: str
    item: str
    done: Annotated[list[Any], add]


def _fan_out(state: State) -> list[Send]:
    return [Send("branch", {"item": f"branch {n}", "url": state["url"]}) for n in range(2)]


def _graph(**options: Any) -> Any:
    @outlast.effect(**options)
    async def write(item: str, url: str, *, idempotency_key: str = "") -> Any:
        return (await send(url, idempotency_key, item=item))["of"]["item"]

    @outlast.effect(**options)
    def write_in_thread(item: str, url: str, *, idempotency_key: str = "") -> Any:
        return send_in_thread(url, idempotency_key, item=item)["of"]["item"]

    async def loop(state: State) -> dict[str, Any]:
        return {"done": [await write(f"loop {n}", state["url"]) for n in range(2)]}

    async def beside(state: State) -> dict[str, Any]:
        return {"done": await asyncio.gather(*(write(f"beside {n}", state["url"]) for n in range(2)))}

    async def branch(state: State) -> dict[str, Any]:
        return {"done": [await write(state["item"], state["url"])]}

    def thread(state: State) -> dict[str, Any]:
        return {"done": [write_in_thread("thread", state["url"])]}

    builder = StateGraph(State)
    for name, node in (("loop", loop), ("beside", beside), ("branch", branch), ("thread", thread)):
        builder.add_node(name, node)
    builder.add_edge(START, "loop")
    builder.add_edge("loop", "beside")
    builder.add_conditional_edges("beside", _fan_out, ["branch"])
    builder.add_edge("branch", "thread")
    builder.add_edge("thread", END)
    return builder.compile()


#: For a receiver that honours keys.
keyed = _graph(on_unknown="retry")
#: For one that does not: a person is asked.
careful = _graph()
