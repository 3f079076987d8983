"""Rounds on a real database: what is found, who decides, who is told, and who hears that somebody looks."""

import asyncio
import json

import pytest

from outlast import telemetry
from outlast.domain.acting import acting_for
from outlast.errors import Conflict, DatabaseUnavailable, NotFound
from outlast.monitoring.alerts.signals import Signals, signals_counted
from outlast.settings_alerts import AlertSettings
from outlast.storage.postgres.alerts import AlertStore
from outlast.storage.postgres.pool import Pool
from outlast.telemetry import about, emit
from waiting import until
from webhook_receiver import receiving

ONE_RULE = {
    "rules": {
        "loop_failures": {"above": 10},
        # They would be about the same runs.
        "queue_age": {"enabled": False},
    }
}


def hook(receiver) -> dict:
    return {"hook": {"type": "webhook", "url": receiver.url}}


async def test_an_alert_is_told_over_http_once_and_so_is_that_it_is_over(room) -> None:
    evaluator = room.evaluator(**ONE_RULE)
    async with receiving() as receiver:
        sender = room.sender(hook(receiver))
        await room.loops_fail(20)
        for _ in range(3):
            await room.round(evaluator)
            await sender.round()
        await until(lambda: receiver.got(1))
        (told,) = receiver.received
        (notice,) = told.body["data"]["notices"]
        assert (notice["event"], notice["kind"], notice["severity"]) == ("alert", "loop_failures", "warning")
        assert "failed rounds of background loop 'claim' in the last 10 minutes: 20" in notice["text"]
        assert "the limit: more than 10" in notice["text"]
        assert (notice["run_id"], notice["question_id"]) == (None, None)

        await room.loops_are_well()
        await room.round(evaluator)
        await room.let_pass(minutes=3)
        await room.round(evaluator)
        await sender.round()
        await room.round(evaluator)
        await sender.round()
    assert [got.body["data"]["notices"][0]["event"] for got in receiver.received] == ["alert", "recovered"]
    (alert,) = await room.alerts()
    assert (alert.state, alert.rule, alert.subject) == ("resolved", "loop_failures", "loop=claim")


async def test_one_process_at_a_time_looks(room) -> None:
    await room.loops_fail()
    await room.execute("UPDATE alert_clock SET due_at = now()")
    done = await asyncio.gather(*(room.evaluator(**ONE_RULE).round() for _ in range(4)))
    assert [decision is None for decision in done].count(False) == 1
    assert await room.evaluator(**ONE_RULE).round() is None, "the next one is due in 15 s"
    assert len(await room.notices()) == 1


async def test_whoever_was_suspended_over_its_round_has_no_say(room, monkeypatch) -> None:
    slow = room.evaluator(**ONE_RULE)
    read, waiting, go_on = slow._figures.read, asyncio.Event(), asyncio.Event()

    async def held(source):
        waiting.set()
        await go_on.wait()
        return await read(source)

    monkeypatch.setattr(slow._figures, "read", held)
    await room.loops_fail()
    await room.execute("UPDATE alert_clock SET due_at = now()")
    suspended = asyncio.create_task(slow.round())
    await waiting.wait()
    assert (await room.round(room.evaluator(**ONE_RULE))).fired
    go_on.set()
    assert await suspended is None
    assert len(await room.notices()) == 1


async def test_a_source_that_fails_ends_no_alert_silences_no_other_and_no_heartbeat_is_sent(room, monkeypatch) -> None:
    async with receiving() as switch:
        beating = {**ONE_RULE, "heartbeat": {"url": switch.url, "every": 1}}
        await room.loops_fail()
        await room.round(room.evaluator(**beating))
        assert len(switch.received) == 1
        await room.execute("UPDATE alert_clock SET heartbeat_at = heartbeat_at - interval '1 minute'")
        broken = room.evaluator(**beating)
        read = broken._figures.read

        async def failing(source):
            if source == "signals":
                raise OSError(source)
            return await read(source)

        monkeypatch.setattr(broken._figures, "read", failing)
        await room.due("support")
        await room.execute("UPDATE runs SET available_at = now() - interval '1 hour'")
        await room.let_pass(hours=1)
        for _ in range(3):
            await room.round(broken)
            await room.let_pass(minutes=5)
        assert {alert.rule: alert.state for alert in await room.alerts()} == {
            "loop_failures": "firing", "no_worker": "firing",
        }  # fmt: skip
        assert len(switch.received) == 1, "somebody else raises the alarm"


async def test_the_dead_mans_switch_hears_of_rounds_as_often_as_it_wants_and_again_after_a_failure(room) -> None:
    said = []
    unsubscribe = telemetry.subscribe(lambda point, fields: said.append((point, fields.get("loop"))))
    answers = iter([500, 200, 200])
    try:
        async with receiving(lambda *_: next(answers)) as switch:
            evaluator = room.evaluator(heartbeat={"url": switch.url, "every": 60})
            await room.round(evaluator)
            await room.round(evaluator)
            await room.round(evaluator)
            assert len(switch.received) == 2, "once more after the failure, then not for a minute"
            await room.execute("UPDATE alert_clock SET heartbeat_at = heartbeat_at - interval '1 minute'")
            await room.round(evaluator)
    finally:
        unsubscribe()
    assert len(switch.received) == 3
    assert switch.received[0].body["firing"] == {}
    assert switch.received[0].body["evaluated_at"]
    assert said.count(("loop.failed", "alerts.heartbeat")) == 1
    assert said.count(("alert.heartbeat", None)) == 2


async def test_alerts_belong_to_whom_they_concern(room) -> None:
    for tenant, agent in (("acme", "support"), ("default", "sales")):
        await room.due(agent, tenant)
    await room.execute("UPDATE runs SET available_at = now() - interval '1 hour'")
    evaluator = room.evaluator(rules={"queue_age": {"after": 0}, "no_worker": {"enabled": False}})
    await room.round(evaluator)
    with acting_for("acme"):
        (theirs,) = await room.store.find()
        assert (theirs.tenant, theirs.labels) == ("acme", {"agent": "support"})
        assert "of agent 'support' is due since 60 min" in theirs.text
    assert {row[0] for row in await room.execute("SELECT tenant FROM notifications")} == {"acme", "default"}


async def test_one_that_is_silenced_or_acknowledged_is_not_told_and_says_who_has_it(room) -> None:
    evaluator = room.evaluator(**ONE_RULE)
    await room.store.silence("loop_failures", subject="loop=claim", seconds=3600, why="known", who="ann")
    await room.loops_fail(loop="claim")
    await room.loops_fail(loop="crons")
    await room.round(evaluator)
    assert len(await room.notices()) == 1
    told = {alert.subject: alert.notices for alert in await room.alerts()}
    assert told == {"loop=claim": 0, "loop=crons": 1}
    (ended,) = await room.store.unsilence("loop_failures")
    assert ended.why == "known"
    await room.round(evaluator)
    assert len(await room.notices()) == 2
    (claim,) = [alert for alert in await room.alerts() if alert.subject == "loop=claim"]
    await room.store.acknowledge(str(claim.id)[:8], who="ann")
    with pytest.raises(Conflict, match="acknowledged by ann"):
        await room.store.acknowledge(str(claim.id), who="bob")
    with pytest.raises(NotFound, match="outlast alerts list"):
        await room.store.acknowledge("00000000-0000", who="bob")
    await room.let_pass(hours=5)
    await room.round(evaluator)
    (again,) = (await room.notices())[2:]
    assert again[:2] == ("alert", "loop_failures")
    assert {alert.subject: alert.notices for alert in await room.alerts()} == {"loop=claim": 1, "loop=crons": 2}


async def test_what_came_and_went_lately_has_to_be_well_for_longer(room) -> None:
    evaluator = room.evaluator(**ONE_RULE, keep=60)

    async def minutes_until_over() -> int:
        await room.loops_fail()
        await room.round(evaluator)
        await room.loops_are_well()
        await room.round(evaluator)
        minutes = 0
        while not (await room.round(evaluator)).resolved:
            minutes += 1
            # Only this one: the others have come and gone lately.
            await room.execute("UPDATE alerts SET clear_since = clear_since - interval '1 minute'")
        return minutes

    assert [await minutes_until_over() for _ in range(3)] == [1, 2, 4]


async def test_an_incident_is_opened_once_and_closed_when_all_of_it_is_over(room) -> None:
    evaluator = room.evaluator(**ONE_RULE)
    async with receiving(lambda *_: 202) as pagerduty:
        sender = room.sender({"duty": {"type": "pagerduty", "key": "k", "url": pagerduty.url}})
        await room.loops_fail(loop="claim")
        await room.loops_fail(loop="crons")
        await room.round(evaluator)
        await sender.round()
        await room.let_pass(hours=5)
        await room.round(evaluator)
        await sender.round()
        await room.loops_are_well()
        await room.loops_fail(loop="crons")
        await room.round(evaluator)
        await room.let_pass(minutes=3)
        await room.round(evaluator)
        await sender.round()
        open_ = [got.body for got in pagerduty.received]
        assert [got["event_action"] for got in open_] == ["trigger", "trigger"]
        assert {got["payload"]["class"] for got in open_} == {"loop_failures"}
        assert len({got["dedup_key"] for got in open_}) == 1, "the reminder is about the same incident"

        await room.loops_are_well()
        await room.round(evaluator)
        await room.let_pass(minutes=3)
        await room.round(evaluator)
        for _ in range(3):
            await sender.round()
        closed = [got.body for got in pagerduty.received[2:]]
        assert {got["event_action"] for got in closed} == {"resolve"}
        assert {got["dedup_key"] for got in closed} == {open_[0]["dedup_key"]}


async def test_routes_choose_alerts_by_event_rule_agent_and_severity(room) -> None:
    await room.due("support")
    await room.execute("UPDATE runs SET available_at = now() - interval '1 hour'")
    evaluator = room.evaluator(rules={"queue_age": {"after": 0}, "no_worker": {"after": 0}})
    names = ("alerts", "questions", "queue", "serious", "sales")
    async with receiving() as receiver:
        channels = {name: {"type": "webhook", "url": f"{receiver.url}/{name}"} for name in names}
        routes = {
            "alerts": {"channels": ["alerts"], "events": ["alert", "recovered"]},
            "questions": {"channels": ["questions"], "events": ["asked", "failed"]},
            "queue": {"channels": ["queue"], "kinds": ["queue_age"]},
            "serious": {"channels": ["serious"], "at_least": "error"},
            "sales": {"channels": ["sales"], "agents": ["sales"]},
        }
        sender = room.sender(channels, routes=routes)
        await room.round(evaluator)
        await sender.round()
    told = sorted((got.path, got.body["data"]["notices"][0]["kind"]) for got in receiver.received)
    assert told == [
        ("/alerts", "no_worker"), ("/alerts", "queue_age"), ("/queue", "queue_age"), ("/serious", "no_worker"),
    ]  # fmt: skip


async def test_findings_of_others_become_alerts_in_their_own_words_and_severity(room) -> None:
    await room.execute(
        "INSERT INTO anomalies (tenant, agent, model, kind, severity, text, value) VALUES"
        " ('default', 'support', 'openai:gpt-4o', 'length', 'critical',"
        "  'length 41 against a median of 1,830 over 200 runs', 41)"
    )
    await room.round(room.evaluator())
    (alert,) = await room.alerts()
    assert (alert.rule, alert.severity, alert.value) == ("anomaly", "error", 41)
    assert alert.text == "length 41 against a median of 1,830 over 200 runs; see `outlast anomalies list`"
    assert alert.labels == {"agent": "support", "model": "openai:gpt-4o", "kind": "length"}
    assert await room.notices() == [("alert", "anomaly", "support", "error")]


async def test_what_processes_notice_is_counted_by_minute_and_nothing_is_lost_when_it_cannot_be_stored(room) -> None:
    async with signals_counted(AlertSettings(), room.pool), signals_counted(AlertSettings(enabled=False), room.pool):
        for _ in range(3):
            emit("loop.failed", loop="test", error="OSError")
        with about(tenant="acme"):
            emit("budget.exceeded", budget="daily", run_id="r", unit="usd", limit=1, spent=1)
        emit("worker.heartbeat", worker_id="w")
    rows = await room.execute("SELECT tenant, name, subject, count FROM alert_signals ORDER BY 1, 2")
    assert rows == [("acme", "budget_stops", "daily", 1), ("default", "loop_failures", "test", 3)]

    # Its pool was never opened: the database is away.
    signals = Signals(AlertStore(Pool(room.database, application_name="test")))
    for _ in range(2):
        signals("run.lease_lost", {"run_id": "r"})
    with pytest.raises(DatabaseUnavailable):
        await signals.store()
    signals._store = room.store
    await signals.store()
    await signals.store()
    assert await room.execute("SELECT count FROM alert_signals WHERE name = 'lease_losses'") == [(2,)]


async def test_it_shows_when_somebody_last_looked_and_what_fires(room) -> None:
    assert (await room.store.standing()).evaluated_at is None
    await room.loops_fail()
    await room.round(room.evaluator(**ONE_RULE))
    watch = await room.store.standing()
    (now,) = (await room.execute("SELECT now()"))[0]
    assert abs((now - watch.evaluated_at).total_seconds()) < 60
    assert watch.firing == {"warning": 1}


async def test_what_is_over_for_long_is_deleted_and_what_is_open_stays(room) -> None:
    evaluator = room.evaluator(**ONE_RULE)
    await room.loops_fail(loop="claim")
    await room.round(evaluator)
    await room.loops_are_well()
    await room.round(evaluator)
    await room.let_pass(minutes=3)
    await room.round(evaluator)
    await room.loops_fail(loop="crons")
    await room.round(evaluator)
    await room.let_pass(days=31)
    await room.execute("UPDATE alert_signals SET minute = minute - interval '2 days'")
    await room.execute("UPDATE alert_clock SET round = 239")
    await room.round(evaluator)
    assert [alert.subject for alert in await room.alerts()] == ["loop=crons"]
    assert await room.execute("SELECT count(*) FROM alert_signals") == [(0,)]


async def test_an_alert_that_is_over_before_it_was_sent_is_not_sent(room) -> None:
    evaluator = room.evaluator(**ONE_RULE)
    await room.loops_fail()
    await room.round(evaluator)
    await room.loops_are_well()
    await room.round(evaluator)
    await room.let_pass(minutes=3)
    await room.round(evaluator)
    async with receiving() as receiver:
        await room.sender(hook(receiver)).round()
    assert [json.loads(got.raw)["data"]["title"] for got in receiver.received] == [
        "outlast: an alert is over (loop_failures)"
    ]
