"""kill -9 of real workers between what is decided about an alert and the notice of it: told once, and not forgotten."""

import asyncio
from typing import Any

import pytest
from fleet import Fleet, Runs

from waiting import until
from webhook_receiver import Receiver, receiving

pytestmark = pytest.mark.processes

SIGNAL = "INSERT INTO alert_signals VALUES ('default', 'loop_failures', 'kills', now(), 50)"


def start(fleet: Fleet, receiver: Receiver, fault: str = "") -> Any:
    return fleet.start(
        fault=fault,
        OUTLAST_ALERTS__EVERY="PT1S",
        OUTLAST_ALERTS__KEEP="0",
        OUTLAST_WEBHOOKS__NETWORKS='["127.0.0.0/8"]',
        OUTLAST_NOTIFICATIONS__POLL="PT0.1S",
        OUTLAST_NOTIFICATIONS__CHANNELS=f'{{"hook": {{"type": "webhook", "url": "{receiver.url}"}}}}',
        # What dies here is not what is told of.
        OUTLAST_NOTIFICATIONS__ROUTES='{"loops": {"channels": ["hook"], "kinds": ["loop_failures"]}}',
    )


def told(receiver: Receiver, event: str) -> list[str]:
    """Return the ids under which it was told, once for each time."""
    return [
        got.headers["webhook-id"]
        for got in receiver.received
        for notice in got.body["data"]["notices"]
        if notice["event"] == event and "'kills'" in notice["text"]
    ]


@pytest.mark.parametrize(
    ("point", "begun"),
    [("alert.before_commit", False), ("alert.fired", False), ("notification.sent", False), ("alert.resolved", True)],
)
async def test_an_alert_is_told_under_one_id_when_a_worker_is_killed_at(
    point: str, *, begun: bool, fleet: Fleet, runs: Runs
) -> None:
    event = "recovered" if begun else "alert"
    async with receiving() as receiver:
        await runs.rows(f"{SIGNAL} RETURNING 1")
        victim = start(fleet, receiver, f"{point}:exit:1:1")
        if begun:
            await until(lambda: _told(receiver, "alert"), 20, "it fires")
            await runs.rows("DELETE FROM alert_signals RETURNING 1")
        await asyncio.to_thread(victim.wait, 25)
        assert fleet.struck() == [(point, victim.pid)]
        # What it had taken, and its lease: nobody can know whether that has arrived.
        held = await runs.rows("UPDATE notification_messages SET due_at = now() WHERE state = 'pending' RETURNING id")
        start(fleet, receiver)
        await until(lambda: _all_sent(runs, event), 30, "everybody is told")

    ids = told(receiver, event)
    assert len(set(ids)) == 1, "one id, however often it was sent"
    assert len(ids) == (2 if point == "notification.sent" else 1), held
    rows = await runs.rows("SELECT notices FROM alerts WHERE rule = 'loop_failures' AND subject = 'loop=kills'")
    assert rows == [(1,)]


async def _told(receiver: Receiver, event: str) -> bool:
    return bool(told(receiver, event))


async def _all_sent(runs: Runs, event: str) -> bool:
    return bool(await runs.rows(
        "SELECT 1 FROM notification_messages m JOIN notification_items i ON i.message_id = m.id"
        " JOIN notifications n ON n.id = i.notification_id WHERE m.state = 'sent' AND n.event = %s", event,
    ))  # fmt: skip
