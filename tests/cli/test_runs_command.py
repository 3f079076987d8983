"""`outlast runs`: what a person sees and does, straight in the database."""

import asyncio
import json
import os
import pty
from datetime import timedelta
from uuid import uuid4

import pytest
from outlast_command import OUTLAST, environment, outlast

from outlast.domain.outcome import Settlement
from outlast.domain.run import NewRun, RunStatus
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore


@pytest.fixture
async def store(database):
    pool = Pool(database, application_name="test", size=2)
    await pool.open()
    yield RunStore(pool)
    await pool.close()


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments):
        return await asyncio.to_thread(outlast, "runs", *arguments, cwd=tmp_path, DATABASE_URL=database_url)

    return run


async def stored(store, agent="support", status=None, **settlement):
    """Store a run, taken to the status it should have."""
    run = NewRun(id=uuid4(), thread_id=f"thread-{agent}", agent=agent, input={}, config={}, metadata={})
    await store.enqueue(run)
    if status:
        worker = uuid4()
        async with store._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO workers (id, host, pid, concurrency, agents) VALUES (%s, 'here', 1, 1, '{}')", [worker]
            )
        (claimed,) = await store.claim(worker, [agent], limit=1, max_crashes=3)
        if status is not RunStatus.RUNNING:
            await store.settle(claimed, Settlement(status=status, **settlement))
    return run.id


async def test_runs_are_listed_newest_first_and_filtered(store, command):
    failed = await stored(store, "broken", RunStatus.FAILED, error_code="timed_out", error_message="too\tslow")
    queued = await stored(store, "support")

    listed = (await command("list")).stdout.splitlines()
    assert [line.split("\t")[:4] for line in listed] == [
        ["id", "status", "agent", "thread"],
        [str(queued), "queued", "support", "thread-support"],
        [str(failed), "failed", "broken", "thread-broken"],
    ]
    assert listed[2].endswith("timed_out")
    only = json.loads((await command("list", "--status", "failed", "--agent", "broken", "--json")).stdout)
    assert [run["id"] for run in only] == [str(failed)]


async def test_a_terminal_gets_a_table_with_whole_ids(store, tmp_path, database_url):
    run_id = await stored(store, "support")
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *OUTLAST, "runs", "list", cwd=tmp_path, stdout=theirs, env=environment(DATABASE_URL=database_url, COLUMNS="100")
    )
    assert await process.wait() == 0
    os.close(theirs)
    shown = os.read(ours, 10_000).decode()
    os.close(ours)
    assert str(run_id) in shown
    assert "\t" not in shown


async def test_a_waiting_run_is_shown_and_answered_once(store, command):
    run_id = await stored(store, status=RunStatus.WAITING, interrupts=[{"id": "1", "value": {"question": "May I?"}}])
    shown = (await command("show", run_id)).stdout
    assert "May I?" in shown
    assert f"outlast runs answer {run_id}" in shown

    assert (await command("answer", run_id, '{"approved": true}')).returncode == 0
    again = await command("answer", run_id, '"no"')
    assert again.returncode == 5
    assert "answered already" in again.stderr
    (claimed,) = await store.claim(uuid4(), ["support"], limit=1, max_crashes=3) or [None]
    assert claimed is None, "a worker that is not registered claims nothing"


async def test_a_failed_run_is_shown_with_its_error_and_replayed(store, command):
    run_id = await stored(store, status=RunStatus.FAILED, error_code="KeyError", error_message="KeyError: 'name'")
    shown = (await command("show", run_id)).stdout
    assert "KeyError: 'name'" in shown
    assert f"outlast runs replay {run_id}" in shown
    assert (await command("replay", run_id)).stdout == f"run {run_id} is queued\n"
    assert (await command("replay", run_id)).returncode == 5


async def test_a_queued_run_is_cancelled_at_once(store, command):
    run_id = await stored(store)
    assert (await command("cancel", run_id)).stdout == f"run {run_id} is cancelled\n"
    assert (await command("cancel", run_id)).returncode == 5
    assert json.loads((await command("show", run_id, "--json")).stdout)["status"] == "cancelled"


async def test_cancelling_a_running_run_tells_its_worker_and_waits(store, command, database):
    run_id = await stored(store, status=RunStatus.RUNNING)
    said = await command("cancel", run_id)
    assert "its worker was asked to stop it" in said.stdout

    waiting = asyncio.create_task(command("cancel", run_id, "--wait"))
    async with Wakeup(database).running() as wakeup:
        queue = RunQueue(store, wakeup)
        claimed = await store.claimed(run_id, 1)
        await queue.settle(claimed, Settlement(status=RunStatus.CANCELLED, delay=timedelta(0)))
        assert (await waiting).returncode in {0, 5}
