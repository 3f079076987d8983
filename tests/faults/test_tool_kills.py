"""kill -9 of a worker in the middle of tool calls: the thread goes on, and what a tool did is not done again."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from fleet import Fleet, Runs, Zygote
from witness import seen

from outlast.calls.history import INTERRUPTED
from outlast.domain.run import RunStatus, RunView
from outlast.testing.providers import ProviderServer, Reply, ToolCall
from waiting import until

pytestmark = pytest.mark.processes
PROJECT = Path(__file__).parent / "tools.toml"
THREAD = "thread"


@pytest.fixture(scope="module")
def tool_zygote() -> Iterator[Zygote]:
    with Zygote.open(
        PROJECT, "langchain_openai", "openai", "outlast.calls.chat_models", "outlast.agents.middleware"
    ) as z:
        yield z


@pytest.fixture
def tool_fleet(tool_zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=tool_zygote) as fleet:
        yield fleet


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


async def turn(runs: Runs, text: str) -> UUID:
    return await runs.enqueue("tools", {"messages": [{"role": "user", "content": text}]}, thread_id=THREAD)


async def ended(runs: Runs, run_id: UUID) -> RunView:
    async def there() -> bool:
        view = await runs.queue.store.get(run_id)
        return view.ended or view.status is RunStatus.WAITING

    await until(there, 60)
    return await runs.queue.store.get(run_id)


def calls(name: str, **arguments: Any) -> Reply:
    return Reply("", tool_calls=(ToolCall(name, arguments),))


def happened(fleet: Fleet, event: str) -> int:
    return sum(one["event"] == event for one in seen(fleet.witness))


async def test_a_worker_killed_by_a_tool_is_followed_by_another_and_the_next_turn_works(
    tool_fleet: Fleet, runs: Runs, provider: ProviderServer
) -> None:
    provider.script([calls("die", times=1), "Survived.", "Hello again."])
    first = tool_fleet.start(PROVIDER_URL=provider.openai_url)
    run_id = await turn(runs, "go")
    await asyncio.to_thread(first.wait, 60)
    tool_fleet.start(PROVIDER_URL=provider.openai_url)

    view = await ended(runs, run_id)
    after = await ended(runs, await turn(runs, "and now?"))

    assert (view.status, view.crashes, view.output["messages"][-1]["content"]) == (RunStatus.SUCCEEDED, 1, "Survived.")
    assert (after.status, after.output["messages"][-1]["content"]) == (RunStatus.SUCCEEDED, "Hello again.")
    assert len(provider.answered) == 3, "the step before the tool is not executed again"


@pytest.mark.parametrize("nth", [2, 3])
async def test_a_worker_killed_between_the_models_step_and_the_tools_step(
    tool_fleet: Fleet, runs: Runs, provider: ProviderServer, nth: int
) -> None:
    provider.script([calls("die", times=0), "Survived.", "Hello again."])
    first = tool_fleet.start(fault=f"checkpoint.after_commit:exit:1:{nth}", PROVIDER_URL=provider.openai_url)
    run_id = await turn(runs, "go")
    await asyncio.to_thread(first.wait, 60)
    tool_fleet.start(PROVIDER_URL=provider.openai_url)

    view = await ended(runs, run_id)
    after = await ended(runs, await turn(runs, "and now?"))

    assert (view.status, view.output["messages"][-1]["content"]) == (RunStatus.SUCCEEDED, "Survived.")
    assert (after.status, after.output["messages"][-1]["content"]) == (RunStatus.SUCCEEDED, "Hello again.")
    assert len(provider.answered) == 3


async def test_the_turn_after_a_tool_that_killed_every_worker_works(
    tool_fleet: Fleet, runs: Runs, provider: ProviderServer
) -> None:
    provider.script([calls("die", times=100), "Hello again."])
    run_id = await turn(runs, "go")
    for _ in range(3):
        worker = tool_fleet.start(PROVIDER_URL=provider.openai_url)
        await asyncio.to_thread(worker.wait, 60)
    tool_fleet.start(PROVIDER_URL=provider.openai_url)

    view = await ended(runs, run_id)
    after = await ended(runs, await turn(runs, "and now?"))

    assert (view.status, view.crashes) == (RunStatus.FAILED, 3), "a dead letter, with the call still open"
    assert (after.status, after.error_message) == (RunStatus.SUCCEEDED, None)
    assert INTERRUPTED in str(provider.requests[-1].body)


@pytest.mark.parametrize(
    ("point", "status", "answered"),
    [
        ("effect.before_intent", RunStatus.SUCCEEDED, 2),
        ("effect.recorded", RunStatus.SUCCEEDED, 2),
        ("effect.called", RunStatus.WAITING, 1),
    ],
)
async def test_a_tool_that_is_an_effect_is_never_silently_done_twice(
    tool_fleet: Fleet, runs: Runs, provider: ProviderServer, *, point: str, status: RunStatus, answered: int
) -> None:
    provider.script([calls("send", text="hello"), "Done."])
    first = tool_fleet.start(fault=f"{point}:exit:1:1", PROVIDER_URL=provider.openai_url)
    run_id = await turn(runs, "go")
    await asyncio.to_thread(first.wait, 60)
    tool_fleet.start(PROVIDER_URL=provider.openai_url)

    view = await ended(runs, run_id)

    assert (view.status, happened(tool_fleet, "sent"), len(provider.answered)) == (status, 1, answered)
