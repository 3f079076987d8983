"""Whoever has to look is told: once for each channel, until it has arrived, and not when it is over."""

import asyncio
import base64
from dataclasses import replace
from datetime import timedelta
from uuid import UUID, uuid4

import pytest
from standardwebhooks import Webhook

from outlast import telemetry
from outlast.domain.acting import acting_for
from outlast.domain.decision import Decision as Admitted
from outlast.domain.intake import Intake
from outlast.domain.question import Decision
from outlast.domain.run import NewRun, RunStatus
from outlast.errors import ConfigurationError
from waiting import until
from webhook_receiver import receiving

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
REFUND = {
    "type": "escalation", "question": "Refund 120 EUR to Ann?",
    "reasons": [{"code": "high_stakes", "text": "over 100"}],
    "subject": {"iban": "DE89370400440532013000"}, "deadline_seconds": 3600, "default": "reject",
}  # fmt: skip


def webhook(receiver, **more):
    return {"type": "webhook", "url": receiver.url, "secret": SECRET, **more}


def pager(receiver):
    return {"type": "pagerduty", "url": receiver.url, "key": "routing-key"}


async def told(desk, receiver, count):
    await until(lambda: receiver.got(count))
    return receiver.received


async def test_a_question_is_told_with_its_reasons_and_a_link_signed(desk):
    async with receiving() as receiver:
        question = await desk.ask(REFUND)
        await desk.sent(desk.sender({"hook": webhook(receiver)}), "sent")

    [got] = receiver.received
    assert Webhook(SECRET).verify(got.raw, got.headers) == got.body
    assert got.body["type"] == "outlast.notification"
    [notice] = got.body["data"]["notices"]
    assert (notice["event"], notice["kind"], notice["severity"]) == ("asked", "escalation", "warning")
    assert notice["link"] == f"https://agents.example.com/inbox/{question.id}"
    assert "Refund 120 EUR to Ann?" in notice["text"]
    assert "- over 100" in notice["text"]
    assert notice["default"] == "reject"
    assert "DE89" not in got.raw.decode(), "what exactly is approved is for the inbox alone"
    assert got.body["data"]["id"] == got.headers["webhook-id"]


async def test_a_run_that_failed_for_good_is_told_with_its_error(desk):
    async with receiving() as receiver:
        run = await desk.fail("no such customer, api_key=sk-abcdefghijklmnopqrstuvwx")
        await desk.sent(desk.sender({"hook": webhook(receiver)}), "sent")

    [notice] = receiver.received[0].body["data"]["notices"]
    assert (notice["event"], notice["agent"], notice["run_id"]) == ("failed", "breaks", str(run))
    assert "no such customer" in notice["text"]
    assert "sk-abc" not in notice["text"]
    assert notice["link"] == f"https://agents.example.com/dlq/{run}"


async def test_a_channel_that_is_not_to_know_learns_only_where_to_look(desk):
    async with receiving() as receiver:
        question = await desk.ask(REFUND)
        await desk.sent(desk.sender({"hook": webhook(receiver, content=False)}), "sent")

    assert "Ann" not in receiver.received[0].raw.decode()
    assert "over 100" not in receiver.received[0].raw.decode()
    assert str(question.id) in receiver.received[0].raw.decode()


async def test_a_receiver_that_fails_gets_the_same_message_again(desk):
    def answer(receiver, _body):
        return 503 if len(receiver.received) < 3 else 204

    async with receiving(answer) as receiver:
        await desk.ask("which one?")
        await desk.sent(desk.sender({"hook": webhook(receiver)}), "sent")

    assert len(receiver.received) == 3
    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1
    assert (await desk.store.find())[0].attempts == 3


@pytest.mark.parametrize(("kind", "status", "attempts"), [("webhook", 410, 1), ("slack", 400, 1), ("slack", 500, 3)])
async def test_what_will_never_arrive_is_given_up_and_said(desk, kind, status, attempts):
    said = []
    forget = telemetry.subscribe(lambda point, fields: said.append(fields) if point == "notification.failed" else None)
    async with receiving(lambda receiver, _: status) as receiver:
        await desk.ask("which one?")
        sender = desk.sender({"hook": {"type": kind, "url": receiver.url}}, give_up=timedelta(seconds=0.5))
        await desk.sent(sender, "failed")
    forget()

    [message] = await desk.store.find()
    assert f"answered {status}" in message.last_error
    assert len(receiver.received) == message.attempts
    assert message.attempts >= attempts
    assert [fields["channel"] for fields in said] == ["hook"]


async def test_a_message_that_was_given_up_can_be_sent_once_more(desk):
    answers = [410, 200]
    async with receiving(lambda *_: answers.pop(0)) as receiver:
        await desk.ask("which one?")
        sender = desk.sender({"hook": webhook(receiver)})
        await desk.sent(sender, "failed")
        [message] = await desk.store.find()
        assert await desk.store.send_again(message.id) == "hook"
        assert await desk.store.send_again(message.id) is None
        await desk.sent(sender, "sent")

    assert len({got.headers["webhook-id"] for got in receiver.received}) == 1


async def test_what_was_answered_before_it_was_told_is_not_told(desk):
    async with receiving(lambda *_: 503) as receiver:
        question = await desk.ask("which one?")
        sender = desk.sender({"hook": webhook(receiver)})
        await desk.sent(sender, "pending")
        await desk.runtime.inbox().answer(question.id, Decision(decision="approve"))
        await desk.sent(sender, "dropped")

    [message] = await desk.store.find()
    assert message.last_error is None


async def test_a_run_that_was_replayed_and_fails_again_is_told_again(desk):
    async with receiving() as receiver:
        run = await desk.fail("boom")
        sender = desk.sender({"hook": webhook(receiver)})
        await desk.sent(sender, "sent")
        await desk.runtime.queue.replay(run)
        await desk.is_now(run, RunStatus.FAILED)
        await desk.sent(sender, "sent", "sent")

    assert {got.body["data"]["notices"][0]["run_id"] for got in receiver.received} == {str(run)}


async def test_each_question_is_told_once_on_a_channel_by_many_senders_and_routes(desk):
    async with receiving() as first, receiving() as second:
        questions = [await desk.ask(f"number {number}") for number in range(5)]
        channels = {"first": webhook(first), "second": webhook(second)}
        routes = {"all": {"channels": ["first"]}, "again": {"channels": ["first", "second"], "agents": ["asks"]}}
        senders = [desk.sender(channels, routes=routes) for _ in range(4)]
        for _ in range(3):
            await asyncio.gather(*(sender.round() for sender in senders))
        await desk.sent(senders[0], *["sent"] * 10)

    for receiver in (first, second):
        asked = [UUID(got.body["data"]["notices"][0]["question_id"]) for got in receiver.received]
        assert sorted(asked) == sorted(question.id for question in questions)


async def test_a_storm_is_told_in_a_few_messages_that_name_all_of_it(desk):
    async with receiving() as receiver:
        await asyncio.gather(*(desk.ask(f"number {number}") for number in range(30)))
        sender = desk.sender({"hook": webhook(receiver)}, burst=3, window=timedelta(minutes=1))
        await desk.sent(sender, *["sent"] * 3, "pending")
        # While it gathers, more comes.
        await desk.ask("one more")
        await sender.round()
        await desk.let_pass()
        await desk.sent(sender, *["sent"] * 4)

    counts = [got.body["data"]["count"] for got in receiver.received]
    assert counts == [1, 1, 1, 28]
    assert len(receiver.received[-1].body["data"]["notices"]) == 20
    assert "28 things" in receiver.received[-1].body["data"]["title"]


async def test_an_incident_is_closed_when_its_question_is_answered(desk):
    async with receiving(lambda *_: 202) as receiver:
        question = await desk.ask(REFUND)
        sender = desk.sender({"pager": pager(receiver)})
        await desk.sent(sender, "sent")
        await sender.round()
        assert len(receiver.received) == 1, "an open question is an open incident"
        await desk.runtime.inbox().answer(question.id, Decision(decision="approve"))
        await sender.round()
        await told(desk, receiver, 2)
        await sender.round()

    opened, closed = (got.body for got in receiver.received)
    assert (opened["event_action"], closed["event_action"]) == ("trigger", "resolve")
    assert opened["dedup_key"] == closed["dedup_key"] == f"outlast:question:{question.id}"
    assert opened["routing_key"] == "routing-key"
    assert opened["payload"]["severity"] == "warning"
    assert opened["links"][0]["href"] == f"https://agents.example.com/inbox/{question.id}"
    assert [(message.state, message.incident) for message in await desk.store.find()] == [("sent", "closed")]


async def test_an_incident_is_closed_when_its_run_is_replayed_or_gone(desk):
    async with receiving(lambda *_: 202) as receiver:
        run = await desk.fail("boom")
        sender = desk.sender({"pager": pager(receiver)})
        await desk.sent(sender, "sent")
        await desk.runtime.queue.store.ends.delete(run)
        await sender.round()

    assert [got.body["event_action"] for got in receiver.received] == ["trigger", "resolve"]
    assert receiver.received[1].body["dedup_key"] == f"outlast:run:{run}"


async def test_who_a_question_is_given_to_is_told_each_time(desk):
    async with receiving() as receiver:
        question = await desk.ask(REFUND)
        for name in ("ann", "ben", None, "ann"):
            await desk.runtime.inbox().assign(question.id, name)
        await desk.sent(desk.sender({"hook": webhook(receiver)}), *["sent"] * 4)

    notices = [got.body["data"]["notices"][0] for got in receiver.received]
    assert sorted(notice["event"] for notice in notices) == ["asked", "assigned", "assigned", "assigned"]
    # As it is now, not as it was.
    assert {notice["assignee"] for notice in notices} == {"ann"}


async def test_a_deadline_that_passes_is_told(desk):
    async with receiving() as receiver, receiving(lambda *_: 202) as paged:
        await desk.ask({"question": "now?", "deadline_seconds": 0.001, "default": "reject"})
        await desk.ask({"question": "or never?", "deadline_seconds": 0.001})
        # Before the deadlines are acted on nobody has been told anything.
        await desk.runtime.expiry().round()
        sender = desk.sender({"hook": webhook(receiver), "pager": pager(paged)}, burst=50)
        await until(lambda: _told_both(sender, receiver))

    told = {notice["event"]: notice for got in receiver.received for notice in got.body["data"]["notices"]}
    assert "the default was taken" not in told["expired"]["text"]
    assert told["expired"]["default"] == "reject"
    assert told["overdue"]["severity"] == "error"
    assert {got.body["payload"]["class"] for got in paged.received} == {"interrupt"}
    assert len({got.body["dedup_key"] for got in paged.received}) == 1, "an expired question is no incident"


async def _told_both(sender, receiver):
    await sender.round()
    return {"expired", "overdue"} <= {got.body["data"]["notices"][0]["event"] for got in receiver.received}


async def test_a_run_that_waits_for_a_yes_is_told_when_its_turn_has_come(desk):
    async with receiving() as receiver:
        ahead = await desk.ask(REFUND)
        wants = NewRun(
            id=uuid4(), thread_id=ahead.thread_id, agent="asks", input="hi", config={}, metadata={},
            decision=Admitted(verdict="ask", stage="policy", reason="it is large", question="May it run?"),
        )  # fmt: skip
        alone = replace(wants, id=uuid4(), thread_id="alone")
        for run in (wants, alone):
            await desk.runtime.queue.store.intake.admit(run, Intake())
        sender = desk.sender({"hook": webhook(receiver)})
        await desk.sent(sender, "sent", "sent")
        await desk.runtime.queue.cancel(ahead.run_id)
        await desk.sent(sender, "sent", "sent", "sent")

    notices = [got.body["data"]["notices"][0] for got in receiver.received]
    assert {notice["question_id"] for notice in notices[:2]} == {str(ahead.id), str(alone.id)}
    assert (notices[2]["kind"], notices[2]["question_id"]) == ("approval", str(wants.id))
    assert "May it run?" in notices[2]["text"]


async def test_a_question_of_another_tenant_is_told_as_that_tenants(desk):
    async with receiving() as receiver:
        with acting_for("acme"):
            question = await desk.ask(REFUND)
        await desk.ask("ours")
        routes = {"theirs": {"channels": ["hook"], "tenants": ["acme"]}}
        sender = desk.sender({"hook": webhook(receiver)}, routes=routes)
        await sender.round()

    [got] = receiver.received
    assert got.body["data"]["tenant"] == "acme"
    assert got.body["data"]["notices"][0]["question_id"] == str(question.id)
    assert await desk.states() == []
    with acting_for("acme"):
        assert await desk.states() == ["sent"]


async def test_what_is_told_of_a_deleted_run_is_nothing(desk):
    async with receiving(lambda *_: 503) as receiver:
        run = await desk.fail("secret of ann")
        sender = desk.sender({"hook": webhook(receiver)})
        await desk.sent(sender, "pending")
        await desk.runtime.queue.store.ends.delete(run)
        await desk.sent(sender, "dropped")


async def test_old_messages_are_forgotten_and_open_incidents_are_not(desk):
    async with receiving(lambda *_: 202) as receiver:
        await desk.ask("which one?")
        sender = desk.sender({"hook": webhook(receiver), "pager": pager(receiver)})
        await desk.sent(sender, "sent", "sent")
        await desk.store.forget(age=timedelta(0))

    assert [message.channel for message in await desk.store.find()] == ["pager"]


async def test_an_unknown_channel_is_tried_again_until_somebody_knows_it(desk):
    async with receiving() as receiver:
        await desk.ask("which one?")
        await desk.sent(desk.sender({"old": webhook(receiver)}, burst=1), "sent")
        await desk.ask("and which one now?")
        await desk.store.route(lambda _: ["new"], burst=10, window=timedelta(minutes=1), limit=10)
        await desk.sent(desk.sender({"old": webhook(receiver)}), "sent", "pending")
        await desk.sent(desk.sender({"new": webhook(receiver)}), "sent", "sent")
    assert len(receiver.received) == 2


async def test_an_address_inside_is_refused_unless_it_is_allowed(desk):
    with pytest.raises(ConfigurationError, match=r"notifications.channels.hook: .*10.1.2.3 is no public address"):
        desk.sender({"hook": {"type": "webhook", "url": "http://10.1.2.3/hook"}})
