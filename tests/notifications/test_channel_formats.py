"""What Slack, PagerDuty and apprise are sent, and which channels are told of what."""

from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from outlast.domain.notification import Message, Notice, Unrouted, severity_of
from outlast.errors import ConfigurationError
from outlast.notifications import pagerduty, slack, wording
from outlast.notifications.by_apprise import ByApprise
from outlast.notifications.routing import channels_for
from outlast.secret import Secret
from outlast.settings import load
from outlast.settings_notifications import ChannelSettings, NotificationSettings
from webhook_receiver import receiving

EVIL = "<!channel> <https://evil.example|click> *now* & `rm`"


def notice(**more):
    given = {"event": "asked", "severity": "info", "agent": "support", "kind": "review", "run_id": uuid4(), **more}
    return Notice(**{"question_id": uuid4(), **given})


def message(*notices, count=None, grouped=False):
    return Message(
        id=uuid4(), tenant="default", key="question:1", notices=notices, count=count or len(notices), grouped=grouped,
        sent_at=datetime.now(UTC),
    )  # fmt: skip


def mrkdwn(payload):
    """Return all texts that Slack looks for links and mentions in."""
    elements = [e for block in payload["blocks"] for e in (*block.get("elements", ()), block.get("text", {}))]
    return [payload["text"], *(element["text"] for element in elements if element.get("type") == "mrkdwn")]


def test_what_an_agent_says_mentions_and_links_nobody_in_slack():
    said = slack.payload(message(notice(text=EVIL, reasons=(EVIL,), agent=EVIL, link="https://a.example/inbox/1")))

    assert EVIL in str(said["blocks"]), "it is there, as plain text"
    assert not [text for text in mrkdwn(said) if "<!" in text or "<https://evil" in text]
    assert "<https://a.example/inbox/1|Open>" in mrkdwn(said)


def test_slack_gets_no_more_than_it_takes():
    many = message(*(notice(text="x" * 5000) for _ in range(20)), count=10_000, grouped=True)
    for said in (slack.payload(many), slack.payload(message(notice(text="x" * 50_000, agent="y" * 500)))):
        assert len(said["blocks"]) <= 50
        assert all(len(block["text"]["text"]) <= 3000 for block in said["blocks"] if "text" in block)
        assert len(said["blocks"][0]["text"]["text"]) <= 150
    assert "and 9980 more" in str(slack.payload(many)["blocks"][-1])


def test_without_an_address_the_command_is_told():
    one = notice()
    assert f"outlast inbox show {one.question_id}" in str(slack.payload(message(one)))
    failed = notice(event="failed", question_id=None)
    assert wording.place(failed) == f"outlast dlq show {failed.run_id}"


def test_a_group_is_one_incident_as_severe_as_the_worst_of_it():
    said = pagerduty.opening(message(notice(), notice(severity="error"), count=2, grouped=True))
    assert said["payload"]["severity"] == "error"
    assert said["payload"]["summary"] == "2 things need a person"


# apprise itself imports what goes with Python 3.13.
@pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
async def test_apprise_delivers_or_says_that_it_could_not():
    async with receiving() as receiver:
        url = Secret(receiver.url.replace("http://", "json://") + "/hook")
        await ByApprise(url, timeout=5).send(message(notice(text="Refund?", link="https://a.example/inbox/1")))
        receiver.answer = lambda *_: 500
        with pytest.raises(ConnectionError, match="could not deliver"):
            await ByApprise(url, timeout=5).send(message(notice()))

    told = receiver.received[0].body
    assert told["title"] == "support: a person has to decide (review)"
    assert "Refund?" in told["message"]
    with pytest.raises(ConfigurationError, match="does not understand the address"):
        ByApprise(Secret("nothing://of-the-kind"), timeout=5)


def item(**more):
    given = {"event": "asked", "agent": "support", "kind": "review", "tenant": "default", **more}
    return Unrouted(id=uuid4(), run_id=uuid4(), question_id=UUID(int=1), **given)


@pytest.mark.parametrize(
    ("route", "told", "not_told"),
    [
        ({"events": ["overdue"]}, {"event": "overdue"}, {}),
        ({"kinds": ["budget"]}, {"kind": "budget"}, {}),
        ({"agents": ["legal"]}, {"agent": "legal"}, {}),
        ({"tenants": ["acme"]}, {"tenant": "acme"}, {}),
        ({"at_least": "warning"}, {"kind": "effect_unknown"}, {"kind": "tool_approval"}),
        ({"at_least": "error", "agents": ["support"]}, {"event": "failed"}, {"event": "failed", "agent": "legal"}),
    ],
)
def test_a_route_takes_what_all_of_its_conditions_name(route, told, not_told):
    settings = NotificationSettings.model_validate({
        "channels": {"hook": {"type": "webhook", "url": "https://a.example"}},
        "routes": {"one": {"channels": ["hook"], **route}},
    })  # fmt: skip
    assert list(channels_for(item(**told), settings)) == ["hook"]
    assert list(channels_for(item(**not_told), settings)) == []


def test_without_routes_all_channels_are_told_and_without_channels_nobody():
    channels = {"a": {"type": "webhook", "url": "https://a.example"}, "b": {"type": "pagerduty", "key": "k"}}
    settings = NotificationSettings.model_validate({"channels": channels})
    assert list(channels_for(item(), settings)) == ["a", "b"]
    assert list(channels_for(item(event="expired"), settings)) == ["a"]
    assert list(channels_for(item(), NotificationSettings())) == []


def test_what_stands_still_for_an_answer_is_more_urgent_than_what_is_merely_asked():
    assert severity_of("asked", "interrupt") == "info"
    assert severity_of("asked", "effect_unknown") == "warning"
    assert severity_of("overdue", "interrupt") == severity_of("failed", "error") == "error"


@pytest.mark.parametrize(
    ("channel", "said"),
    [
        ({"type": "slack"}, "needs url"),
        ({"type": "email", "host": "h"}, "needs sender, to"),
        ({"type": "email", "host": "h", "sender": "a@b", "to": ["c@d"], "user": "u", "security": "none"}, "encrypted"),
        ({"type": "carrier pigeon"}, "slack"),
    ],
)
def test_a_channel_that_cannot_work_is_refused_when_it_is_read(channel, said):
    with pytest.raises(ValidationError, match=said):
        ChannelSettings.model_validate(channel)


def test_a_route_to_nowhere_is_refused_by_name():
    with pytest.raises(ConfigurationError, match=r"routes.night: there is no channel 'pager'; there are none"):
        load(project={"notifications": {"routes": {"night": {"channels": ["pager"]}}}})


def test_secrets_of_channels_come_from_variables_and_files(tmp_path, monkeypatch):
    (tmp_path / "key").write_text("routing-key\n")
    monkeypatch.setenv("OUTLAST_NOTIFICATIONS__CHANNELS__OPS__URL", "https://hooks.slack.com/services/T0")
    monkeypatch.setenv("OUTLAST_NOTIFICATIONS__CHANNELS__ON_CALL__KEY_FILE", str(tmp_path / "key"))
    monkeypatch.setenv("OUTLAST_NOTIFICATIONS__CHANNELS__MAIL__CA_FILE", "/etc/ca.pem")
    mail = {"type": "email", "host": "h", "sender": "a@b", "to": ["c@d"]}
    given = {"ops": {"type": "slack"}, "on_call": {"type": "pagerduty"}, "mail": mail}

    channels = load(project={"notifications": {"channels": given}}).notifications.channels

    assert channels["ops"].url.reveal() == "https://hooks.slack.com/services/T0"
    assert channels["on_call"].key.reveal() == "routing-key"
    assert channels["mail"].ca_file == "/etc/ca.pem", "a setting that is itself called so"


def test_secrets_of_channels_are_not_printed():
    given = ChannelSettings.model_validate({"type": "slack", "url": "https://hooks.slack.com/services/T0/B0/xyz"})
    assert "xyz" not in repr(given)
    assert "xyz" not in given.model_dump_json()
