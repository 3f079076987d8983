"""Graphs that a test can stop inside: a node waits at its gate, if the test put one there, and says that it came."""

import asyncio
import threading
import time
from operator import add
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import interrupt

from outlast.agents.progress import progress

#: (run id, node) in the order of execution.
SEEN: list[tuple[str, str]] = []
GATES: dict[str, asyncio.Event] = {}
ARRIVED: dict[str, asyncio.Event] = {}
THREAD_GATE = threading.Event()
#: What `asks` asks and `spits` returns: values that cannot come in as JSON.
VALUES: dict[str, Any] = {}


def reset() -> None:
    SEEN.clear()
    GATES.clear()
    ARRIVED.clear()
    THREAD_GATE.clear()
    VALUES.clear()


def gate(name: str) -> tuple[asyncio.Event, asyncio.Event]:
    """Make the node stop; return (it has come, it may go)."""
    ARRIVED[name], GATES[name] = asyncio.Event(), asyncio.Event()
    return ARRIVED[name], GATES[name]


def nodes_of(run_id: object) -> list[str]:
    return [node for run, node in SEEN if run == str(run_id)]


async def visit(name: str, config: RunnableConfig) -> None:
    SEEN.append((config["configurable"]["run_id"], name))
    if name in GATES:
        ARRIVED[name].set()
        await GATES[name].wait()


class State(TypedDict, total=False):
    messages: Annotated[list[str], add]
    answers: Annotated[list[Any], add]
    error: str
    times: int
    seconds: float
    value: Any


def chain(*names: str, **special: Any) -> Any:
    builder = StateGraph(State)
    for name in names:
        builder.add_node(name, special.get(name) or _plain(name))
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


def _plain(name: str) -> Any:
    async def node(state: State, config: RunnableConfig) -> dict[str, Any]:
        await visit(name, config)
        return {"messages": [name]}

    return node


async def _fail(state: State, config: RunnableConfig) -> dict[str, Any]:
    await visit("fail", config)
    if nodes_of(config["configurable"]["run_id"]).count("fail") > state.get("times", 1000):
        return {"messages": ["fail"]}
    kinds: dict[str, type[BaseException]] = {
        "ValueError": ValueError, "TypeError": TypeError, "CancelledError": asyncio.CancelledError
    }  # fmt: skip
    raise kinds[state["error"]]


async def _sleep(state: State, config: RunnableConfig) -> dict[str, Any]:
    await visit("sleep", config)
    await asyncio.sleep(60)
    return {"messages": ["slept"]}


async def _swallow(state: State, config: RunnableConfig) -> dict[str, Any]:
    await visit("swallow", config)
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        return {"messages": ["swallowed"]}
    return {}


def _in_thread(state: State, config: RunnableConfig) -> dict[str, Any]:
    SEEN.append((config["configurable"]["run_id"], "thread"))
    THREAD_GATE.wait(30)
    return {"messages": ["thread"]}


async def _block(state: State, config: RunnableConfig) -> dict[str, Any]:
    await visit("block", config)
    time.sleep(state["seconds"])  # noqa: ASYNC251 - the point
    return {"messages": ["block"]}


def _ask(name: str) -> Any:
    async def node(state: State, config: RunnableConfig) -> dict[str, Any]:
        await visit(name, config)
        answer = interrupt(VALUES.get("ask", {"question": name}))
        await visit(f"after {name}", config)
        return {"answers": [{name: answer}]}

    return node


async def _ask_twice(state: State, config: RunnableConfig) -> dict[str, Any]:
    await visit("ask twice", config)
    first = interrupt("first?")
    await visit("between", config)
    second = interrupt("second?")
    await visit("after both", config)
    return {"answers": [first, second]}


def _two_questions() -> Any:
    builder = StateGraph(State)
    for name in ("left", "right"):
        builder.add_node(name, _ask(name))
        builder.add_edge(START, name)
        builder.add_edge(name, END)
    return builder.compile()


async def _progress_async(state: State, config: RunnableConfig) -> dict[str, Any]:
    await progress(1, 3)
    await visit("reported", config)
    return {}


def _progress_sync(state: State, config: RunnableConfig) -> dict[str, Any]:
    progress(2, 3)
    SEEN.append((config["configurable"]["run_id"], "reported"))
    THREAD_GATE.wait(30)
    return {}


def _progress_own_loop(state: State, config: RunnableConfig) -> dict[str, Any]:
    async def inside() -> None:
        await progress(2, 3)

    asyncio.run(inside())
    SEEN.append((config["configurable"]["run_id"], "reported"))
    return {}


@task
async def _progress_in_task(number: int) -> int:
    await progress(number, 3)
    return number


@entrypoint()
async def progress_tasks(number: int, config: RunnableConfig) -> list[int]:
    done = [await _progress_in_task(n) for n in range(1, number + 1)]
    await visit("reported", config)
    return done


async def _many_reports(state: State, config: RunnableConfig) -> dict[str, Any]:
    await asyncio.gather(*(_later(number) for number in (5, 3, 1, 4, 2)))
    progress(5, 5)
    return {}


async def _later(number: int) -> None:
    await asyncio.sleep(0.001 * number)
    await progress(number, 5)


async def _spit(state: State, config: RunnableConfig) -> dict[str, Any]:
    await visit("spit", config)
    return {"value": VALUES["spit"]}


async def _doze(state: State, config: RunnableConfig) -> dict[str, Any]:
    await visit("doze", config)
    await asyncio.sleep(0.25)
    return {"messages": ["doze"]}


steps = chain("n1", "n2", "n3")
fails = chain("n1", "fail", "n3", fail=_fail)
sleeps = chain("n1", "sleep", "n3", sleep=_sleep)
swallows = chain("n1", "swallow", "n3", swallow=_swallow)
threads = chain("n1", "thread", "n3", thread=_in_thread)
blocks = chain("n1", "block", "n3", block=_block)
asks = chain("n1", "ask", "n3", ask=_ask("ask"))
asks_renamed = chain("n1", "query", "n3", query=_ask("query"))
asks_twice = chain("n1", "ask_twice", "n3", ask_twice=_ask_twice)
asks_two = _two_questions()
progress_async = chain("report", report=_progress_async)
progress_sync = chain("report", report=_progress_sync)
progress_own_loop = chain("report", report=_progress_own_loop)
progress_many = chain("report", report=_many_reports)
spits = chain("spit", spit=_spit)
dozes = chain(*(f"doze{number}" for number in range(8)), **{f"doze{number}": _doze for number in range(8)})

AGENTS = (
    "steps", "fails", "sleeps", "swallows", "threads", "blocks", "asks", "asks_twice", "asks_two", "progress_async",
    "progress_sync", "progress_own_loop", "progress_tasks", "progress_many", "spits", "dozes",
)  # fmt: skip
