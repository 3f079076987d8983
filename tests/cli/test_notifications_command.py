"""`outlast notifications`: whether a channel works, who was told, and once more."""

import asyncio
import json
from uuid import uuid4

import pytest
from outlast_command import outlast

from outlast.domain.run import NewRun
from outlast.storage.postgres.runs import RunStore
from webhook_receiver import receiving

FAILED = """
INSERT INTO notifications (id, key, event, run_id, agent, kind, routed_at)
VALUES (%(message)s, 'failed:x:1', 'failed', %(run)s, 'support', 'KeyError', now());
INSERT INTO notification_messages (id, channel, key, state, attempts, last_error, ended_at)
VALUES (%(message)s, 'ops', 'run:x', 'failed', 7, 'the receiver answered 503', now());
INSERT INTO notification_items (notification_id, channel, message_id) VALUES (%(message)s, 'ops', %(message)s)
"""


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments, **environment):
        return await asyncio.to_thread(
            outlast, "notifications", *arguments, cwd=tmp_path, DATABASE_URL=database_url, **environment
        )

    return run


@pytest.fixture
def channel(tmp_path):
    def write(url):
        (tmp_path / "outlast.toml").write_text(
            f'[webhooks]\nnetworks = ["127.0.0.0/8"]\n\n[notifications.channels.ops]\ntype = "slack"\nurl = "{url}"\n'
        )

    return write


async def test_a_channel_is_tried_out_and_says_what_is_wrong(command, channel):
    async with receiving() as receiver:
        channel(receiver.url)
        said = await command("test", "ops")
        assert (said.returncode, said.stdout) == (0, "channel ops has taken the message\n"), said.stderr
        receiver.answer = lambda *_: 404
        refused = await command("test", "ops")

    assert "This is a test" in json.dumps(receiver.received[0].body)
    assert (refused.returncode, "the receiver answered 404" in refused.stderr) == (1, True)


async def test_what_was_told_is_listed_and_what_was_given_up_is_sent_once_more(command, pool):
    run, message = uuid4(), uuid4()
    new = NewRun(id=run, thread_id=str(run), agent="support", input=None, config={}, metadata={})
    await RunStore(pool).enqueue(new)
    async with pool.transaction() as connection:
        for statement in FAILED.split(";"):
            await connection.execute(statement.encode(), {"run": run, "message": message})

    (shown,) = json.loads((await command("list", "--state", "failed", "--json")).stdout)
    assert (shown["id"], shown["channel"], shown["attempts"], shown["event"]) == (str(message), "ops", 7, "failed")
    assert shown["run_id"] == str(run)
    again = await command("retry", str(message))
    assert again.stdout == f"message {message} will be sent to ops again\n", again.stderr
    lines = [line.split("\t") for line in (await command("list")).stdout.splitlines()]
    assert lines[0][:4] == ["id", "state", "channel", "about"]
    assert lines[1][1:5] == ["pending", "ops", f"run {run} failed", "0"]
    async with pool.transaction() as connection:
        found = await (await connection.execute("SELECT action FROM audit_log")).fetchall()
    assert ("notification.retried",) in found
