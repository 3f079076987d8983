"""`outlast dlq`, `recover` and `threads`: what a person sees and does, straight in the database."""

import asyncio
import json

import pytest
from outlast_command import make_project, outlast
from test_runs_command import stored

from outlast.domain.dead_letter import DeadLetterQuery
from outlast.domain.run import RunStatus
from outlast.storage.postgres.dead_letters import DeadLetterStore
from outlast.storage.postgres.listing import Page
from outlast.storage.postgres.runs import RunStore


@pytest.fixture
def store(pool):
    return RunStore(pool)


@pytest.fixture
def command(tmp_path, database_url):
    project = make_project(tmp_path / "project")

    async def run(*arguments):
        return await asyncio.to_thread(outlast, *arguments, cwd=project, DATABASE_URL=database_url)

    return run


async def failed(store, agent="steady", code="timed_out", message="too slow"):
    return await stored(store, agent, RunStatus.FAILED, errors=1, error_code=code, error_message=message)


async def test_dead_letters_are_listed_shown_replayed_and_discarded(store, pool, command):
    late = await failed(store)
    other = await failed(store, "poison", "KeyError", "'order'")

    listed = (await command("dlq", "list")).stdout.splitlines()
    assert [line.split("\t")[:4] for line in listed] == [
        ["run", "agent", "error", "attempts"],
        [str(other), "poison", "KeyError", "1"],
        [str(late), "steady", "timed_out", "1"],
    ]
    shown = (await command("dlq", "show", late)).stdout
    assert "error on here:1: too slow" in shown
    assert "at the beginning: nothing was saved" in shown
    [letter] = json.loads((await command("dlq", "list", "--error", "KeyError", "--since", "1h", "--json")).stdout)
    assert letter["run_id"] == str(other)

    assert (await command("dlq", "discard", other, "--reason", "done by hand")).stdout == f"run {other} is discarded\n"
    replayed = await command("dlq", "replay", "--error", "timed_out")
    assert replayed.stdout == "1 runs are replayed, 10 of them per second\n"
    assert (await store.get(late)).status is RunStatus.QUEUED
    [gone], _ = await DeadLetterStore(pool).find(DeadLetterQuery(discarded=True), page=Page(10))
    assert (gone.run_id, gone.discard_reason) == (other, "done by hand")


async def test_replaying_everything_has_to_be_said(store, command):
    run_id = await failed(store)
    refused = await command("dlq", "replay")
    assert refused.returncode == 2
    assert "or give --all" in refused.stderr
    assert (await store.get(run_id)).status is RunStatus.FAILED
    assert (await command("dlq", "replay", "--all")).returncode == 0
    assert (await command("dlq", "show", run_id)).returncode == 4, "it is no dead letter any more"


async def test_stuck_threads_are_told_with_what_to_do_and_recovered(store, command):
    run_id = await failed(store)
    scanned = (await command("recover", "scan")).stdout.splitlines()
    assert scanned[1].startswith("thread-steady\tfailed: timed_out\t")
    assert scanned[1].endswith(f"yes\trepair the cause, then `outlast dlq replay {run_id}`")
    told = json.loads((await command("recover", "show", "thread-steady", "--json")).stdout)
    assert (told["why"], told["recoverable"]) == ("failed", True)
    assert str(run_id) in (await command("recover", "run", "--dry-run")).stdout
    assert (await command("recover", "run")).stdout == "1 runs are replayed\n"
    assert (await store.get(run_id)).status is RunStatus.QUEUED


async def test_checkpoints_are_counted_and_a_thread_without_any_has_no_history(store, command):
    await stored(store, "steady")
    stats = json.loads((await command("threads", "stats", "--json")).stdout)
    assert (stats["count"], stats["bytes"], stats["agents"]) == (0, 0, [])
    assert (await command("threads", "history", "thread-steady")).stdout.splitlines() == [
        "\tcheckpoint\tstep\tmade by\tnext\tsaved\trun"
    ]
    assert (await command("threads", "history", "nobody's")).returncode == 4
