"""The graphs that are tortured: each step tells the witness that it starts, has one effect, takes a while."""

import asyncio
import os
import time
from operator import add
from pathlib import Path
from random import Random
from typing import Annotated, Any, TypedDict

from langchain_core.runnables import RunnableConfig
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from langgraph.types import Send, interrupt
from witness import EPOCHS, PATH_VARIABLE, say

import outlast
import outlast.agents.progress as outlast_progress

STEPS = 7
BRANCHES = 4


class State(TypedDict, total=False):
    seed: int
    #: The longest time one step takes.
    slow: float
    done: Annotated[list[str], add]
    answer: str
    #: The step that fails until its cause is removed, and whether it does so after its effect.
    poison: str
    too_late: bool


def identity(config: RunnableConfig) -> dict[str, Any]:
    """Name the run, its epoch, and the task as LangGraph names it: the same again when it is executed again."""
    run_id = config["configurable"]["run_id"]
    task_id = config["configurable"]["checkpoint_ns"].split("|")[-1].split(":")[-1]
    return {"run": run_id, "task": task_id, "epoch": EPOCHS.get(run_id, 0)}


async def step(name: str, state: dict[str, Any], config: RunnableConfig) -> str:
    """Start, wait, cause one effect, end; or fail, as long as there is poison."""
    who = identity(config)
    say("started", step=name, **who)
    await asyncio.sleep(Random(f"{state.get('seed')}:{name}").random() * state.get("slow", 0.05))
    poisoned = state.get("poison") == name and is_poisoned()
    if poisoned and not state.get("too_late"):
        raise Poisoned(name)
    await write(who["run"], who["task"], name)
    if poisoned:
        raise Poisoned(name)
    return name


@outlast.effect(on_unknown="retry")
async def write(run_id: str, task_id: str, name: str, *, idempotency_key: str = "") -> str:
    """Write to a receiver that honours keys: the witness. Called again, it does so with the same key."""
    say("effect", step=name, run=run_id, task=task_id, epoch=EPOCHS.get(run_id, 0), key=idempotency_key)
    return name


class Poisoned(Exception):
    """What a run meets until somebody removes its cause."""


def is_poisoned() -> bool:
    """Whether the fault of this session is still there: a file beside the witness's."""
    return (Path(os.environ[PATH_VARIABLE]).parent / "poison").exists()


def _node(name: str) -> Any:
    async def node(state: State, config: RunnableConfig) -> dict[str, Any]:
        return {"done": [await step(name, dict(state), config)]}

    return node


def _line() -> Any:
    builder = StateGraph(State)
    names = [f"s{number}" for number in range(1, STEPS + 1)]
    for name in names:
        builder.add_node(name, _node(name))
    for before, after in zip([START, *names], [*names, END], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


def _wide() -> Any:
    async def branch(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        return {"done": [await step(f"branch{state['number']}", state, config)]}

    def fan_out(state: State) -> list[Send]:
        shared = {name: state[name] for name in ("seed", "slow", "poison", "too_late") if name in state}
        return [Send("branch", {**shared, "number": number}) for number in range(BRANCHES)]

    builder = StateGraph(State)
    builder.add_node("s1", _node("s1"))
    builder.add_node("s2", _node("s2"))
    builder.add_node("branch", branch)
    builder.add_node("join", _node("join"))
    builder.add_node("s3", _node("s3"))
    builder.add_edge(START, "s1")
    builder.add_edge("s1", "s2")
    builder.add_conditional_edges("s2", fan_out, ["branch"])
    builder.add_edge("branch", "join")
    builder.add_edge("join", "s3")
    return builder.compile()


def _asking() -> Any:
    def ask(state: State) -> dict[str, Any]:
        answer = interrupt({"question": "go on?"})
        return {"answer": answer, "done": [f"asked:{answer}"]}

    builder = StateGraph(State)
    names = ["s1", "s2", "s3"]
    for name in [*names, "s4", "s5"]:
        builder.add_node(name, _node(name))
    builder.add_node("ask", ask)
    for before, after in zip([START, *names, "ask", "s4", "s5"], [*names, "ask", "s4", "s5", END], strict=True):
        builder.add_edge(before, after)
    return builder.compile()


@task
async def work(number: int, state: dict[str, Any], config: RunnableConfig) -> str:
    return await step(f"t{number}", state, config)


@entrypoint()
async def plain(state: dict[str, Any]) -> dict[str, Any]:
    done = [await work(1, state)]
    done += await asyncio.gather(*(work(number, state) for number in (2, 3, 4)))
    await outlast_progress.progress(4, 6)
    done += [await work(5, state), await work(6, state)]
    return {"done": done}


def _slow() -> Any:
    """One run of many steps of a fixed length, for measuring when the next one starts."""

    async def tick(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        number = state["number"]
        who = identity(config)
        say("started", step=f"n{number}", **who)
        await asyncio.sleep(state["length"])
        say("effect", step=f"n{number}", **who)
        return {"number": number + 1, "done": [f"n{number}"]}

    class Ticks(TypedDict, total=False):
        number: int
        length: float
        count: int
        done: Annotated[list[str], add]

    builder = StateGraph(Ticks)
    builder.add_node("tick", tick)
    builder.add_edge(START, "tick")
    builder.add_conditional_edges("tick", lambda state: "tick" if state["number"] < state["count"] else END)
    return builder.compile()


def _stubborn() -> Any:
    """Block the event loop's thread, as user code sometimes does."""

    async def block(state: dict[str, Any], config: RunnableConfig) -> dict[str, Any]:
        say("started", step="block", **identity(config))
        time.sleep(state["seconds"])  # noqa: ASYNC251 - blocking is the point
        return {"done": ["block"]}

    class Seconds(TypedDict, total=False):
        seconds: float
        done: Annotated[list[str], add]

    builder = StateGraph(Seconds)
    builder.add_node("block", block)
    builder.add_edge(START, "block")
    return builder.compile()


line = _line()
wide = _wide()
asking = _asking()
slow = _slow()
stubborn = _stubborn()

#: What each agent has done when it has succeeded, in order; sorted where steps are parallel.
EXPECTED = {
    "line": [f"s{number}" for number in range(1, STEPS + 1)],
    "wide": ["s1", "s2", *(f"branch{number}" for number in range(BRANCHES)), "join", "s3"],
    "asking": ["s1", "s2", "s3", "s4", "s5"],
    "plain": [f"t{number}" for number in range(1, 7)],
}
