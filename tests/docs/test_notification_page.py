"""What the page about notifications shows is what works."""

import json
import re
import tomllib
from dataclasses import fields
from datetime import UTC, datetime
from uuid import uuid4

from pages import ROOT, snippets

from outlast.domain.notification import EVENTS, Message, Notice, severity_of
from outlast.notifications import posted
from outlast.setting_names import settings_of
from outlast.settings import Settings, load
from outlast.telemetry import POINTS

PAGE = "docs/notifications.md"


def test_the_channels_and_routes_of_the_page_are_valid_settings():
    (shown,) = snippets(PAGE, "toml")
    settings = load(project=tomllib.loads(shown))

    assert {name: channel.type for name, channel in settings.notifications.channels.items()} == {
        "ops": "slack", "approvals": "email", "on_call": "pagerduty"
    }  # fmt: skip
    assert list(settings.notifications.routes) == ["everything", "money", "night"]
    assert settings.inbox.url == "https://agents.example.com"


def test_settings_events_and_points_that_the_page_names_exist():
    text = (ROOT / PAGE).read_text()
    settings = {setting.key for setting in settings_of(Settings)}
    tables = {"notifications.channels", "notifications.routes"}

    named = set(re.findall(r"`((?:notifications|inbox|webhooks|retention)\.[a-z_]+)`", text))
    assert named <= settings | tables
    assert set(re.findall(r"`(notification\.[a-z_]+)`", text)) <= set(POINTS)
    rows = re.findall(r"^\| `(\w+)` \| .* \| `(\w+)`", text, re.MULTILINE)
    assert set(EVENTS) - {"assigned"} <= {event for event, _ in rows}
    assert severity_of("asked", "escalation") == "warning"


def test_the_message_of_the_page_is_the_one_that_is_posted():
    (shown,) = snippets(PAGE, "json")
    notice = Notice(event="asked", severity="info", agent="a", kind="k", run_id=uuid4())
    message = Message(id=uuid4(), tenant="t", key="k", notices=(notice,), count=1, sent_at=datetime.now(UTC))
    said, expected = posted.payload(message), json.loads(shown)

    assert said.keys() == expected.keys()
    assert said["data"].keys() == expected["data"].keys()
    assert said["data"]["notices"][0].keys() == expected["data"]["notices"][0].keys()
    assert {field.name for field in fields(Notice)} - {"reasons"} == expected["data"]["notices"][0].keys()
