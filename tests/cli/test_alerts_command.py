"""`outlast alerts`: what fires, the rules, silences, and whether everybody would be told."""

import asyncio
import json

import pytest
from outlast_command import outlast

from outlast.runtime import watching
from outlast.settings import WebhookSettings
from outlast.settings_notifications import NotificationSettings
from runtimes import opener
from waiting import until
from webhook_receiver import receiving

FIRING = """
INSERT INTO alerts (id, rule, subject, labels, severity, state, text, started_at, fired_at, notified_at, notices,
                    told_as, told_severity)
VALUES ('0a5b7e3c-3c1d-4e02-9d5f-0a6c1f2b3d4e', 'dead_letters', 'agent=support', '{"agent": "support"}', 'warning',
        'firing', '12 failed runs of agent ''support'' wait for somebody', now(), now(), now(), 1,
        gen_random_uuid(), 'warning')
"""


@pytest.fixture
def command(tmp_path, database_url):
    async def run(*arguments, **environment):
        return await asyncio.to_thread(
            outlast, "alerts", *arguments, cwd=tmp_path, DATABASE_URL=database_url, **environment
        )

    return run


async def test_what_fires_is_listed_silenced_and_acknowledged(command, pool):
    async with pool.transaction() as connection:
        await connection.execute(FIRING.encode())

    said = await command("silence", "dead_letters", "--for", "2h", "--why", "moving", "--as", "ann")
    assert said.stdout.startswith("nobody is told of dead_letters until "), said.stderr
    silence = said.stdout.split()[-1]
    lines = [line.split("\t") for line in (await command("list")).stdout.splitlines()]
    assert lines[0][:5] == ["id", "state", "severity", "rule", "about"]
    assert lines[1][:5] == ["0a5b7e3c", "firing", "warning", "dead_letters", "agent=support"]
    assert lines[1][6] == "silenced"
    ended = await command("unsilence", silence[:8])
    assert ended.stdout == "people are told of dead_letters again\n", ended.stderr
    taken = await command("ack", "0a5b7e3c", "--as", "ann")
    assert taken.stdout == "dead_letters (agent=support) is ann's; it is not told again\n", taken.stderr
    (shown,) = json.loads((await command("list", "--json")).stdout)
    assert (shown["acknowledged_by"], shown["silenced"], shown["notices"]) == ("ann", False, 1)
    async with pool.transaction() as connection:
        noted = await (await connection.execute(b"SELECT action, object FROM audit_log ORDER BY seq")).fetchall()
    assert noted == [
        ("alert.silenced", "alert:dead_letters"), ("alert.unsilenced", f"alert:{silence[:8]}"),
        ("alert.acknowledged", "alert:0a5b7e3c"),
    ]  # fmt: skip


async def test_what_is_wrong_is_said_with_what_to_do(command):
    wrong = await command("silence", "dead_letters", "--for", "soon", "--why", "x")
    assert (wrong.returncode, "write 30m, 2h or 3d" in wrong.stderr) == (2, True)
    nobody = await command("test")
    assert (nobody.returncode, "[notifications.channels]" in nobody.stderr) == (2, True)


async def test_rules_are_listed_with_what_the_project_has_changed(command, tmp_path):
    (tmp_path / "outlast.toml").write_text(
        "[alerts.rules.dead_letters]\nabove = 3\n\n[alerts.rules.queue_age]\nenabled = false\n\n"
        '[alerts.rules.dear]\nmetric = "cost_usd_hour"\nabove = 20\nseverity = "error"\nafter = 300\n'
    )
    rules = {rule["rule"]: rule for rule in json.loads((await command("rules", "--json")).stdout)}
    assert (rules["dead_letters"]["above"], rules["dead_letters"]["changed"]) == (3, True)
    assert rules["queue_age"] == {"rule": "queue_age", "enabled": False}
    assert (rules["dear"]["built_in"], rules["dear"]["after_seconds"]) == (False, 300)
    lines = [line.split("\t") for line in (await command("rules")).stdout.splitlines()]
    assert ["dear", "on", "cost_usd_hour", "> 20", "300 s", "error", "yours"] in lines


async def test_a_test_alert_goes_through_every_route_and_it_is_said_who_got_it(command, tmp_path, database_url):
    async with receiving() as receiver:
        told = NotificationSettings.model_validate({
            "channels": {name: {"type": "webhook", "url": f"{receiver.url}/{name}"} for name in ("ops", "money")},
            "routes": {
                "serious": {"channels": ["ops"], "at_least": "error"},
                "questions": {"channels": ["money", "ops"], "kinds": ["budget"], "events": ["asked"]},
            },
            "poll": 0.1,
        })  # fmt: skip
        channels = "".join(
            f'[notifications.channels.{name}]\ntype = "webhook"\nurl = "{receiver.url}/{name}"\n'
            for name in told.channels
        )
        (tmp_path / "agents.py").write_text("")
        (tmp_path / "outlast.toml").write_text(
            f'[webhooks]\nnetworks = ["127.0.0.0/8"]\n{channels}'
            '[notifications.routes.serious]\nchannels = ["ops"]\nat_least = "error"\n'
            '[notifications.routes.questions]\nchannels = ["money", "ops"]\nkinds = ["budget"]\nevents = ["asked"]\n'
        )
        from outlast.agents.project import find_project

        missing = await command("test", "--wait", "1")
        assert (missing.returncode, "start `outlast worker`" in missing.stderr) == (1, True), missing.stderr
        open_runtime = opener(
            find_project(tmp_path), application_name="test", pool_timeout_seconds=5, notifications=told,
            webhooks=WebhookSettings(networks=("127.0.0.0/8",)),
        )  # fmt: skip
        async with open_runtime(database_url) as runtime, watching(runtime):
            said = await command("test")
        await until(lambda: receiver.got(2))
    assert said.returncode == 0, said.stderr
    lines = [line.split("\t")[:4] for line in said.stdout.splitlines()]
    assert lines == [
        ["channel", "routes", "state", "attempts"], ["money", "questions", "sent", "1"],
        ["ops", "serious, questions", "sent", "1"],
    ]  # fmt: skip
    assert sorted(got.path for got in receiver.received) == ["/money", "/ops"]
    assert "This is a test" in receiver.received[0].body["data"]["notices"][0]["text"]
