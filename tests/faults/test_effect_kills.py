"""kill -9 of real workers round an effect; a receiver outside counts what was applied.

OUTLAST_TEST_SEEDS=20 python -m pytest tests/faults/test_effect_kills.py
"""

import asyncio
import os
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

import pytest
from fleet import Fleet, Runs, Zygote

from outlast.domain.run import RunStatus
from outlast.errors import Conflict
from waiting import until

sys.path.insert(0, str(Path(__file__).parents[1] / "calls"))

from effect_receiver import EffectReceiver, receiving
from effecting_agents import ITEMS

pytestmark = pytest.mark.processes

PROJECT = Path(__file__).with_name("effecting.toml")
SEEDS = range(int(os.environ.get("OUTLAST_TEST_SEEDS", "1")))
POINTS = ("effect.before_intent", "effect.intended", "effect.called", "effect.recorded")


@pytest.fixture(scope="module")
def effecting_zygote() -> Iterator[Zygote]:
    with Zygote.open(PROJECT, "httpx", "outlast.calls.effects") as zygote:
        yield zygote


@pytest.fixture
def effecting_fleet(effecting_zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=effecting_zygote) as fleet:
        yield fleet


@pytest.fixture
async def receiver(request: pytest.FixtureRequest) -> AsyncIterator[EffectReceiver]:
    async with receiving(honours_keys=request.param) as receiver:
        yield receiver


async def killed(fleet: Fleet, point: str, seed: int) -> None:
    """Kill two workers at the point, each at an effect that the seed chooses; then a third one goes on."""
    rng = Random(f"{point} {seed}")
    for _ in range(2):
        victim = fleet.start(fault=f"{point}:exit:1:{rng.randint(1, 3)}", OUTLAST_CALLS__EFFECTS__BASE="PT0.01S")
        # Not one that has too little left to do to come there; it goes on as the survivor.
        await asyncio.to_thread(victim.ended.wait, 10)
    fleet.start()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("receiver", [True], indirect=True, ids=["keyed"])
async def test_a_keyed_effect_is_applied_once_whatever_is_killed_at(
    point: str, seed: int, receiver: EffectReceiver, effecting_fleet: Fleet, runs: Runs
) -> None:
    run_id = await runs.enqueue("keyed", {"url": receiver.url})
    await killed(effecting_fleet, point, seed)
    await until(lambda: _is(runs, run_id, RunStatus.SUCCEEDED), 40)

    assert effecting_fleet.struck()
    assert receiver.applied == dict.fromkeys(receiver.applied, 1)
    assert sorted(answer["of"]["item"] for answer in receiver.answers.values()) == sorted(ITEMS)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("receiver", [False], indirect=True, ids=["unkeyed"])
async def test_an_unknown_outcome_comes_before_a_person_and_is_never_retried_by_itself_when_killed_at(
    point: str, seed: int, receiver: EffectReceiver, effecting_fleet: Fleet, runs: Runs
) -> None:
    run_id = await runs.enqueue("careful", {"url": receiver.url})
    killing = asyncio.create_task(killed(effecting_fleet, point, seed))
    allowed: Counter[str] = Counter()

    async def ended() -> bool:
        # Nobody has called again what a person has not said to be undone.
        assert all(times <= 1 + allowed[key] for key, times in Counter(receiver.keys).items())
        view = await runs.queue.store.get(run_id)
        assert view.status is not RunStatus.FAILED, view.error_message
        if view.status is RunStatus.WAITING:
            await _tell_the_truth(runs, run_id, view.interrupts or [], receiver, allowed)
        return view.status is RunStatus.SUCCEEDED

    await until(ended, 60)
    await killing

    assert effecting_fleet.struck()
    assert sorted(request["body"]["item"] for request in receiver.requests) == sorted(ITEMS)
    asked = await runs.rows("SELECT count(*) FROM effect_questions")
    assert asked[0][0] >= (1 if point in {"effect.intended", "effect.called"} else 0), "somebody was asked"


async def _tell_the_truth(
    runs: Runs, run_id: UUID, questions: list[dict[str, Any]], receiver: EffectReceiver, allowed: Counter[str]
) -> None:
    """Answer as somebody who has looked at the receiver."""
    answers = {}
    for question in questions:
        key = question["value"]["key"]
        applied = key in receiver.applied
        allowed[key] += not applied
        item = receiver.answers[key]["of"]["item"] if applied else None
        answers[question["id"]] = {"applied": applied, "result": item}
    try:
        await runs.queue.answer(run_id, answers)
    except Conflict:
        # Asked anew meanwhile.
        for question in questions:
            allowed[question["value"]["key"]] -= not answers[question["id"]]["applied"]


async def _is(runs: Runs, run_id: UUID, status: RunStatus) -> bool:
    view = await runs.queue.store.get(run_id)
    assert view.status is not RunStatus.FAILED, view.error_message
    return view.status is status
