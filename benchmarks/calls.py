"""What a model call that answers at once costs beyond the bare model: CPU time and time, with and without a run.

One process has a worker of its own, and as many claimed runs as there are calls at the same time. Each run stands in a
node, and the calls of all contenders are made from there, so journal, usage and fence are those of every day. The
contenders take turns, batch by batch, so that a noisy minute hits all of them; the model is a stand-in that says at
once what it always says, with usage. `bare` is the model alone, `no run` is `outlast.wrap(model)` as a script uses it,
`in a run` is the same in a run: durable when the call returns.

    python benchmarks/calls.py [--concurrency 32] [--batches 15] [--scenes message provider] [--assert]
"""

import argparse
import asyncio
import gc
import logging
import sys
import time
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from contextvars import Context
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from statistics import median
from typing import Any, Final
from uuid import uuid4

import psycopg
from langchain_core.callbacks import AsyncCallbackManagerForLLMRun
from langchain_core.language_models import BaseChatModel, LangSmithParams
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import Runnable
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool
from langchain_openai import ChatOpenAI

import outlast
import processes
import report
import seats
from outlast.agents.project import AgentSpec, Project
from outlast.calls.scope import current
from outlast.cli import logs
from outlast.cli.working import spare_the_collector
from outlast.domain.run import NewRun
from outlast.runtime import Runtime, work
from outlast.settings import CallSettings, CapSettings, DatabaseSettings, Settings, WorkerSettings
from outlast.storage.postgres.migrate import migrate
from outlast.testing.providers import ProviderProcess, Reply

BARE, OUTSIDE, INSIDE = "bare", "no run", "in a run"
CONTENDERS: Final = (BARE, OUTSIDE, INSIDE)
ONE, STREAM, TOOLS, HISTORY, PROVIDER = "message", "stream", "tools", "history", "provider"
SCENES: Final[Mapping[str, str]] = {
    ONE: "one message", STREAM: "streamed, 12 chunks", TOOLS: "8 tools", HISTORY: "50 messages", PROVIDER: "ChatOpenAI"
}  # fmt: skip
#: What was promised for a call that answers at once, in ms of CPU time at p50.
LIMIT_MS: Final = 1.0

MODEL: Final = "gpt-4o-mini"
_TEXT: Final = "The invoice was paid on the third of May; nothing else is open. " * 3
_USAGE: Final = {"input_tokens": 310, "output_tokens": 45, "total_tokens": 355}
_PIECES: Final = 12
_HISTORY: Final = 50
#: Of each runner in the round that does not count.
_FIRST_CALLS: Final = 3
_numbers = count()


class AtOnce(BaseChatModel):
    """Answers without asking anybody."""

    model_name: str = MODEL

    @property
    def _llm_type(self) -> str:
        return "at-once"

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        # A model that the price list knows, of a provider whose answers are looked at.
        return LangSmithParams(ls_provider="openai", ls_model_name=MODEL, ls_model_type="chat")

    def _generate(self, messages: list[BaseMessage], *_: Any, **__: Any) -> ChatResult:
        raise NotImplementedError

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        message = AIMessage(_TEXT, usage_metadata=_USAGE, response_metadata={"finish_reason": "stop"})
        return ChatResult(generations=[ChatGeneration(message=message)])

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> Runnable[Any, Any]:
        return self.bind(tools=[convert_to_openai_tool(each) for each in tools], **kwargs)


class InPieces(AtOnce):
    """The same, streamed."""

    async def _astream(
        self, messages: list[BaseMessage], *_: Any, **__: Any
    ) -> AsyncGenerator[ChatGenerationChunk, None]:
        size = len(_TEXT) // _PIECES
        for number in range(_PIECES):
            message = AIMessageChunk(_TEXT[number * size : (number + 1) * size])
            if number == _PIECES - 1:
                message.usage_metadata, message.response_metadata = _USAGE, {"finish_reason": "stop"}
                message.chunk_position = "last"
            yield ChatGenerationChunk(message=message)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one contender did in its turn; per call."""

    cpu_ms: float
    p50_ms: float


@dataclass(slots=True)
class Scene:
    """A kind of call, and the contenders that make it."""

    bare: Runnable[Any, Any]
    wrapped: Runnable[Any, Any]
    #: Returns what is asked, never the same thing twice; the objects of a history stay what they are, as in a run.
    asks: Callable[[], list[BaseMessage]]
    streams: bool = False
    batches: dict[str, list[Batch]] = field(default_factory=lambda: {name: [] for name in CONTENDERS})

    async def call(self, contender: str) -> None:
        model = self.bare if contender == BARE else self.wrapped
        if self.streams:
            async for _ in model.astream(self.asks()):
                pass
        else:
            await model.ainvoke(self.asks())

    def extra(self, contender: str) -> list[float]:
        """Return the CPU time beyond the bare model's in each turn, in ms."""
        return [own.cpu_ms - bare.cpu_ms for own, bare in zip(self.batches[contender], self.batches[BARE], strict=True)]


Scenes = Mapping[str, Scene]


def scenes() -> dict[str, Scene]:
    model, pieces = AtOnce(), InPieces()
    tools = [_tool(number) for number in range(8)]
    return {
        ONE: Scene(model, outlast.wrap(model), _question),
        STREAM: Scene(pieces, outlast.wrap(pieces), _question, streams=True),
        TOOLS: Scene(model.bind_tools(tools), outlast.wrap(model).bind_tools(tools), _question),
        HISTORY: Scene(model, outlast.wrap(model), _conversation(_history())),
    }


def _question() -> list[BaseMessage]:
    return [HumanMessage(f"Question {next(_numbers)}: is the invoice of the last month paid, and is anything open?")]


def _conversation(history: list[BaseMessage]) -> Callable[[], list[BaseMessage]]:
    return lambda: [*history, *_question()]


def _history() -> list[BaseMessage]:
    """Return what an agent has said and done in twelve turns with two calls of tools each."""
    history: list[BaseMessage] = [SystemMessage("You answer questions about invoices. " * 20)]
    while len(history) < _HISTORY - 1:
        calls = [
            {"name": "invoices", "args": {"month": n, "open": True}, "id": f"call_{len(history)}_{n}"} for n in (1, 2)
        ]
        history.append(AIMessage(_TEXT, tool_calls=calls, usage_metadata=_USAGE))
        history += [ToolMessage(_TEXT, tool_call_id=call["id"], name="invoices") for call in calls]
        history.append(HumanMessage(_TEXT))
    return history[: _HISTORY - 1]


def _tool(number: int) -> Any:
    async def look(month: int, customer: str, *, only_open: bool = False) -> str:
        """Look up the invoices of a customer in a month, and say which of them are open."""
        return f"{month} {customer} {only_open}"

    return tool(f"look_up_{number}")(look)


async def compete(url: str, arguments: argparse.Namespace, tick: Callable[[], None]) -> Scenes:
    """Return the scenes with their batches."""
    async with AsyncExitStack() as stack:
        made = {name: scene for name, scene in scenes().items() if name in arguments.scenes}
        if PROVIDER in arguments.scenes:
            made[PROVIDER] = await stack.enter_async_context(_asking_a_provider())
        before = await _stored(url)
        contexts = await stack.enter_async_context(_runs(url, arguments.concurrency))
        for number in range(arguments.batches + 1):
            for scene in made.values():
                for contender, batches in scene.batches.items():
                    # The first round is a short one that does not count: connections, plans, imports.
                    taken = await _batch(scene, contender, contexts, calls=arguments.calls if number else _FIRST_CALLS)
                    if number:
                        batches.append(taken)
                    tick()
        in_runs = len(made) * arguments.concurrency * (_FIRST_CALLS + arguments.calls * arguments.batches)
        stored = [after - earlier for after, earlier in zip(await _stored(url), before, strict=True)]
        if stored != [in_runs, in_runs]:
            sys.exit(f"{in_runs} calls were made in runs; answers and costs that were stored: {stored}")
    return made


async def _stored(url: str) -> list[int]:
    """Return how many answers are in the journal, and of how many calls it is known what they cost."""
    async with await psycopg.AsyncConnection.connect(url) as connection:
        cursor = await connection.execute(
            "SELECT (SELECT count(*) FROM call_journal WHERE body IS NOT NULL), "
            "(SELECT count(*) FROM call_usage WHERE cost_micros IS NOT NULL)"
        )
        return list(await cursor.fetchone() or ())


async def _batch(scene: Scene, contender: str, contexts: Sequence[Context], *, calls: int) -> Batch:
    taken: list[float] = []

    async def asking() -> None:
        if contender == OUTSIDE:
            current.set(None)
        for _ in range(calls):
            began = time.perf_counter()
            await scene.call(contender)
            taken.append(time.perf_counter() - began)

    loop = asyncio.get_running_loop()
    # Not during a turn: the garbage of the last contender would be this one's.
    gc.collect()
    cpu = time.process_time()
    # In a node's context each task is that node, as far as the model can tell.
    await asyncio.gather(*(loop.create_task(asking(), context=context.copy()) for context in contexts))
    cpu = time.process_time() - cpu
    return Batch(cpu_ms=cpu / len(taken) * 1000, p50_ms=median(taken) * 1000)


@asynccontextmanager
async def _runs(url: str, concurrency: int) -> AsyncGenerator[list[Context], None]:
    """Claim runs and let each one wait in its node; yield the nodes' contexts."""
    settings = Settings(
        database=DatabaseSettings(url=url),
        worker=WorkerSettings(concurrency=concurrency),
        # Checked, like those of every run, and never reached.
        calls=CallSettings(caps=CapSettings(turns=10**9, tokens=10**12, cost_usd=1e9, seconds=1e9)),
    )
    spec = AgentSpec(name="seat", path=None, module="seats", attribute="seat")
    project = Project(root=Path(__file__).parent, agents={"seat": spec})
    async with Runtime.open(settings, project, application_name="outlast-bench-calls") as runtime:
        # As `outlast worker` does.
        await runtime.registry.load_all()
        logs.configure()
        logging.getLogger("outlast").setLevel(logging.WARNING)
        spare_the_collector()
        worker = runtime.worker()
        working = asyncio.create_task(work(runtime, worker))
        try:
            for _ in range(concurrency):
                thread = str(uuid4())
                await runtime.queue.enqueue(
                    NewRun(id=uuid4(), thread_id=thread, agent="seat", input={}, config={}, metadata={})
                )
            yield [await seats.taken.get() for _ in range(concurrency)]
        finally:
            seats.closed.set()
            worker.drain()
            await working


@asynccontextmanager
async def _asking_a_provider() -> AsyncGenerator[Scene, None]:
    async with ProviderProcess.start() as provider:
        await provider.script([Reply(_TEXT)])
        model = ChatOpenAI(model=MODEL, base_url=provider.openai_url, api_key="bench", max_retries=0)
        yield Scene(model, outlast.wrap(model), _question)


def show(made: Scenes, concurrency: int) -> None:
    def middle(scene: Scene, contender: str, name: str) -> str:
        return report.figure(median(getattr(batch, name) for batch in scene.batches[contender]))

    rows: list[list[str]] = []
    for name, scene in made.items():
        for contender in CONTENDERS:
            extra = "" if contender == BARE else report.figure(median(scene.extra(contender)))
            spread = "" if contender == BARE else _spread(scene.extra(contender))
            label = SCENES[name] if contender == BARE else ""
            figures = [middle(scene, contender, each) for each in ("cpu_ms", "p50_ms")]
            rows.append([label, contender, figures[0], extra, spread, figures[1]])
    columns = ["", "model", "CPU ms/call", "beyond bare", "batches", "p50 ms"]
    report.table(f"{concurrency} calls at the same time", columns, rows)


def _spread(found: Sequence[float]) -> str:
    return f"{report.figure(min(found))} to {report.figure(max(found))}"


def targets(made: Scenes) -> Iterator[report.Target]:
    for name, scene in made.items():
        # A provider does not answer at once, and its SDK's cost hides ours.
        if name != PROVIDER:
            title = f"CPU time beyond the bare model, p50, journal included: {SCENES[name]}"
            measured = median(scene.extra(INSIDE))
            yield report.Target(name=title, measured=measured, limit=LIMIT_MS, at_least=False, unit=" ms")


def parse() -> argparse.Namespace:
    parser = report.parser(__doc__ or "")
    parser.add_argument("--concurrency", type=int, default=32, help="calls at the same time (%(default)s)")
    parser.add_argument("--batches", type=int, default=15, help="turns of each contender (%(default)s)")
    parser.add_argument("--calls", type=int, default=20, help="calls one after the other in a turn (%(default)s)")
    parser.add_argument(
        "--scenes", nargs="+", choices=SCENES, default=[name for name in SCENES if name != PROVIDER],
        help="what is asked (all but `provider`: through an SDK to a provider on this machine)",
    )  # fmt: skip
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    with processes.database() as url:
        asyncio.run(migrate(DatabaseSettings(url=url)))
        report.heading(
            f"A model call that answers at once, {arguments.concurrency} at the same time, each in a run of its own",
            {
                "database": _server(url),
                "software": report.versions("outlast", "langchain-core", "langgraph", "psycopg", arguments.loop),
            },
        )
        rounds = (arguments.batches + 1) * len(CONTENDERS)
        with report.progress(rounds * len(arguments.scenes)) as tick:
            made = report.run(compete(url, arguments, tick), loop=arguments.loop)
    show(made, arguments.concurrency)
    report.console.print(
        "[dim]CPU: of this process, without the server. Figures are medians of the batches; what is beyond the bare\n"
        "model is taken batch by batch.[/dim]\n"
    )
    return report.verdict(list(targets(made)), strict=arguments.strict)


def _server(url: str) -> str:
    names = ("server_version", "fsync", "synchronous_commit")
    with psycopg.connect(url) as connection:
        shown = [str(connection.execute("SELECT current_setting(%s)", [name]).fetchone()[0]) for name in names]
    return f"PostgreSQL {shown[0].split()[0]}, fsync {shown[1]}, synchronous_commit {shown[2]}"


if __name__ == "__main__":
    sys.exit(main())
