"""Crons through the SDK's clients, and the clock that starts their runs."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from agent_server_api import Server, served, some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import NotFoundError, UnprocessableEntityError

from outlast import telemetry
from outlast.agents.project import Project
from outlast.domain.cron import run_id_of_tick
from outlast.telemetry import FaultInjected
from outlast.testing.postgres import Databases
from runtimes import Opens
from waiting import until

NEVER = "0 0 1 1 *"


@pytest.fixture
async def still(databases: Databases, open_runtime: Opens) -> AsyncIterator[Server]:
    """A server of this test alone, where no clock ticks but the test's."""
    url = await databases.create()
    async with served(open_runtime, url, workers=0) as server:
        yield server
    await databases.leave(url)


async def make_due(server: Server, cron: Any, *, seconds_ago: float = 0) -> datetime:
    """Let the time of a cron's next tick have come."""
    rows = await server.rows(
        "UPDATE crons SET next_run_at = clock_timestamp() - make_interval(secs => %s) WHERE id = %s"
        " RETURNING next_run_at",
        seconds_ago, cron["cron_id"],
    )  # fmt: skip
    return rows[0][0]


async def runs_of(server: Server, cron: Any) -> list[tuple[Any, ...]]:
    """Ids, statuses and threads of the runs that a cron has started."""
    return await server.rows(
        "SELECT r.id, r.status, t.thread_id FROM runs r JOIN run_details d ON d.run_id = r.id"
        " JOIN threads t ON t.key = r.thread_key"
        " WHERE convert_from(d.options, 'UTF8')::jsonb ->> 'cron_id' = %s ORDER BY r.created_at",
        cron["cron_id"],
    )


async def started(server: Server, cron: Any) -> bool:
    return bool(await runs_of(server, cron))


# what a client does with crons


async def test_a_cron_is_made_read_changed_and_deleted(server: Server, client: Any) -> None:
    cron = await client.crons.create(
        "steps", schedule=NEVER, input={"log": ["in"]}, metadata={"team": "a"}, timezone="America/New_York",
        end_time=datetime(2099, 1, 1, tzinfo=UTC), on_run_completed="keep", interrupt_before=["two"],
        stream_mode=["values"],
    )  # fmt: skip
    changed = await client.crons.update(
        cron["cron_id"], schedule="30 9 * * 1-5", timezone="Europe/Berlin", end_time=None, metadata={"more": 1},
        input={"log": ["other"]}, enabled=False,
    )  # fmt: skip
    read = (await server.http.get(f"/runs/crons/{cron['cron_id']}")).json()
    await client.crons.delete(cron["cron_id"])

    assert (cron["schedule"], cron["timezone"]) == (NEVER, "America/New_York")
    assert cron["end_time"] == "2099-01-01T00:00:00+00:00"
    assert (cron["thread_id"], cron["user_id"], cron["enabled"]) == (None, None, True)
    assert cron["on_run_completed"] == "keep"
    assert cron["payload"] == {
        "assistant_id": "steps", "input": {"log": ["in"]}, "metadata": {"team": "a"}, "interrupt_before": ["two"],
        "stream_mode": ["values"],
    }  # fmt: skip
    # Midnight of New York, in winter.
    assert cron["next_run_date"].endswith("-01-01T05:00:00+00:00")
    assert read == changed
    assert (changed["schedule"], changed["timezone"], changed["end_time"]) == ("30 9 * * 1-5", "Europe/Berlin", None)
    assert (changed["enabled"], changed["next_run_date"]) == (False, None)
    assert changed["metadata"] == {"team": "a", "more": 1}
    assert changed["payload"]["input"] == {"log": ["other"]}
    assert changed["payload"]["interrupt_before"] == ["two"]
    assert changed["created_at"] == cron["created_at"] < changed["updated_at"]
    for gone in (client.crons.delete(cron["cron_id"]), client.crons.update(cron["cron_id"], enabled=True)):
        with pytest.raises(NotFoundError):
            await gone


async def test_a_cron_of_a_thread_knows_its_thread(client: Any, thread_id: str) -> None:
    cron = await client.crons.create_for_thread(thread_id, "agent", schedule=NEVER, multitask_strategy="reject")

    assert cron["thread_id"] == thread_id
    assert cron["on_run_completed"] is None
    assert cron["payload"]["multitask_strategy"] == "reject"
    with pytest.raises(NotFoundError):
        await client.crons.create_for_thread(some_id(), "agent", schedule=NEVER)


async def test_switching_on_counts_from_now_and_a_change_of_the_input_leaves_the_time(client: Any) -> None:
    cron = await client.crons.create("agent", schedule="* * * * *", enabled=False)
    on = await client.crons.update(cron["cron_id"], enabled=True)
    other_input = await client.crons.update(cron["cron_id"], input={"messages": []})

    assert cron["next_run_date"] is None
    assert datetime.fromisoformat(on["next_run_date"]) > datetime.now(UTC)
    assert other_input["next_run_date"] == on["next_run_date"]


async def test_crons_are_found_counted_sorted_and_paged(client: Any, thread_id: str) -> None:
    mark = some_id()
    for number in range(3):
        await client.crons.create("agent", schedule=f"0 {number} 1 1 *", metadata={"mark": mark, "n": number})
    on_thread = await client.crons.create_for_thread(thread_id, "steps", schedule=NEVER, enabled=False)

    async def found(**query: Any) -> list[int]:
        return [cron["metadata"]["n"] for cron in await client.crons.search(metadata={"mark": mark}, **query)]

    assert await found() == [2, 1, 0]
    assert await found(sort_by="next_run_date", sort_order="asc") == [0, 1, 2]
    assert await found(limit=1, offset=1) == [1]
    assert await found(assistant_id="agent", enabled=True) == [2, 1, 0]
    assert await found(assistant_id="steps") == []
    assert await found(enabled=False) == []
    assert await client.crons.count(metadata={"mark": mark}) == 3
    assert await client.crons.count(assistant_id="agent", metadata={"mark": mark, "n": 1}) == 1
    assert await client.crons.search(thread_id=thread_id) == [on_thread]
    assert await client.crons.count(thread_id=thread_id) == 1
    for field in ("cron_id", "assistant_id", "thread_id", "created_at", "updated_at", "end_time"):
        ascending = await found(sort_by=field, sort_order="asc")
        assert sorted(ascending) == sorted(await found(sort_by=field, sort_order="desc")) == [0, 1, 2]


async def test_a_search_says_how_many_there_are_and_shows_what_was_asked_for(server: Server) -> None:
    mark = some_id()
    for _ in range(3):
        await server.sdk.crons.create("agent", schedule=NEVER, metadata={"mark": mark})
    answer = await server.http.post(
        "/runs/crons/search", json={"metadata": {"mark": mark}, "limit": 2, "select": ["cron_id", "now"]}
    )

    assert (answer.headers["x-pagination-total"], answer.headers["x-pagination-next"]) == ("3", "2")
    assert [sorted(cron) for cron in answer.json()] == [["cron_id", "now"]] * 2


BAD: list[tuple[dict[str, Any], str]] = [
    ({"schedule": "* * * *"}, "schedule"),
    ({"schedule": "61 * * * *"}, "schedule"),
    ({"schedule": "0 0 31 2 *"}, "schedule"),
    ({"schedule": None}, "schedule"),
    ({"timezone": "Mars/Olympus"}, "timezone"),
    ({"timezone": "../../etc/passwd"}, "timezone"),
    ({"end_time": "tomorrow"}, "end_time"),
    ({"end_time": 5}, "end_time"),
    ({"end_time": "0001-01-01T00:00:00+14:00"}, "end_time"),
    ({"enabled": "no"}, "enabled"),
    ({"on_run_completed": "forget"}, "on_run_completed"),
    ({"stream_mode": "lifecycle"}, "stream_mode"),
    ({"durability": "never"}, "durability"),
    ({"durability": "sync", "checkpoint_during": False}, "checkpoint_during"),
    ({"webhook": "http://127.0.0.1/"}, "webhook"),
    ({"config": {"recursion_limit": 0}}, "config.recursion_limit"),
    ({"config": {"configurable": {"a": 1}}, "context": {"a": 2}}, "context"),
    ({"config": {"configurable": {"thread_id": "x"}}}, "config.configurable.thread_id"),
    ({"command": {"resume": 1}}, "command"),
    ({"when": NEVER}, "when"),
]


@pytest.mark.parametrize(("wrong", "field"), BAD, ids=str)
async def test_a_wrong_field_is_named_when_the_cron_is_made(server: Server, wrong: dict[str, Any], field: str) -> None:
    answer = await server.http.post("/runs/crons", json={"assistant_id": "agent", "schedule": NEVER, **wrong})

    assert answer.status_code == 422, answer.text
    assert answer.json()["field"] == field


async def test_what_a_cron_of_a_thread_cannot_have_is_refused(client: Any, server: Server, thread_id: str) -> None:
    made = await server.http.post(
        f"/threads/{thread_id}/runs/crons",
        json={"assistant_id": "agent", "schedule": NEVER, "on_run_completed": "keep"},
    )
    cron = await client.crons.create_for_thread(thread_id, "agent", schedule=NEVER)
    with pytest.raises(UnprocessableEntityError) as refused:
        await client.crons.update(cron["cron_id"], on_run_completed="keep")

    assert (made.status_code, made.json()["code"]) == (422, "not_supported")
    assert refused.value.code == "not_supported"


@pytest.mark.parametrize("assistant", ["no_such_graph", "00000000-0000-7000-8000-000000000000"])
async def test_an_unknown_assistant_is_not_found(client: Any, assistant: str) -> None:
    with pytest.raises(NotFoundError):
        await client.crons.create(assistant, schedule=NEVER)


@pytest.mark.parametrize("method", ["GET", "PATCH", "DELETE"])
async def test_an_id_that_is_none_is_told_from_one_that_is_unknown(server: Server, method: str) -> None:
    body = {"json": {}} if method == "PATCH" else {}
    no_id = await server.http.request(method, "/runs/crons/nonsense", **body)
    unknown = await server.http.request(method, f"/runs/crons/{some_id()}", **body)

    assert (no_id.status_code, unknown.status_code) == (422, 404)


async def test_of_two_changes_at_once_none_is_lost(still: Server) -> None:
    cron = await still.sdk.crons.create("agent", schedule=NEVER, metadata={})
    answers = await asyncio.gather(
        *(
            still.http.patch(f"/runs/crons/{cron['cron_id']}", json={"metadata": {str(number): number}})
            for number in range(6)
        )
    )
    kept = (await still.http.get(f"/runs/crons/{cron['cron_id']}")).json()["metadata"]

    assert {answer.status_code for answer in answers} <= {200, 409}
    assert len(kept) == sum(answer.status_code == 200 for answer in answers) > 0


# the clock


async def test_a_tick_starts_a_run_on_a_thread_of_its_own_that_goes_with_it(server: Server) -> None:
    cron = await server.sdk.crons.create(
        "see", schedule=NEVER, input={}, context={"tone": "loud"}, metadata={"by": "clock"}
    )
    due_at = await make_due(server, cron)
    await until(lambda: started(server, cron))
    ((run_id, _, thread_id),) = await runs_of(server, cron)
    run = await server.ended({"thread_id": thread_id, "run_id": str(run_id)})
    (output,) = await server.rows(
        "SELECT convert_from(output, 'UTF8')::jsonb FROM run_details WHERE run_id = %s", run_id
    )
    after = (await server.http.get(f"/runs/crons/{cron['cron_id']}")).json()

    assert run_id == run_id_of_tick(UUID(cron["cron_id"]), due_at)
    assert (run["status"], run["assistant_id"]) == ("success", cron["assistant_id"])
    assert run["metadata"]["by"] == "clock"
    assert output[0]["seen"]["configurable"]["cron_id"] == cron["cron_id"]
    assert output[0]["seen"]["context"]["tone"] == "loud"
    assert after["next_run_date"] == cron["next_run_date"]
    assert after["updated_at"] == cron["updated_at"]
    assert thread_id not in [thread["thread_id"] for thread in await server.sdk.threads.search(limit=1000)]


async def test_a_thread_that_is_to_be_kept_stays(server: Server) -> None:
    cron = await server.sdk.crons.create("steps", schedule=NEVER, input={}, on_run_completed="keep")
    await make_due(server, cron)
    await until(lambda: started(server, cron))
    ((run_id, _, thread_id),) = await runs_of(server, cron)
    await server.ended({"thread_id": thread_id, "run_id": str(run_id)})

    thread = await server.sdk.threads.get(thread_id)
    assert thread["values"]["log"] == ["one", "two", "three"]
    assert thread["metadata"]["graph_id"] == "steps"
    assert thread_id in [found["thread_id"] for found in await server.sdk.threads.search(limit=1000)]


async def test_ticks_of_a_thread_go_on_from_each_other(server: Server, thread_id: str) -> None:
    cron = await server.sdk.crons.create_for_thread(
        thread_id, "agent", schedule=NEVER, input={"messages": [{"role": "user", "content": "hello"}]}
    )
    for turn in (1, 2):
        await make_due(server, cron)

        async def answered(turn: int = turn) -> bool:
            runs = await server.sdk.runs.list(thread_id)
            return [run["status"] for run in runs] == ["success"] * turn

        await until(answered)

    values = (await server.sdk.threads.get_state(thread_id))["values"]
    assert [message["content"] for message in values["messages"]] == ["hello", "1: hello", "hello", "2: hello"]


async def test_a_tick_runs_the_assistant_as_it_is_then(still: Server) -> None:
    assistant = await still.sdk.assistants.create("see", context={"tone": "old", "base": 1})
    cron = await still.sdk.crons.create(assistant["assistant_id"], schedule=NEVER, context={"own": 2})
    await still.sdk.assistants.update(assistant["assistant_id"], context={"tone": "new", "base": 1})
    await make_due(still, cron)
    await still.runtime.scheduler().round()
    ((run_id, *_),) = await runs_of(still, cron)

    (row,) = await still.rows("SELECT config FROM run_details WHERE run_id = %s", run_id)
    assert row[0]["configurable"] == {"tone": "new", "base": 1, "own": 2}


async def test_each_tick_has_one_run_however_many_schedulers_there_are(still: Server, open_runtime: Opens) -> None:
    thread = await still.sdk.threads.create()
    crons = [await still.sdk.crons.create("agent", schedule=NEVER) for _ in range(20)]
    crons += [await still.sdk.crons.create_for_thread(thread["thread_id"], "agent", schedule=NEVER) for _ in range(10)]
    due = [await make_due(still, cron, seconds_ago=1) for cron in crons]

    async with AsyncExitStack() as stack:
        url = still.runtime.settings.database.url
        runtimes = [await stack.enter_async_context(open_runtime(url)) for _ in range(3)]

        async def all_fired() -> bool:
            await asyncio.gather(*(runtime.scheduler().round() for runtime in runtimes for _ in range(2)))
            return not await still.runtime.crons.due(agents=["agent"], limit=100)

        await until(all_fired)

    fired = [await runs_of(still, cron) for cron in crons]
    assert [[run[0] for run in runs] for runs in fired] == [
        [run_id_of_tick(UUID(cron["cron_id"]), due_at)] for cron, due_at in zip(crons, due, strict=True)
    ]


async def test_ticks_that_nobody_was_there_for_become_one(still: Server) -> None:
    cron = await still.sdk.crons.create("agent", schedule="* * * * *")
    await make_due(still, cron, seconds_ago=3 * 86_400)
    for _ in range(3):
        await still.runtime.scheduler().round()
    after = (await still.http.get(f"/runs/crons/{cron['cron_id']}")).json()

    assert len(await runs_of(still, cron)) == 1
    wait = datetime.fromisoformat(after["next_run_date"]) - await still.runtime.crons.now()
    assert timedelta(0) < wait <= timedelta(minutes=1)


@pytest.mark.parametrize("change", [{"enabled": False}, {"end_time": datetime(2020, 1, 1, tzinfo=UTC)}])
async def test_what_is_switched_off_or_over_has_no_tick(still: Server, change: dict[str, Any]) -> None:
    cron = await still.sdk.crons.create("agent", schedule="* * * * *")
    changed = await still.sdk.crons.update(cron["cron_id"], **change)
    await still.runtime.scheduler().round()

    assert changed["next_run_date"] is None
    assert await runs_of(still, cron) == []


async def test_the_last_tick_before_the_end_is_the_last(still: Server) -> None:
    now = await still.runtime.crons.now()
    cron = await still.sdk.crons.create("agent", schedule="* * * * *", end_time=now + timedelta(seconds=61))
    await make_due(still, cron)
    await still.rows("UPDATE crons SET end_at = clock_timestamp()")
    await still.runtime.scheduler().round()

    assert len(await runs_of(still, cron)) == 1
    assert (await still.http.get(f"/runs/crons/{cron['cron_id']}")).json()["next_run_date"] is None


async def test_a_tick_on_a_busy_thread_is_skipped_where_the_strategy_says_so(server: Server, thread_id: str) -> None:
    door = some_id()
    held = await server.sdk.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    skipped: list[Any] = []
    leave = telemetry.subscribe(lambda point, fields: skipped.append(fields) if point == "cron.skipped" else None)
    cron = await server.sdk.crons.create_for_thread(thread_id, "agent", schedule=NEVER, multitask_strategy="reject")
    await make_due(server, cron)

    async def was_skipped() -> bool:
        return any(fields["cron_id"] == cron["cron_id"] for fields in skipped)

    await until(was_skipped)
    leave()
    after = (await server.http.get(f"/runs/crons/{cron['cron_id']}")).json()
    open_door(door)
    await server.ended(held)

    assert await runs_of(server, cron) == []
    assert after["next_run_date"] == cron["next_run_date"]
    assert skipped[0]["reason"].startswith("thread_busy")


async def test_a_cron_that_cannot_be_read_stops_no_other(still: Server) -> None:
    broken, sound = [await still.sdk.crons.create("agent", schedule=NEVER) for _ in range(2)]
    await still.rows("UPDATE crons SET template = 'nonsense' WHERE id = %s", broken["cron_id"])
    await make_due(still, broken, seconds_ago=10)
    await make_due(still, sound)
    await still.runtime.scheduler().round()

    assert await runs_of(still, broken) == []
    assert len(await runs_of(still, sound)) == 1
    assert await still.runtime.crons.due(agents=["agent"], limit=10) == []


async def test_crons_go_with_their_assistant_and_their_thread(still: Server) -> None:
    assistant = await still.sdk.assistants.create("agent")
    thread = await still.sdk.threads.create()
    await still.sdk.crons.create(assistant["assistant_id"], schedule=NEVER)
    await still.sdk.crons.create_for_thread(thread["thread_id"], "agent", schedule=NEVER)
    await still.sdk.assistants.delete(assistant["assistant_id"])
    await still.sdk.threads.delete(thread["thread_id"])

    assert await still.sdk.crons.count() == 0


async def test_an_agent_of_another_project_is_left_to_its_scheduler(still: Server) -> None:
    cron = await still.sdk.crons.create("agent", schedule=NEVER)
    await make_due(still, cron)
    await still.rows("UPDATE assistants SET graph_id = 'elsewhere' WHERE id = %s", cron["assistant_id"])
    await still.runtime.scheduler().round()

    assert await runs_of(still, cron) == []
    assert len(await still.runtime.crons.due(agents=["elsewhere"], limit=10)) == 1


async def test_a_tick_that_fails_before_its_commit_has_left_nothing_and_comes_again(still: Server) -> None:
    cron = await still.sdk.crons.create("agent", schedule=NEVER)
    due_at = await make_due(still, cron)
    telemetry.arm("cron.before_commit:raise:1:1")
    try:
        with pytest.raises(FaultInjected):
            await still.runtime.scheduler().round()
        left = await runs_of(still, cron)
        await still.runtime.scheduler().round()
    finally:
        telemetry.arm("")

    assert left == []
    assert [run[0] for run in await runs_of(still, cron)] == [run_id_of_tick(UUID(cron["cron_id"]), due_at)]


@pytest.mark.processes
@pytest.mark.parametrize("point", ["cron.before_commit", "cron.ticked"])
async def test_a_scheduler_that_is_killed_neither_loses_nor_doubles_a_tick_at(
    still: Server, project: Project, point: str
) -> None:
    cron = await still.sdk.crons.create("agent", schedule=NEVER)
    due_at = await make_due(still, cron)
    environment = {
        **os.environ, "DATABASE_URL": still.runtime.settings.database.url, "OUTLAST_FAULT": f"{point}:exit",
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path.endswith("tests/agent_server")),
    }  # fmt: skip
    killed = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-m", "outlast", "worker"],
        cwd=project.root, env=environment, check=False, timeout=60, capture_output=True,
    )  # fmt: skip
    left = await runs_of(still, cron)
    await still.runtime.scheduler().round()

    assert killed.returncode == 137, killed.stderr.decode()
    assert len(left) == (0 if point == "cron.before_commit" else 1)
    assert [run[0] for run in await runs_of(still, cron)] == [run_id_of_tick(UUID(cron["cron_id"]), due_at)]
