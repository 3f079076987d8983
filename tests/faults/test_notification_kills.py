"""kill -9 of real workers between a question and the message about it: nobody is forgotten, nobody told of it twice.

OUTLAST_TEST_SEEDS=20 python -m pytest tests/faults/test_notification_kills.py
"""

import asyncio
import os
from collections import Counter
from random import Random
from uuid import UUID

import pytest
from fleet import Fleet, Runs

from waiting import until
from webhook_receiver import Receiver, receiving

pytestmark = pytest.mark.processes

SEEDS = range(int(os.environ.get("OUTLAST_TEST_SEEDS", "1")))
QUESTIONS = 4
#: With how often the worker comes there, at least.
POINTS = {
    "run.settle.before_commit": QUESTIONS,
    "run.settled": QUESTIONS,
    "notification.before_commit": 1,
    "notification.sent": QUESTIONS,
}


def start(fleet: Fleet, receiver: Receiver, fault: str = ""):
    return fleet.start(
        fault=fault,
        OUTLAST_WEBHOOKS__NETWORKS='["127.0.0.0/8"]',
        OUTLAST_NOTIFICATIONS__POLL="PT0.1S",
        OUTLAST_NOTIFICATIONS__CHANNELS=f'{{"hook": {{"type": "webhook", "url": "{receiver.url}"}}}}',
    )


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("point", POINTS)
async def test_each_question_is_told_with_one_id_when_a_worker_is_killed_at(
    point: str, seed: int, fleet: Fleet, runs: Runs
) -> None:
    nth = Random(f"{point} {seed}").randint(1, POINTS[point])
    async with receiving() as receiver:
        asked = [await runs.enqueue("asking", {"seed": 1, "slow": 0.01}) for _ in range(QUESTIONS)]
        victim = start(fleet, receiver, f"{point}:exit:1:{nth}")
        await asyncio.to_thread(victim.wait, 25)
        assert fleet.struck() == [(point, victim.pid)]
        # What it had taken, and its lease: nobody can know whether that has arrived.
        held = await runs.rows("UPDATE notification_messages SET due_at = now() WHERE state = 'pending' RETURNING id")
        start(fleet, receiver)
        await until(lambda: _all_told(runs), 30, "everybody is told")

    told = [(UUID(got.body["data"]["notices"][0]["run_id"]), got.headers["webhook-id"]) for got in receiver.received]
    assert {run for run, _ in told} == set(asked), "nothing is lost"
    assert len(set(told)) == QUESTIONS, "one id for each question"
    twice = {UUID(message) for (_, message), times in Counter(told).items() if times > 1}
    assert twice <= {message for (message,) in held}
    assert max(Counter(told).values()) <= 2
    assert twice or point != "notification.sent", "this is where it may happen"


async def _all_told(runs: Runs) -> bool:
    sent = await runs.rows("SELECT 1 FROM notification_messages WHERE state = 'sent'")
    return len(sent) == QUESTIONS
