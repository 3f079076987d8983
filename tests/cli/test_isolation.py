"""A run that takes its process with it may do so three times, and the third time alone."""

import asyncio
import os
from contextlib import asynccontextmanager
from uuid import UUID, uuid4

import psycopg
import pytest
from outlast_command import make_project, running

from outlast.agents.registry import find_project
from outlast.cli.isolation import Isolation
from outlast.domain.run import NewRun, RunStatus
from outlast.runtime import Runtime, work
from outlast.settings import DatabaseSettings, Settings, WorkerSettings
from waiting import until, wait_until

pytestmark = pytest.mark.processes


def test_a_poison_run_fails_after_three_crashes_and_the_other_runs_finish(tmp_path, database_url):
    (make_project(tmp_path) / "hold").touch()
    # Dead letters are looked for at every tenth scan.
    changes = {"DATABASE_URL": database_url, "OUTLAST_RECOVERY__SCAN": "PT0.1S"}
    with running("dev", "--port", 0, cwd=tmp_path, **changes) as dev:
        dev.find("worker started")
        others = [dev.start_run("steady", steps=2) for _ in range(3)]
        poison = dev.start_run("poison")
        wait_until(lambda: dev.run(poison)["attempts"]["crashes"] == 3, 60, "not three crashes")
        (tmp_path / "hold").unlink()

        failed = dev.wait_for_status(poison, "failed")
        assert failed["error"]["code"] == "crashed"
        assert failed["attempts"] == {"errors": 0, "crashes": 3}
        for run_id in others:
            # With a third dead worker they would be dead letters too.
            assert dev.wait_for_status(run_id, "succeeded")["attempts"]["crashes"] == 2

        processes = [pid for text, pid in dev.notes() if text == "poison"]
        assert len(set(processes)) == 3
        assert dev.text.count("died (signal 9)") == 2, "the third time no worker died"


@pytest.fixture
async def runtime(tmp_path, database_url):
    settings = Settings(
        database=DatabaseSettings(url=database_url, pool_size=2),
        worker=WorkerSettings(drain="PT20S"),
    )
    async with Runtime.open(settings, find_project(make_project(tmp_path)), application_name="test") as runtime:
        yield runtime


@asynccontextmanager
async def at_work(runtime):
    worker = runtime.worker(isolate=Isolation(runtime))
    working = asyncio.create_task(work(runtime, worker))
    try:
        yield worker
    finally:
        worker.drain()
        await working


async def suspect(runtime, agent, **given) -> UUID:
    """Store a run that has taken two workers with it."""
    run = NewRun(id=uuid4(), thread_id=str(uuid4()), agent=agent, input=given, config={}, metadata={})
    await runtime.queue.enqueue(run)
    async with await psycopg.AsyncConnection.connect(runtime.settings.database.url, autocommit=True) as connection:
        await connection.execute("UPDATE outlast.runs SET crashes = 2 WHERE id = %s", [run.id])
    return run.id


async def reaches(runtime, run_id, *wanted):
    async def reached():
        run = await runtime.queue.store.get(run_id)
        assert run.status in wanted or not run.ended, f"{run.error_code}: {run.error_message}"
        return run.status in wanted

    await until(reached, 40, f"it did not become {wanted}")
    return await runtime.queue.store.get(run_id)


def noted(tmp_path, text):
    file = tmp_path / "notes"
    return file.exists() and text in file.read_text()


async def test_a_suspect_run_succeeds_in_a_process_of_its_own(runtime):
    run_id = await suspect(runtime, "steady", steps=2)
    async with at_work(runtime):
        run = await reaches(runtime, run_id, RunStatus.SUCCEEDED)
    assert run.output["total"] == 1
    assert run.output["pid"] != os.getpid()
    assert (run.errors, run.crashes) == (0, 2)


async def test_a_suspect_run_may_not_take_all_memory(runtime):
    run_id = await suspect(runtime, "greedy")
    async with at_work(runtime):
        # An error and no crash, so it is an attempt that may be repeated.
        async def failed():
            return (await runtime.queue.store.get(run_id)).error_code == "MemoryError"

        await until(failed, 40)


async def test_a_suspect_run_can_be_cancelled_and_cleans_up(runtime, tmp_path):
    run_id = await suspect(runtime, "endless")
    async with at_work(runtime):
        await until(lambda: asyncio.to_thread(noted, tmp_path, "endless"), 40)
        await runtime.queue.cancel(run_id)
        run = await reaches(runtime, run_id, RunStatus.CANCELLED)
    assert run.status is RunStatus.CANCELLED
    assert noted(tmp_path, "cleaned")


async def test_a_suspect_run_that_will_not_be_cancelled_is_killed(runtime, tmp_path, monkeypatch):
    monkeypatch.setattr("outlast.cli.isolation._CANCEL_SECONDS", 0.2)
    run_id = await suspect(runtime, "stubborn")
    async with at_work(runtime):
        await until(lambda: asyncio.to_thread(noted, tmp_path, "stubborn"), 40)
        await runtime.queue.cancel(run_id)
        await reaches(runtime, run_id, RunStatus.CANCELLED)


async def test_a_drain_hands_a_suspect_run_back_without_counting(runtime, tmp_path):
    (tmp_path / "hold").touch()
    run_id = await suspect(runtime, "steady", steps=2)
    async with at_work(runtime) as worker:
        await until(lambda: asyncio.to_thread(noted, tmp_path, "step-0"), 40)
        worker.drain()
        (tmp_path / "hold").unlink()
        run = await reaches(runtime, run_id, RunStatus.QUEUED, RunStatus.SUCCEEDED)
    assert (run.errors, run.crashes) == (0, 2)


async def test_a_child_that_cannot_start_is_no_crash(runtime, tmp_path):
    run_id = await suspect(runtime, "steady")
    await runtime.registry.load_all()
    (tmp_path / "outlast.toml").write_text("no toml")
    async with at_work(runtime):

        async def handed_back():
            run = await runtime.queue.store.get(run_id)
            return run.status is RunStatus.QUEUED and run.epoch > 0

        await until(handed_back, 40)
        (tmp_path / "outlast.toml").unlink()
        make_project(tmp_path)
        run = await reaches(runtime, run_id, RunStatus.SUCCEEDED)
    assert (run.errors, run.crashes) == (0, 2)
