"""kill -9 of a worker between the end of a graph and the settlement of its run, and round a person's answer.

OUTLAST_TEST_SEEDS=20 python -m pytest tests/faults/test_review_kills.py

Seeds alternate between plain runs and runs of the Agent Server API, and choose which of the repairs is struck.
"""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from fleet import Fleet, Runs, Zygote
from witness import seen

from outlast.domain.intake import Intake, Resume
from outlast.domain.options import RunOptions
from outlast.domain.run import NewRun, RunStatus, RunView
from waiting import until

pytestmark = pytest.mark.processes

PROJECT = Path(__file__).with_name("reviews.toml")
SEEDS = range(int(os.environ.get("OUTLAST_TEST_SEEDS", "1")))
#: Point -> whether it comes after the person's answer.
POINTS = {"review.repair.before": False, "review.escalated": False, "review.answered": True, "review.edited": True}
EDIT = {"decision": "edit", "value": {"price": 7, "log": ["by a person"]}}


@pytest.fixture(scope="module")
def review_zygote() -> Iterator[Zygote]:
    with Zygote.open(PROJECT, "outlast.validation.engine", "outlast.workers.reviewing") as zygote:
        yield zygote


@pytest.fixture
def review_fleet(review_zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=review_zygote) as fleet:
        yield fleet


async def admit(runs: Runs, protocol: Any, thread: str, **fields: Any) -> UUID:
    resume = (fields.get("command") or {}).get("resume")
    run = NewRun(
        id=uuid4(), thread_id=thread, agent="offers", input=None if resume else {}, config={}, metadata={},
        options=RunOptions(protocol=protocol, **fields),
    )  # fmt: skip
    return (await runs.queue.admit(run, Intake(resume=Resume(resume) if resume else None))).run_id


async def stands(runs: Runs, run_id: UUID, *statuses: RunStatus) -> RunView:
    async def there() -> bool:
        view = await runs.queue.store.get(run_id)
        assert view.status in statuses or not view.ended, (view.status, view.error_message)
        return view.status in statuses

    await until(there, 40)
    return await runs.queue.store.get(run_id)


async def answered(runs: Runs, asked: RunView) -> UUID:
    [question] = asked.interrupts or []
    if asked.options.plain:
        await runs.queue.answer(asked.id, {question["id"]: EDIT})
        return asked.id
    return await admit(runs, "v1", asked.thread_id, command={"resume": {question["id"]: EDIT}})


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS)
async def test_repairs_are_counted_once_and_an_edit_is_written_once_whatever_is_killed_at(
    point: str, seed: int, review_fleet: Fleet, runs: Runs
) -> None:
    protocol = "plain" if seed % 2 == 0 else "v1"
    nth = seed // 2 % 2 + 1 if point == "review.repair.before" else 1
    victim = review_fleet.start(fault=f"{point}:exit:1:{nth}")
    run_id = await admit(runs, protocol, "thread")
    if not POINTS[point]:
        await asyncio.to_thread(victim.wait, 40)
        review_fleet.start()
    asked = await stands(runs, run_id, RunStatus.WAITING, RunStatus.INTERRUPTED)
    goes_on = await answered(runs, asked)
    if POINTS[point]:
        await asyncio.to_thread(victim.wait, 40)
        review_fleet.start()
    view = await stands(runs, goes_on, RunStatus.SUCCEEDED)

    assert review_fleet.struck() == [(point, victim.pid)]
    assert {key: view.output[key] for key in ("price", "log")} == EDIT["value"]
    decisions = await runs.rows("SELECT action, decision FROM reviews ORDER BY position")
    assert decisions == [("repair", None), ("repair", None), ("escalate", "edit")]
    witnessed = list(seen(review_fleet.witness))
    assert [event["told"] for event in witnessed if event["event"] == "offered"] == [0, 1, 1]
    assert [event["attempt"] for event in witnessed if event["event"] == "looked"] == [1, 2, 3]


@pytest.mark.parametrize("seed", SEEDS)
async def test_a_worker_killed_between_the_edit_and_the_end_of_its_thread_leaves_nothing_to_run(
    seed: int, review_fleet: Fleet, runs: Runs
) -> None:
    first = review_fleet.start()
    run_id = await admit(runs, "plain" if seed % 2 == 0 else "v1", "thread")
    asked = await stands(runs, run_id, RunStatus.WAITING, RunStatus.INTERRUPTED)
    first.drain()
    await asyncio.to_thread(first.wait, 40)
    # The first checkpoint that it writes is the edit, which would go on to another node.
    victim = review_fleet.start(fault=f"checkpoint.{'after' if seed // 2 % 2 == 0 else 'before'}_commit:exit:1:1")
    goes_on = await answered(runs, asked)
    await asyncio.to_thread(victim.wait, 40)
    review_fleet.start()
    view = await stands(runs, goes_on, RunStatus.SUCCEEDED)

    assert {key: view.output[key] for key in ("price", "log")} == EDIT["value"]
    assert "checked" not in [event["event"] for event in seen(review_fleet.witness)]
