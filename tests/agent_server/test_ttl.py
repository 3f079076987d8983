"""What is deleted by age, and what is not."""

from contextlib import asynccontextmanager
from datetime import timedelta

import pytest
from agent_server_api import served, some_id, write_project
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import NotFoundError

from outlast.settings import RetentionSettings
from waiting import until

QUICK = RetentionSettings(
    sweep=timedelta(milliseconds=100),
    temporary=timedelta(milliseconds=200),
    outputs=timedelta(0),
    events=timedelta(0),
    resumable_events=timedelta(hours=1),
)
HELLO = {"messages": [{"role": "user", "content": "hi"}]}


@asynccontextmanager
async def sweeping(databases, open_runtime, *, settings=QUICK, project=None, workers=2):
    """A server whose workers delete what is old at once."""
    url = await databases.create()

    def opens(url, **more):
        given = {} if project is None else {"project": project}
        return open_runtime(url, retention=settings, **given, **more)

    async with served(opens, url, workers=workers) as server:
        yield server
    await databases.leave(url)


@pytest.fixture(scope="module")
async def sweeper(databases, open_runtime):
    async with sweeping(databases, open_runtime) as server:
        yield server


async def due(server, thread_id):
    """Let the thread's time have come."""
    await server.rows(
        "UPDATE thread_details SET expires_at = clock_timestamp() - interval '1 second'"
        " FROM threads t WHERE t.key = thread_key AND t.thread_id = %s",
        thread_id,
    )


async def is_gone(server, thread_id):
    try:
        await server.sdk.threads.get(thread_id)
    except NotFoundError:
        return True
    return False


async def gone(server, thread_id):
    await until(lambda: is_gone(server, thread_id), message=f"thread {thread_id} is still there")


async def checkpoints(server, thread_id):
    rows = await server.rows(
        "SELECT count(*) FROM checkpoints c JOIN threads t ON t.key = c.thread_key WHERE t.thread_id = %s", thread_id
    )
    return rows[0][0]


async def test_a_thread_past_its_ttl_is_deleted_with_everything(sweeper):
    thread = await sweeper.sdk.threads.create(ttl={"ttl": 60, "strategy": "delete"})
    thread_id = thread["thread_id"]
    run = await sweeper.sdk.runs.create(thread_id, "agent", input=HELLO)
    await sweeper.ended(run)
    await due(sweeper, thread_id)
    await gone(sweeper, thread_id)
    assert await checkpoints(sweeper, thread_id) == 0
    assert await sweeper.rows("SELECT id FROM runs WHERE id = %s", run["run_id"]) == []


async def test_keep_latest_keeps_the_state_and_deletes_the_history(sweeper):
    thread = await sweeper.sdk.threads.create(ttl={"ttl": 60, "strategy": "keep_latest"})
    thread_id = thread["thread_id"]
    for _ in range(2):
        await sweeper.ended(await sweeper.sdk.runs.create(thread_id, "steps", input={}))
    before = await sweeper.sdk.threads.get_state(thread_id)
    assert await checkpoints(sweeper, thread_id) > 2
    await due(sweeper, thread_id)

    async def pruned():
        return await checkpoints(sweeper, thread_id) == 1

    await until(pruned)
    after = await sweeper.sdk.threads.get_state(thread_id)
    assert after["values"] == before["values"]
    shown = await sweeper.http.get(f"/threads/{thread_id}", params={"include": "ttl"})
    assert shown.json()["ttl"]["expires_at"] is None
    # Used again, it expires again.
    await sweeper.ended(await sweeper.sdk.runs.create(thread_id, "steps", input={}))
    rows = await sweeper.rows(
        "SELECT expires_at > clock_timestamp() FROM thread_details d JOIN threads t ON t.key = d.thread_key"
        " WHERE t.thread_id = %s",
        thread_id,
    )
    assert rows == [(True,)]


async def test_a_busy_thread_is_left_alone_until_its_run_has_ended(sweeper):
    door = some_id()
    thread = await sweeper.sdk.threads.create(ttl=60)
    run = await sweeper.sdk.runs.create(thread["thread_id"], "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    await due(sweeper, thread["thread_id"])
    # Another thread that is due goes meanwhile, so it was looked for.
    other = await sweeper.sdk.threads.create(ttl=60)
    await due(sweeper, other["thread_id"])
    await gone(sweeper, other["thread_id"])
    assert await sweeper.status_of(run) == "running"
    open_door(door)
    assert (await sweeper.ended(run))["status"] == "success"
    assert not await is_gone(sweeper, thread["thread_id"]), "a run that ends begins its time anew"


async def test_a_thread_with_a_report_to_be_sent_is_left_alone(sweeper):
    thread = await sweeper.sdk.threads.create(ttl=60)
    run = await sweeper.sdk.runs.create(thread["thread_id"], "agent", input=HELLO)
    await sweeper.ended(run)
    await sweeper.rows(
        "INSERT INTO webhook_deliveries (run_id, epoch, url, due_at)"
        " VALUES (%s, 9, 'https://example.com/', clock_timestamp() + interval '1 day')",
        run["run_id"],
    )
    await due(sweeper, thread["thread_id"])
    other = await sweeper.sdk.threads.create(ttl=60)
    await due(sweeper, other["thread_id"])
    await gone(sweeper, other["thread_id"])
    assert not await is_gone(sweeper, thread["thread_id"])
    await sweeper.rows("UPDATE webhook_deliveries SET state = 'failed' WHERE run_id = %s", run["run_id"])
    await gone(sweeper, thread["thread_id"])


async def test_the_thread_of_a_stateless_run_goes_after_a_while(sweeper):
    run = await sweeper.sdk.runs.create(None, "agent", input=HELLO)
    await gone(sweeper, run["thread_id"])
    assert await checkpoints(sweeper, run["thread_id"]) == 0


async def test_the_thread_of_a_stateless_run_stays_when_it_is_asked_to(sweeper):
    kept = await sweeper.sdk.runs.create(None, "agent", input=HELLO, on_completion="keep")
    await sweeper.ended(kept)
    gone_one = await sweeper.sdk.runs.create(None, "agent", input=HELLO)
    await gone(sweeper, gone_one["thread_id"])
    assert (await sweeper.sdk.threads.get(kept["thread_id"]))["values"]["messages"]


async def test_an_output_is_forgotten_and_the_threads_values_are_not(sweeper, thread_of):
    thread_id = await thread_of(sweeper)
    run = await sweeper.sdk.runs.create(thread_id, "agent", input=HELLO)
    await sweeper.ended(run)

    async def forgotten():
        rows = await sweeper.rows("SELECT output FROM run_details WHERE run_id = %s", run["run_id"])
        return rows == [(None,)]

    await until(forgotten)
    joined = await sweeper.sdk.runs.join(thread_id, run["run_id"])
    assert joined["messages"][-1]["content"] == "1: hi"


async def test_the_output_of_a_plain_run_stays(sweeper, thread_of):
    thread_id = await thread_of(sweeper)
    plain = (await sweeper.http.post("/agent/run?wait=10", json={"agent": "agent", "input": HELLO})).json()
    later = await sweeper.sdk.runs.create(thread_id, "agent", input=HELLO)
    await sweeper.ended(later)

    async def forgotten():
        return await sweeper.rows("SELECT output FROM run_details WHERE run_id = %s", later["run_id"]) == [(None,)]

    await until(forgotten)
    status = (await sweeper.http.get(f"/agent/status/{plain['task_id']}")).json()
    assert status["output"]["messages"]


async def test_records_of_a_run_go_soon_and_those_of_a_resumable_one_stay(sweeper, thread_of):
    thread_id = await thread_of(sweeper)
    runs = {}
    for resumable in (True, False):
        async for part in sweeper.sdk.runs.stream(thread_id, "steps", input={}, stream_resumable=resumable):
            if part.event == "metadata":
                runs[resumable] = part.data["run_id"]

    async def records(run_id):
        return (await sweeper.rows("SELECT count(*) FROM run_events WHERE run_id = %s", run_id))[0][0]

    async def gone_for_the_plain_one():
        return await records(runs[False]) == 0

    await until(gone_for_the_plain_one)
    assert await records(runs[True]) > 0
    # As a record of two hours ago.
    await sweeper.rows("UPDATE run_events SET pos = pos - 8192::bigint * 7200000 WHERE run_id = %s", runs[True])

    async def gone_for_both():
        return await records(runs[True]) == 0

    await until(gone_for_both)


async def test_an_item_past_its_ttl_is_deleted(sweeper):
    await sweeper.sdk.store.put_item(["old"], "past", {"v": 1}, ttl=60)
    await sweeper.sdk.store.put_item(["old"], "kept", {"v": 1})
    await sweeper.rows("UPDATE store_items SET expires_at = clock_timestamp() WHERE key = 'past'")

    async def left():
        return await sweeper.rows("SELECT key FROM store_items WHERE key IN ('past', 'kept')") == [("kept",)]

    await until(left)


async def test_a_project_may_give_all_threads_a_ttl(databases, open_runtime, tmp_path):
    ttl = {"strategy": "delete", "default_ttl": 60, "sweep_limit": 1}
    project = write_project(tmp_path, checkpointer={"ttl": ttl})
    async with sweeping(databases, open_runtime, project=project) as server:
        threads = [(await server.sdk.threads.create())["thread_id"] for _ in range(3)]
        shown = (await server.http.get(f"/threads/{threads[0]}", params={"include": "ttl"})).json()
        assert shown["ttl"]["ttl_minutes"] == 60
        for thread_id in threads:
            await due(server, thread_id)
        for thread_id in threads:
            await gone(server, thread_id)


async def test_an_expired_thread_that_is_used_at_that_moment_stays(sweeper, thread_of):
    from outlast.storage.postgres.retention import RetentionStore

    thread_id = await thread_of(sweeper)
    store = RetentionStore(sweeper.runtime.pool, sweeper.runtime.threads)
    async with sweeper.runtime.pool.transaction() as connection:
        await connection.execute("SELECT FROM threads WHERE thread_id = %s FOR UPDATE", [thread_id])
        await due(sweeper, thread_id)
        assert await store.expire(thread_id) is False, "whoever holds the thread is not waited for"
        await connection.execute(
            "UPDATE thread_details SET expires_at = NULL FROM threads t WHERE t.key = thread_key AND t.thread_id = %s",
            [thread_id],
        )
    assert await store.expire(thread_id) is False
    assert not await is_gone(sweeper, thread_id)


@pytest.fixture
def thread_of():
    async def new(server):
        return (await server.sdk.threads.create())["thread_id"]

    return new
