"""An agent whose nodes log in every way there is."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import Annotated, Any, TypedDict

import structlog
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

from outlast.telemetry import emit

CANARY = "the customer's own words"


def _any(_before: Any, after: Any) -> Any:
    return after


class State(TypedDict, total=False):
    question: str
    fails: bool
    value: Annotated[int, _any]


@tool
def logs_in_a_tool() -> str:
    """Log."""
    logging.getLogger("tools").warning("in a tool")
    return "logged"


async def _async(state: State) -> dict[str, Any]:
    logging.getLogger("library").warning("in a %s", "node")
    structlog.stdlib.get_logger("app").warning("by structlog", detail="x")
    await asyncio.create_task(_task())
    await asyncio.to_thread(logging.getLogger("library").error, "in a thread")
    emit("effect.unknown", run_id=None, effect="mail", key="k")
    await logs_in_a_tool.ainvoke({})
    return {"value": 1}


async def _task() -> None:
    logging.getLogger("library").warning("in a task")


def _sync(state: State) -> dict[str, Any]:
    try:
        raise ValueError("of no use")  # noqa: TRY301 - logged by the node itself
    except ValueError:
        logging.getLogger("library").exception("failed")
    with ThreadPoolExecutor(1) as pool:
        pool.submit(copy_context().run, logging.getLogger("library").warning, "in a pool").result()
    return {"value": 2}


async def _last(state: State) -> dict[str, Any]:
    if state.get("fails"):
        raise ValueError("ada@example.com has asked in vain")
    return {"value": 3}


def _inner() -> Any:
    builder = StateGraph(State)
    builder.add_node("deep", _async)
    builder.add_edge(START, "deep")
    builder.add_edge("deep", END)
    return builder.compile()


def _outer() -> Any:
    builder = StateGraph(State)
    builder.add_node("left", _async)
    builder.add_node("right", _sync)
    builder.add_node("inside", _inner())
    builder.add_node("last", _last)
    builder.add_edge(START, "left")
    builder.add_edge(START, "right")
    builder.add_edge(["left", "right"], "inside")
    builder.add_edge("inside", "last")
    builder.add_edge("last", END)
    return builder.compile()


logs = _outer()
