"""kill -9 between an answer and its resume, and between expiry and default: nothing is lost, nothing done twice.

OUTLAST_TEST_SEEDS=20 python -m pytest tests/faults/test_inbox_kills.py
"""

import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import Any

import pytest
from answering_process import inbox_on
from fleet import Fleet, Runs, Zygote
from witness import seen

from outlast.domain.acting import Principal, acting_for
from outlast.domain.options import RunOptions
from outlast.domain.question import Decision, Question
from outlast.domain.run import RunStatus
from outlast.refusals import QuestionClosed
from waiting import until

pytestmark = pytest.mark.processes

HERE = Path(__file__).parent
SEEDS = range(int(os.environ.get("OUTLAST_TEST_SEEDS", "1")))
THREAD = "thread"


@pytest.fixture(scope="module")
def asking_zygote() -> Iterator[Zygote]:
    with Zygote.open(HERE / "asking.toml") as zygote:
        yield zygote


@pytest.fixture
def asking_fleet(asking_zygote: Zygote, database_url: str, tmp_path: Path) -> Iterator[Fleet]:
    with Fleet.open(database_url, tmp_path, zygote=asking_zygote) as fleet:
        yield fleet


async def asked(runs: Runs, rng: Random, seed: int, **terms: Any) -> list[str]:
    """Start a run that asks one or two questions at once, of either protocol; return what it asks."""
    texts = [f"number {number}?" for number in range(rng.randint(1, 2))]
    # Each protocol in one of two seeds.
    options = RunOptions(protocol="v1" if seed % 2 else "plain")
    questions = [{"question": text, **terms} for text in texts]
    await runs.enqueue("asking", {"questions": questions}, thread_id=THREAD, options=options)
    return texts


async def questions(runs: Runs, *statuses: str) -> list[Question]:
    found, _ = await inbox_on(runs.pool).find(thread_id=THREAD)
    return [question for question in found if question.status in statuses]


async def _asks(runs: Runs, count: int) -> bool:
    return len(await questions(runs, "open")) == count


async def _ended(runs: Runs) -> bool:
    view = await runs.queue.store.of_thread(THREAD)
    return view is not None and view.status is RunStatus.SUCCEEDED


def acted(fleet: Fleet) -> list[list[Any]]:
    return [sorted(event["answers"]) for event in seen(fleet.witness) if event["event"] == "acted"]


async def _answered_by(fleet: Fleet, url: str, user: str, *, fault: str = "") -> int:
    armed = f"{fault};log={fleet.faults}" if fault else ""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(HERE / "answering_process.py"),
        url,
        THREAD,
        user,
        env={**os.environ, "OUTLAST_FAULT": armed},
    )
    return await process.wait()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", ["inbox.answered.before_commit", "inbox.answered"])
async def test_an_answer_is_given_once_when_whoever_gives_it_is_killed_at(
    point: str, seed: int, asking_fleet: Fleet, runs: Runs, database_url: str
) -> None:
    rng = Random(f"{point} {seed}")
    asking_fleet.start()
    texts = await asked(runs, rng, seed)
    await until(lambda: _asks(runs, len(texts)), 20)
    before = await questions(runs, "open")

    nth = rng.randint(1, len(texts))
    assert await _answered_by(asking_fleet, database_url, "ann", fault=f"{point}:exit:1:{nth}") == 137

    kept = nth if point == "inbox.answered" else nth - 1
    answered = await questions(runs, "answered")
    assert len(answered) == kept, "what was committed is there, and nothing else"
    for question in answered:
        with acting_for(Principal(user="bob")), pytest.raises(QuestionClosed, match="ann"):
            await inbox_on(runs.pool).answer(question.id, Decision(decision="reject"))
    if kept < len(texts):
        assert await _answered_by(asking_fleet, database_url, "bob") == 0
    await until(lambda: _ended(runs), 20)
    who = {question.question: question.answered_by for question in await questions(runs, "answered")}
    assert sorted(who) == texts
    assert {question.id for question in await questions(runs, "answered")} == {question.id for question in before}
    assert acted(asking_fleet) == [[f"{text} {who[text]}" for text in texts]], "done once, as the first have said"


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", ["inbox.expired.before_commit", "inbox.expired"])
async def test_a_default_is_taken_once_when_a_worker_is_killed_at(
    point: str, seed: int, asking_fleet: Fleet, runs: Runs
) -> None:
    rng = Random(f"{point} {seed}")
    default = {"decision": "respond", "value": "nobody"}
    count = len(await asked(runs, rng, seed, deadline_seconds=0.2, default=default))
    often = {"OUTLAST_INBOX__SCAN": "PT0.1S"}
    victim = asking_fleet.start(fault=f"{point}:exit:1:{rng.randint(1, count)}", **often)
    assert await asyncio.to_thread(victim.wait, 20) == -9 or asking_fleet.struck()

    for _ in range(2):
        asking_fleet.start(**often)
    await until(lambda: _ended(runs), 20)

    assert [point for point, _ in asking_fleet.struck()] == [point]
    assert [question.answered_by for question in await questions(runs, "expired")] == ["default"] * count
    assert acted(asking_fleet) == [["nobody"] * count]
