"""What real runs count, and that no label names anybody."""

import re
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import metered_agents
import pytest

from outlast import telemetry
from outlast.agents.project import AgentSpec, Project
from outlast.domain.acting import Principal, acting_for
from outlast.domain.run import NewRun, RunStatus
from outlast.monitoring.metrics import exposition, measuring
from outlast.monitoring.metrics.database import figures
from outlast.runtime import Runtime
from outlast.server.app import create_app
from outlast.storage.postgres.checkpoints import thread_key
from runtimes import opener, working
from waiting import until

PROJECT = Project(
    root=Path(__file__).parent,
    agents={
        name: AgentSpec(name=name, path=None, module="metered_agents", attribute=name) for name in metered_agents.AGENTS
    },
)
SOON = timedelta(seconds=10)
Key = tuple[str, tuple[tuple[str, str], ...]]


@pytest.fixture(scope="module")
async def runtime(databases):
    url = await databases.create()
    async with opener(PROJECT, application_name="metered", pool_timeout_seconds=5)(url) as runtime:
        yield runtime
    await databases.leave(url)


@pytest.fixture(scope="module", autouse=True)
async def worker(runtime):
    async with working(runtime):
        yield


def counted() -> Counter[Key]:
    """Everything that this process has counted; the tests of one process count together."""
    return Counter(
        {(sample.name, tuple(sorted(sample.labels.items()))): sample.value for sample in exposition.samples()}
    )


def key(name: str, **labels: str) -> Key:
    return name, tuple(sorted(labels.items()))


async def run(runtime: Runtime, agent: str, said: str = "hi", *, thread_id: str | None = None, **more: Any) -> NewRun:
    new = NewRun(
        id=uuid4(), thread_id=thread_id or str(uuid4()), agent=agent, config={}, metadata={},
        input={"messages": [{"role": "user", "content": said}]}, **more,
    )  # fmt: skip
    await runtime.queue.enqueue(new)
    return new


async def counts(before: Counter[Key], expected: dict[Key, float]) -> None:
    """Wait until exactly so much was counted."""

    async def reached() -> bool:
        now = counted()
        return all(now[name] - before[name] == pytest.approx(value) for name, value in expected.items())

    try:
        await until(reached)
    except AssertionError:
        now = counted()
        assert {name: now[name] - before[name] for name in expected} == expected


async def test_a_run_is_counted_with_its_model_its_tools_and_its_nodes(runtime):
    before = counted()
    await run(runtime, "clerk")
    me = {"agent_name": "clerk"}
    (model,) = {dict(labels)["model"] for name, labels in await _seen("agent_tokens_total", me)}
    await counts(before, {
        key("agent_tasks_total", **me, status="success"): 1,
        key("agent_tasks_total", **me, status="error"): 0,
        key("agent_latency_seconds_count", **me): 1,
        key("outlast_resolution_seconds_count", **me): 1,
        key("outlast_queue_wait_seconds_count", **me): 1,
        key("agent_tokens_total", **me, model=model): 42,
        key("outlast_tokens_total", **me, model=model, kind="input"): 30,
        key("outlast_tokens_total", **me, model=model, kind="output"): 12,
        key("outlast_tokens_total", **me, model=model, kind="cached"): 20,
        key("outlast_tokens_total", **me, model=model, kind="reasoning"): 5,
        key("outlast_model_calls_total", model=model, outcome="ok"): 1,
        key("outlast_model_call_seconds_count", model=model): 1,
        key("outlast_tool_calls_total", **me, tool="look", outcome="ok"): 1,
        key("outlast_tool_calls_total", **me, tool="fall", outcome="error"): 1,
        **{key("outlast_node_seconds_count", **me, node=node): 1 for node in ("plan", "act", "think", "ask")},
    })  # fmt: skip


async def _seen(name: str, labels: dict[str, str]) -> list[Key]:
    async def there() -> list[Key]:
        return [each for each in counted() if each[0] == name and labels.items() <= dict(each[1]).items()]

    await until(there, 10, f"no {name}")
    return await there()


async def test_checkpoints_are_counted_with_their_size_and_the_time_they_take(runtime):
    before = counted()
    new = await run(runtime, "clerk")
    await runtime.queue.wait(new.id, timeout=SOON)
    now = counted()
    rows, batches, sizes = (
        now[key(name)] - before[key(name)]
        for name in ("outlast_checkpoint_rows_total", "outlast_checkpoint_write_seconds_count",
                     "outlast_checkpoint_bytes_count")
    )  # fmt: skip
    assert rows >= sizes >= 5, "one for the input, one for each of four nodes; and outputs of tasks"
    assert 1 <= batches <= rows


async def test_errors_and_attempts_are_counted_apart(runtime):
    metered_agents.FAILED.clear()
    before = counted()
    await run(runtime, "metered_broken")
    await run(runtime, "metered_flaky")
    await counts(before, {
        key("agent_tasks_total", agent_name="metered_broken", status="error"): 1,
        key("agent_tasks_total", agent_name="metered_flaky", status="success"): 1,
        key("agent_tasks_total", agent_name="metered_flaky", status="error"): 0,
        key("outlast_run_retries_total", agent_name="metered_flaky"): 1,
        key("outlast_resumes_total", outcome="success"): 1,
    })  # fmt: skip
    stored = {(sample.name, tuple(sample.labels.values())): sample.value for sample in await stored_in(runtime)}
    assert stored["outlast_dead_letters", ("metered_broken",)] == 1


async def test_a_run_that_is_ended_without_an_owner_is_counted(runtime):
    before = counted()
    new = await run(runtime, "clerk", delay_seconds=3600)
    taken = await runtime.queue.store.take_away(
        new.id, thread_key(new.thread_id), 0, status=RunStatus.FAILED, code="crashed", message="three times"
    )
    assert taken
    await counts(before, {key("agent_tasks_total", agent_name="clerk", status="error"): 1})


async def stored_in(runtime: Runtime):
    return await figures(runtime.pool, runtime.settings)


async def test_a_question_is_an_interrupt_until_it_is_answered(runtime):
    before = counted()
    new = await run(runtime, "clerk", "ask")
    me = {"agent_name": "clerk"}
    await counts(before, {
        key("agent_tasks_total", **me, status="interrupt"): 1, key("outlast_resolution_seconds_count", **me): 0
    })  # fmt: skip
    stored = {(sample.name, tuple(sample.labels.values())): sample.value for sample in await stored_in(runtime)}
    assert stored["outlast_inbox_open", ("interrupt",)] == 1
    assert stored["outlast_inbox_oldest_seconds", ()] >= 0
    assert stored["outlast_runs", ("waiting",)] == 1
    assert (await runtime.queue.store.get(new.id)).status is RunStatus.WAITING

    await runtime.queue.answer(new.id, "yes")

    await counts(before, {
        key("agent_tasks_total", **me, status="interrupt"): 1,
        key("agent_tasks_total", **me, status="success"): 1,
        key("outlast_resolution_seconds_count", **me): 1,
        key("outlast_resumes_total", outcome="success"): 1,
        key("outlast_inbox_answer_seconds_count"): 1,
    })  # fmt: skip


HOSTILE = ("ann.smith@example.org", 'a"} 1\nevil{x="', "plan", str(uuid4()), "Зоя-\u202e-🎉", "x" * 200)


async def test_no_label_holds_a_user_a_thread_or_a_run_whatever_they_are_called(runtime):
    ids: set[str] = set()
    for number, hostile in enumerate(HOSTILE):
        user, thread = f"{hostile[:120]}-user-{number}", f"{hostile[:120]}-thread-{number}"
        with acting_for(Principal(tenant="default", user=user)):
            # What it says is the name of a tool, too: models make up tools.
            new = await run(runtime, "clerk", user, thread_id=thread)
            later = await run(runtime, "metered_broken", thread, thread_id=thread)
        for each in (new, later):
            assert (await runtime.queue.wait(each.id, timeout=SOON)).ended
        ids |= {user, thread, str(new.id), new.id.hex, str(later.id)}
        # What no part of ours says of them, and another might.
        with telemetry.about(user_id=user, thread_id=thread, run_id=new.id, agent=user):
            for point, fields in _tellings(user):
                telemetry.emit(point, **fields)
    app = create_app(runtime)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
        for each in sorted(ids):
            await http.get(f"/threads/{quote(each, safe='')}")
        text = (await http.get("/metrics")).text
        samples = (await http.get("/metrics", params={"format": "json"})).json()

    values = {value for sample in samples for value in sample["labels"].values()}
    for name in ids:
        assert not [value for value in values if name in value or value == name]
    assert not [value for value in values if re.search(r"@|-user-|-thread-|[0-9a-f]{16}", value)]
    assert "evil" not in text


def _tellings(name: str):
    """The points whose names of models, nodes and tools become labels."""
    yield "node.ended", {"node": name, "step": 1, "seconds": 0.1, "outcome": "success", "error": None}
    yield "tool.ended", {"tool": name, "outcome": "ok", "seconds": 0.1, "error": None}
    yield "tool.refused", {"tool": name, "run_id": None, "exists": True}
    yield "call.fell_back", {"model": name, "instead_of": name, "kind": None, "run_id": None}
    yield "call.cached", {"model": name, "saved_micros": 0, "run_id": None}
    yield "call.try_failed", {"model": name, "kind": name, "status": 500, "error": name, "run_id": None}
    yield "loop.failed", {"loop": name, "error": name}
    yield "anomaly.found", {"agent": name, "model": name, "kind": name, "text": name, "severity": name,
                            "anomaly_id": name, "tenant": name}  # fmt: skip
    yield "review.escalated", {"run_id": name, "agent": name, "position": 1, "reasons": [name]}
    yield "notification.failed", {"channel": name, "attempts": 1, "error": name}
    yield "http.answered", {"route": f"/{name}", "method": name, "status": 200, "seconds": 0.1}
    yield "stream.ended", {"protocol": name, "outcome": name, "first_byte_seconds": None, "seconds": 1.0}


async def test_a_figure_that_cannot_be_counted_stops_nobody():
    before = counted()
    telemetry.emit("node.ended", node="plan")
    assert counted()[key("outlast_telemetry_lost_total")] == before[key("outlast_telemetry_lost_total")] + 1


async def test_two_runtimes_of_a_process_count_once(runtime, database_url):
    async with opener(PROJECT, application_name="second", pool_timeout_seconds=5)(database_url):
        before = counted()
        telemetry.emit("effect.unknown", run_id=None, effect="x", key="x")
        assert counted()[key("outlast_effects_unknown_total")] == before[key("outlast_effects_unknown_total")] + 1
    telemetry.emit("effect.unknown", run_id=None, effect="x", key="x")
    assert counted()[key("outlast_effects_unknown_total")] == before[key("outlast_effects_unknown_total")] + 2, (
        "the first runtime listens as long as it is open"
    )


async def test_counters_without_names_begin_at_nothing_and_connections_are_seen(runtime):
    assert measuring.meter() is not None
    names = {name for name, _ in counted()}
    for name in ("outlast_budget_stops_total", "outlast_lease_losses_total", "outlast_worker_deaths_total"):
        assert name in names
    for name in ("outlast_loop_lag_seconds", "outlast_pool_connections", "outlast_pool_waiting"):
        await until(lambda name=name: _seen(name, {}))
