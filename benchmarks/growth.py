"""What a long chat costs: bytes on disk and time per turn, while one thread grows to hundreds of turns.

Both savers run in one process, ten turns each in alternation, so that a noisy minute hits both.
"""

import argparse
import random
import string
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from statistics import mean, median
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
from langgraph.graph import StateGraph
from langgraph.graph.message import add_messages

import report
import savers

TEXT_BYTES = 1024
TURNS_IN_A_ROW = 10
BLOCK = 50
# Where the bytes on disk are counted.
MILESTONES = (50, 100, 200, 400)
# The turns at the end whose time a target is about.
LATE_TURNS = 200
_LETTERS = string.ascii_letters + string.digits + string.punctuation


class State(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


@dataclass(slots=True)
class Growth:
    """What was seen of one saver: milliseconds of each turn, and bytes on disk after some of them."""

    milliseconds: list[float] = field(default_factory=list)
    bytes_on_disk: dict[int, int] = field(default_factory=dict)

    def per_text_byte(self, turns: int) -> float:
        return self.bytes_on_disk[turns] / text_bytes(turns)

    def late_mean(self) -> float:
        """Return the mean of the last turns, where the thread is long."""
        return mean(self.milliseconds[-LATE_TURNS:])


Graph = Any
Growths = Mapping[str, Growth]


def text() -> str:
    """Return text that no compression makes smaller."""
    return "".join(random.choices(_LETTERS, k=TEXT_BYTES))


def chat() -> "StateGraph[State]":
    async def answer(_: State) -> dict[str, list[AIMessage]]:
        return {"messages": [AIMessage(text())]}

    builder = StateGraph(State)
    builder.add_node("answer", answer)
    builder.set_entry_point("answer")
    return builder


def text_bytes(turns: int) -> int:
    return turns * 2 * TEXT_BYTES


async def talk(graph: Graph, growth: Growth) -> None:
    config = {"configurable": {"thread_id": "chat"}}
    for _ in range(TURNS_IN_A_ROW):
        question = HumanMessage(text())
        started = time.perf_counter()
        state = await graph.ainvoke({"messages": [question]}, config, durability="sync")
        growth.milliseconds.append((time.perf_counter() - started) * 1000)
        assert len(state["messages"]) == 2 * len(growth.milliseconds)


async def grow(database: savers.Database, arguments: argparse.Namespace, tick: Callable[[], None]) -> dict[str, Growth]:
    builder = chat()
    growths = {name: Growth() for name in savers.SCHEMAS}
    async with savers.Savers(database.url, connections=arguments.connections) as opened:
        empty: dict[str, int] = {}
        for name in growths:
            await opened.get(name)
            database.settle(name)
            empty[name] = database.size(name)
        for reached in range(TURNS_IN_A_ROW, arguments.turns + 1, TURNS_IN_A_ROW):
            for name, growth in growths.items():
                if arguments.restart:
                    await opened.close(name)
                await talk(builder.compile(checkpointer=await opened.get(name)), growth)
                tick()
            if reached in MILESTONES:
                for name, growth in growths.items():
                    database.settle(name)
                    growth.bytes_on_disk[reached] = database.size(name) - empty[name]
    return growths


def show(growths: Growths) -> None:
    own, peer = growths[savers.OUTLAST], growths[savers.LANGGRAPH]
    report.table(
        "Bytes on disk for each byte of text",
        ["turns", "text", *growths, "factor"],
        [
            [
                str(turns),
                f"{text_bytes(turns) / 2**20:.2f} MiB",
                *(report.figure(growth.per_text_byte(turns)) for growth in growths.values()),
                f"{report.figure(peer.bytes_on_disk[turns] / own.bytes_on_disk[turns])}x",
            ]
            for turns in own.bytes_on_disk
        ],
    )
    blocks = {
        f"to turn {end}": {name: median(growth.milliseconds[end - BLOCK : end]) for name, growth in growths.items()}
        for end in range(BLOCK, len(own.milliseconds) + 1, BLOCK)
    }
    report.bars(f"Median of the time of a turn, in blocks of {BLOCK}", blocks, unit="ms")
    means = ", ".join(f"{name} {report.figure(growth.late_mean())} ms" for name, growth in growths.items())
    factor = report.figure(peer.late_mean() / own.late_mean())
    late = min(LATE_TURNS, len(own.milliseconds))
    report.console.print(f"\nMean of the last {late} turns: {means}, a factor of [bold]{factor}[/bold]\n")


def targets(growths: Growths) -> Iterator[report.Target]:
    own, peer = growths[savers.OUTLAST], growths[savers.LANGGRAPH]
    if not own.bytes_on_disk.keys() >= {100, 400}:
        return
    at_100, at_400 = own.per_text_byte(100), own.per_text_byte(400)
    share = own.late_mean() / peer.late_mean()
    yield report.Target(name="bytes on disk per byte of text, 400 turns", measured=at_400, limit=4.0, at_least=False)
    yield report.Target(
        name="the same at 400 turns / at 100 turns", measured=at_400 / at_100, limit=1.2, at_least=False
    )
    yield report.Target(
        name=f"time of the last {LATE_TURNS} turns, of {savers.LANGGRAPH}'s",
        measured=share,
        limit=1 / 3,
        at_least=False,
    )


def parse() -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--turns", type=int, default=400, help="length of the chat (%(default)s)")
    parser.add_argument(
        "--restart", action="store_true", help=f"open the savers anew every {TURNS_IN_A_ROW} turns: caches are cold"
    )
    parser.add_argument("--connections", type=int, default=8, help="AsyncPostgresSaver's pool (%(default)s)")
    arguments = parser.parse_args()
    if arguments.turns < BLOCK:
        parser.error(f"--turns must be at least {BLOCK}")
    return arguments


def main() -> int:
    arguments = parse()
    with savers.database() as database:
        report.heading(
            f"One chat; in a turn, question and answer of {TEXT_BYTES} random bytes each; durability='sync'"
            + (f"; savers opened anew every {TURNS_IN_A_ROW} turns" if arguments.restart else ""),
            database.facts(loop=arguments.loop, connections=arguments.connections),
        )
        with report.progress(arguments.turns // TURNS_IN_A_ROW * len(savers.SCHEMAS)) as tick:
            growths = report.run(grow(database, arguments, tick), loop=arguments.loop)
    show(growths)
    return report.verdict(list(targets(growths)), strict=arguments.strict)


if __name__ == "__main__":
    sys.exit(main())
