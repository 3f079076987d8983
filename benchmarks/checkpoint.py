"""Steps per second with each checkpointer: a chain of ten nodes, every step durable before the next one starts.

The contenders take turns, round by round, so that a noisy minute hits all of them; what is printed is the median.
"""

import argparse
import asyncio
import gc
import random
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import count
from statistics import median, quantiles
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages

import report
import savers

NODES = 10
MEMORY = "InMemorySaver"
FORGETFUL = "a saver that keeps nothing"
NOTHING = "no saver"
CONTENDERS = (savers.OUTLAST, savers.LANGGRAPH, MEMORY, FORGETFUL, NOTHING)


class Forgetful(BaseCheckpointSaver[int]):
    """What LangGraph itself spends on having a saver: the floor of all the others."""

    async def aget_tuple(self, config):
        return None

    async def aput(self, config, checkpoint, metadata, new_versions):
        return {"configurable": {**config["configurable"], "checkpoint_id": checkpoint["id"]}}

    async def aput_writes(self, config, writes, task_id, task_path=""):
        return


_LETTERS = string.ascii_letters + string.digits

_thread_ids = count()
# When each node of the current run started.
_starts: ContextVar[list[float]] = ContextVar("starts")


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@dataclass(frozen=True, slots=True, kw_only=True)
class Slice:
    """What one contender did in its turn of one round."""

    steps_per_second: float
    cpu_ms: float
    p50_ms: float
    p95_ms: float


Results = Mapping[str, Sequence[Slice]]
Graph = Any


def chain() -> "StateGraph[State]":
    async def node(_: State) -> dict[str, list[AIMessage]]:
        _starts.get().append(time.perf_counter())
        return {"messages": [AIMessage("".join(random.choices(_LETTERS, k=200)))]}

    builder = StateGraph(State)
    names = [f"step_{number}" for number in range(NODES)]
    builder.add_sequence([(name, node) for name in names])
    builder.set_entry_point(names[0])
    return builder


async def run(graph: Graph) -> list[float]:
    """Run the graph on a new thread; return the seconds from each node's start to the next one's, or to the end."""
    starts: list[float] = []
    _starts.set(starts)
    config = {"configurable": {"thread_id": f"thread-{next(_thread_ids)}"}}
    options = {"durability": "sync"} if graph.checkpointer else {}
    state = await graph.ainvoke({"messages": [HumanMessage("Begin.")]}, config, **options)
    assert len(state["messages"]) == NODES + 1
    ends = [*starts[1:], time.perf_counter()]
    return [end - start for start, end in zip(starts, ends, strict=True)]


async def measure(graph: Graph, *, runs: int, threads: int) -> Slice:
    waiting = iter(range(runs))
    taken: list[float] = []

    async def thread() -> None:
        for _ in waiting:
            taken.extend(await run(graph))

    # Not during a turn: the garbage of the last contender would be this one's.
    gc.collect()
    cpu, started = time.process_time(), time.perf_counter()
    await asyncio.gather(*(thread() for _ in range(threads)))
    seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
    percentiles = quantiles(taken, n=20)
    return Slice(
        steps_per_second=len(taken) / seconds,
        cpu_ms=cpu / len(taken) * 1000,
        p50_ms=percentiles[9] * 1000,
        p95_ms=percentiles[18] * 1000,
    )


async def compete(
    database: savers.Database, arguments: argparse.Namespace, tick: Callable[[], None]
) -> dict[int, Results]:
    """Return the slices of each contender for each number of threads."""
    results: dict[int, Results] = {}
    builder = chain()
    async with savers.Savers(database.url, connections=arguments.connections) as opened:
        for threads in arguments.threads:
            runs = arguments.runs or default_runs(threads)
            slices: dict[str, list[Slice]] = {name: [] for name in CONTENDERS}
            for number in range(arguments.rounds + 1):
                for name, own in slices.items():
                    graph = builder.compile(checkpointer=await saver(name, opened))
                    # The first round is a short one that does not count: connections, plans, imports.
                    taken = await measure(graph, runs=runs if number else threads, threads=threads)
                    if number:
                        own.append(taken)
                    database.settle(name)
                    tick()
            results[threads] = slices
    return results


async def saver(name: str, opened: savers.Savers) -> savers.Saver | None:
    if name in savers.SCHEMAS:
        return await opened.get(name)
    # A new one each time: it keeps all that was ever written, which makes it slower.
    if name == FORGETFUL:
        return Forgetful()
    return InMemorySaver() if name == MEMORY else None


def default_runs(threads: int) -> int:
    """Return enough runs for a second or two, and for all threads to be busy most of the time."""
    return max(40, threads * 6)


def ratio(slices: Results, peer: str) -> list[float]:
    """Return how many times the peer's steps Outlast did, in each round."""
    pairs = zip(slices[savers.OUTLAST], slices[peer], strict=True)
    return [own.steps_per_second / other.steps_per_second for own, other in pairs]


def show(threads: int, slices: Results) -> None:
    def middle(name: str, field: str) -> str:
        return report.figure(median(getattr(taken, field) for taken in slices[name]))

    fields = ("steps_per_second", "cpu_ms", "p50_ms", "p95_ms")
    report.table(
        f"{threads} concurrent thread{'s' if threads > 1 else ''}",
        ["", "steps/s", "CPU ms/step", "p50 ms/step", "p95 ms/step"],
        [[name, *(middle(name, field) for field in fields)] for name in CONTENDERS],
    )
    for peer in (savers.LANGGRAPH, MEMORY):
        found = ratio(slices, peer)
        spread = f"{report.figure(min(found))} to {report.figure(max(found))}"
        report.console.print(f"  Outlast / {peer}: [bold]{report.figure(median(found))}x[/bold] (rounds: {spread})")
    report.console.print()


def targets(results: Mapping[int, Results]) -> Iterator[report.Target]:
    promised = ((32, savers.LANGGRAPH, 3.0), (32, MEMORY, 1.0), (1, savers.LANGGRAPH, 1.5))
    for threads, peer, limit in promised:
        if threads in results:
            name = f"steps/s at {threads} thread{'s' if threads > 1 else ''}, of {peer}'s"
            measured = median(ratio(results[threads], peer))
            yield report.Target(name=name, measured=measured, limit=limit, at_least=True, unit="x")


def parse() -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each contender (%(default)s)")
    parser.add_argument("--runs", type=int, help="runs in a turn (default: 40, or 6 for each thread)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 32], help="runs at the same time (1 and 32)")
    parser.add_argument("--connections", type=int, default=8, help="AsyncPostgresSaver's pool (%(default)s)")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    with savers.database() as database:
        report.heading(
            f"A chain of {NODES} nodes, each adds a message of 200 bytes; durability='sync'; each run on a new thread",
            database.facts(loop=arguments.loop, connections=arguments.connections),
        )
        turns = len(arguments.threads) * (arguments.rounds + 1) * len(CONTENDERS)
        with report.progress(turns) as tick:
            results = report.run(compete(database, arguments, tick), loop=arguments.loop)
    for threads, slices in results.items():
        show(threads, slices)
    report.console.print("[dim]CPU: of this process, without the server. Figures are medians of the rounds.[/dim]\n")
    return report.verdict(list(targets(results)), strict=arguments.strict)


if __name__ == "__main__":
    sys.exit(main())
