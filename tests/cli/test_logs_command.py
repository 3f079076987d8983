"""`outlast logs`: the story of a thread, told from the database alone."""

import asyncio
import json
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from outlast_command import Running, outlast

from outlast.domain.run import NewRun
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore

SAID = "tell nobody \x1b[31m\tof it"


@pytest.fixture
async def runs(pool: Pool) -> tuple[NewRun, NewRun]:
    """Two runs of one thread."""
    first, second = (
        NewRun(id=uuid4(), thread_id="support-7", agent="support", input={"said": SAID}, config={}, metadata={})
        for _ in range(2)
    )
    for run in (first, second):
        await RunStore(pool).enqueue(run)
    return first, second


async def logs(folder: Path, url: str, *arguments: object) -> Any:
    return await asyncio.to_thread(outlast, "logs", *arguments, cwd=folder, DATABASE_URL=url)


async def test_through_a_pipe_the_story_is_lines_of_columns_whatever_was_said(
    runs: tuple[NewRun, NewRun], tmp_path: Path, database_url: str
) -> None:
    told = (await logs(tmp_path, database_url, "support-7", "--content")).stdout

    lines = [line.split("\t") for line in told.splitlines()]
    assert lines[0] == ["at", "run", "attempt", "kind", "text"]
    created = [line for line in lines if line[3] == "run.created"]
    assert [line[1] for line in created] == [str(run.id) for run in runs]
    assert created[0][4].startswith("a run of support is asked for  {")
    assert {len(line) for line in lines} == {5}
    assert "\x1b" not in told


async def test_json_is_an_object_per_line_of_one_run_and_holds_no_content(
    runs: tuple[NewRun, NewRun], tmp_path: Path, database_url: str
) -> None:
    _, second = runs

    told = (await logs(tmp_path, database_url, "support-7", "--run", second.id, "--since", "1h", "--json")).stdout

    assert "tell nobody" not in told
    entries = [json.loads(line) for line in told.splitlines()]
    assert {entry["run_id"] for entry in entries} == {str(second.id)}
    assert entries[0]["facts"]["trace_id"] == second.id.hex
    assert all("content" not in entry for entry in entries)


async def test_a_thread_of_another_tenant_is_not_found(
    runs: tuple[NewRun, NewRun], tmp_path: Path, database_url: str
) -> None:
    foreign = await logs(tmp_path, database_url, "support-7", "--tenant", "acme")

    assert (foreign.returncode, foreign.stdout) == (4, "")
    assert "support-7" in foreign.stderr


async def test_a_story_is_followed_as_it_goes_on(
    runs: tuple[NewRun, NewRun], pool: Pool, tmp_path: Path, database_url: str
) -> None:
    third = NewRun(id=uuid4(), thread_id="support-7", agent="support", input={}, config={}, metadata={})
    following = Running("logs", "support-7", "--follow", cwd=tmp_path, DATABASE_URL=database_url)
    try:
        await asyncio.to_thread(following.find, str(runs[1].id))
        await RunStore(pool).enqueue(third)
        await asyncio.to_thread(following.find, str(third.id))
    finally:
        following.process.kill()
        following.process.wait(10)

    told = [line for line in following.text.splitlines() if "run.created" in line]
    assert len(told) == 3, "nothing is told twice"
