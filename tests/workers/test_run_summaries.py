"""What is told of an attempt when its outcome is stored: once, true, and without what the agent said."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from engine import Engine

from outlast import telemetry
from outlast.agents.project import AgentSpec, Project
from outlast.domain.options import RunOptions
from outlast.domain.run import RunStatus
from outlast.domain.run_summary import RunSummary
from outlast.telemetry import surroundings
from outlast.testing.providers import ProviderServer, Reply
from waiting import until

AGENTS = ("does", "chats")
INCOMING = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        yield server


class Told:
    """The summaries, and where they were told."""

    def __init__(self) -> None:
        self.summaries: list[RunSummary] = []
        self.where: list[Any] = []

    def __call__(self, point: str, fields: Any) -> None:
        if point == "run.ended":
            self.summaries.append(fields["summary"])
            self.where.append(surroundings())

    async def of(self, run_id: UUID, count: int = 1) -> list[RunSummary]:
        def found() -> list[RunSummary]:
            return [summary for summary in self.summaries if summary.run_id == run_id]

        async def there() -> bool:
            return len(found()) >= count

        await until(there, message="the summary is told")
        return found()


@pytest.fixture
def told() -> Iterator[Told]:
    heard = Told()
    unsubscribe = telemetry.subscribe(heard)
    yield heard
    unsubscribe()


def project() -> Project:
    specs = {name: AgentSpec(name=name, path=None, module="summary_agents", attribute=name) for name in AGENTS}
    return Project(root=Path(__file__).parent, agents=specs)


async def test_each_way_to_end_is_told_once_with_its_figures(engine: Engine, told: Told) -> None:
    async with engine.working(agents=project(), max_attempts=1):
        good = await engine.start("does", {"what": "well"}, thread_id="of-good")
        broken = await engine.start("does", {"what": "fail"}, max_attempts=1)
        asking = await engine.start("does", {"what": "ask"})
        tools = await engine.start("does", {"what": "tool"}, options=RunOptions(traceparent=INCOMING))
        [well] = await told.of(good)
        [failed] = await told.of(broken)
        [asked] = await told.of(asking)
        [called] = await told.of(tools)

    assert (well.status, well.outcome, well.thread_id, well.agent, well.tenant, well.epoch) == (
        RunStatus.SUCCEEDED, "success", "of-good", "does", "default", 1
    )  # fmt: skip
    assert (well.nodes, well.tool_calls, well.models, well.model) == (1, 0, {}, None)
    assert (well.confidence, well.refused, well.empty, well.invalid) == (0.9, False, False, False)
    assert well.output_length == len('{"what":"well","answer":"all is well","confidence":0.9}')
    assert well.output_print is not None
    assert well.input_print is not None
    assert 0 <= well.queued_seconds <= well.total_seconds
    assert well.first_byte_seconds is not None
    assert well.queued_seconds <= well.first_byte_seconds <= well.total_seconds
    assert well.trace_id == good.hex

    assert (failed.outcome, failed.error_class, failed.ended) == ("error", "ValueError", True)
    assert failed.error_message is not None
    assert "Zk3vQ9x" not in failed.error_message
    assert (failed.confidence, failed.output_length, failed.output_print) == (None, None, None)

    assert (asked.outcome, asked.status) == ("interrupt", RunStatus.WAITING)
    assert (called.tool_calls, called.tool_errors, called.confidence) == (1, 1, 0.25)
    assert called.trace_id == "0af7651916cd43dd8448eb211c80319c"
    assert all(where["run_id"] and where["thread_id"] and "node" not in where for where in told.where)


async def test_an_attempt_that_is_made_again_is_told_as_a_retry_and_has_not_ended_the_run(
    engine: Engine, told: Told
) -> None:
    async with engine.working(agents=project()):
        run_id = await engine.start("does", {"what": "fail"}, max_attempts=2)
        first, last = await told.of(run_id, 2)

    assert (first.outcome, first.status, first.ended, first.epoch) == ("retry", RunStatus.QUEUED, False, 1)
    assert (last.outcome, last.status, last.ended, last.epoch) == ("error", RunStatus.FAILED, True, 2)
    assert last.total_seconds > last.seconds


async def test_what_models_took_is_told_by_model(engine: Engine, told: Told, provider: ProviderServer) -> None:
    provider.script([Reply(text="I'm sorry, but I can't help with that.")])
    async with engine.working(agents=project(), calls={"cache": {"enabled": False}}):
        run_id = await engine.start("chats", {"messages": [{"role": "user", "content": "hello"}]})
        [summary] = await told.of(run_id)

    use = summary.models["openai:gpt-4o"]
    assert (use.calls, use.failed, summary.model, summary.provider) == (1, 0, "gpt-4o", "openai")
    assert summary.prompt_tokens == use.prompt_tokens > 0
    assert summary.completion_tokens == use.completion_tokens > 0
    assert summary.cost_usd == use.cost_usd > 0
    assert use.seconds > 0
    assert summary.refused
    assert summary.output_length == len("I'm sorry, but I can't help with that.")


async def test_a_run_that_is_cancelled_is_told_so(engine: Engine, told: Told) -> None:
    async with engine.working():
        run_id = await engine.start("sleeps")
        await engine.stands(run_id, RunStatus.RUNNING)
        await (await engine.client()).queue.cancel(run_id)
        [summary] = await told.of(run_id)

    assert (summary.outcome, summary.status, summary.error_class) == ("cancelled", RunStatus.CANCELLED, None)
