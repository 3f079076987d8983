"""The log of runs: a line per node and one per attempt, each with its thread, and nothing that was said."""

import io
import json
import logging
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import structlog
from engine import Engine
from logging_agents import CANARY

from outlast import telemetry
from outlast.agents.project import AgentSpec, Project
from outlast.monitoring.logs.lines import Lines
from outlast.monitoring.logs.output import Output
from outlast.monitoring.logs.rendering import as_json
from outlast.monitoring.logs.setup import Handler
from outlast.settings import DatabaseSettings
from outlast.settings_logs import LogSettings
from waiting import until

#: What an operator finds in the line of an attempt.
REQUIRED = {
    "timestamp", "level", "event", "thread_id", "run_id", "tenant", "user", "agent", "epoch", "trace_id", "model",
    "provider", "prompt_tokens", "completion_tokens", "tool_calls", "duration_ms", "outcome", "error_class",
}  # fmt: skip


class Log:
    """What a process would have written to stderr."""

    def __init__(self, sink: io.BytesIO, output: Output) -> None:
        self._sink = sink
        self._output = output

    @property
    def lines(self) -> list[dict[str, Any]]:
        assert self._output.flush()
        return [json.loads(line) for line in self._sink.getvalue().splitlines()]

    def of(self, point: str, run_id: UUID) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("point") == point and line["run_id"] == str(run_id)]

    async def ended(self, run_id: UUID) -> dict[str, Any]:
        async def there() -> bool:
            return bool(self.of("run.ended", run_id))

        await until(there, message="the line of the attempt is written")
        return self.of("run.ended", run_id)[-1]


@contextmanager
def logging_to(settings: LogSettings) -> Iterator[Log]:
    """What `setup` puts together, without the process's own stderr."""
    sink = io.BytesIO()
    output = Output(sink, as_json)
    output.start()
    handler, before = Handler(output.put), structlog.get_config()
    logging.getLogger().addHandler(handler)
    structlog.configure(
        processors=[structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    unsubscribe = telemetry.subscribe(Lines(output.put, settings))
    try:
        yield Log(sink, output)
    finally:
        unsubscribe()
        structlog.configure(**before)
        logging.getLogger().removeHandler(handler)
        output.close()


@pytest.fixture(scope="module")
async def engine(database_of_module: DatabaseSettings) -> AsyncIterator[Engine]:
    """One worker for all tests of the module."""
    specs = {"logs": AgentSpec(name="logs", path=None, module="logging_agents", attribute="logs")}
    async with AsyncExitStack() as stack:
        engine = Engine(database_of_module, stack)
        await stack.enter_async_context(engine.working(agents=Project(root=Path(__file__).parent, agents=specs)))
        yield engine


async def test_every_line_of_a_run_carries_its_thread_whoever_writes_it(engine: Engine) -> None:
    with logging_to(LogSettings()) as log:
        runs = {thread: await engine.start("logs", {"question": CANARY}, thread_id=thread) for thread in ("one", "two")}
        for run_id in runs.values():
            await log.ended(run_id)
        # The worker may have said a moment ago that it has started.
        lines = [line for line in log.lines if not str(line.get("point")).startswith("worker.")]

    assert [line for line in lines if not line.get("thread_id") or not line.get("run_id")] == []
    by_thread = {thread: [line for line in lines if line["thread_id"] == thread] for thread in runs}
    for thread, run_id in runs.items():
        told = Counter(line["event"] for line in by_thread[thread])
        assert {line["run_id"] for line in by_thread[thread]} == {str(run_id)}
        # `left` and `deep` are the same code.
        for event in ("in a node", "by structlog", "in a task", "in a thread", "in a tool"):
            assert told[event] == 2, event
        assert (told["failed"], told["in a pool"], told["run succeeded"]) == (1, 1, 1)
    where = {(line["event"], line["node"]) for line in by_thread["one"] if line.get("logger")}
    assert {("in a thread", "left"), ("in a thread", "deep"), ("in a pool", "right"), ("failed", "right")} <= where
    assert {line["tool"] for line in lines if line["event"] == "in a tool"} == {"logs_in_a_tool"}
    assert CANARY not in json.dumps(lines)


async def test_each_node_has_one_line_and_the_attempt_one_with_all_its_figures(engine: Engine) -> None:
    with logging_to(LogSettings()) as log:
        run_id = await engine.start("logs", {"question": CANARY})
        ended = await log.ended(run_id)
        nodes = log.of("node.ended", run_id)

    assert sorted(line["node"] for line in nodes) == ["deep", "inside", "last", "left", "right"]
    assert {(line["outcome"], line["thread_id"], line["agent"]) for line in nodes} == {("success", str(run_id), "logs")}
    assert [line["within"] for line in nodes if line["node"] == "deep"] == ["inside"]
    assert REQUIRED - ended.keys() <= {"user", "model", "provider", "error_class"}, "these only where there is one"
    assert (ended["outcome"], ended["level"], ended["tool_calls"], ended["nodes"]) == ("success", "info", 2, 5)
    assert ended["trace_id"] == run_id.hex
    assert ended["duration_ms"] > 0


async def test_an_error_is_told_with_its_class_and_without_personal_data(engine: Engine) -> None:
    with logging_to(LogSettings()) as log:
        run_id = await engine.start("logs", {"question": CANARY, "fails": True}, max_attempts=1)
        ended = await log.ended(run_id)
        [failed] = [line for line in log.of("node.ended", run_id) if line["outcome"] == "error"]

    assert (ended["level"], ended["outcome"], ended["error_class"]) == ("warning", "error", "ValueError")
    assert "<email> has asked in vain" in ended["error_message"]
    assert (failed["node"], failed["error_class"]) == ("last", "ValueError")


async def test_content_is_logged_for_whoever_asks_for_it(engine: Engine) -> None:
    with logging_to(LogSettings(content=True)) as log:
        run_id = await engine.start("logs", {"question": CANARY})
        ended = await log.ended(run_id)
        broken = await engine.start("logs", {"question": CANARY, "fails": True}, max_attempts=1)
        failed = await log.ended(broken)

    assert ended["input"] == {"question": CANARY}
    assert ended["output"] == {"question": CANARY, "value": 3}
    assert "ada@example.com" in failed["error_message"]


async def test_a_hostile_thread_id_cannot_forge_a_line(engine: Engine) -> None:
    thread = 't\n{"event":"approved","run_id":"x"}\x1b[2K'
    with logging_to(LogSettings()) as log:
        run_id = await engine.start("logs", {"question": CANARY}, thread_id=thread)
        await log.ended(run_id)
        lines = log.lines

    assert "approved" not in {line["event"] for line in lines}
    assert {line["thread_id"] for line in lines} == {thread.replace("\x1b", "\\x1b")}


@pytest.mark.parametrize(
    ("settings", "points"),
    [
        (LogSettings(nodes=False), {"run.ended", "effect.unknown"}),
        (LogSettings(runs=False), {"node.ended", "effect.unknown"}),
        (LogSettings(level="warning"), {"effect.unknown"}),
        (LogSettings(level="debug"), {"node.started", "node.ended", "run.ended", "effect.unknown"}),
    ],
)
async def test_settings_say_which_lines_there_are(engine: Engine, settings: LogSettings, points: set[str]) -> None:
    with logging_to(settings) as log:
        run_id = await engine.start("logs", {"question": CANARY})
        await engine.ended(run_id)
        lines = log.lines

    assert {line["point"] for line in lines if line.get("run_id") == str(run_id) and "point" in line} >= points - {
        "run.ended"
    }
    assert {line["point"] for line in lines if "point" in line} <= points
