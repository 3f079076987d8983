"""What the page about the inbox shows is what works."""

import json
import re
import tomllib
from datetime import UTC, datetime
from typing import Any

from pages import ROOT, run_snippet, snippets
from typer.main import get_command

from outlast.cli.inbox import app
from outlast.domain.question import KINDS, Decision, asking, hash_of
from outlast.refusals import QuestionClosed
from outlast.server.auth.scopes import NEEDS
from outlast.server.problems import refusal_of
from outlast.setting_names import settings_of
from outlast.settings import Settings, load

PAGE = "docs/inbox.md"
TEXT = (ROOT / PAGE).read_text()


def test_the_settings_of_the_page_are_valid():
    (shown,) = snippets(PAGE, "toml")
    inbox = load(project=tomllib.loads(shown)).inbox
    assert (inbox.default, inbox.agents["refunds"].needs, inbox.agents["refunds"].not_requester) == ("reject", 2, True)


def test_settings_routes_scopes_and_kinds_that_the_page_names_exist():
    settings = {setting.key for setting in settings_of(Settings)}
    assert set(re.findall(r"`(inbox\.[a-z_]+)`", TEXT)) <= settings
    routes = re.findall(r"`((?:GET|POST) /inbox\S*)` \| `([a-z:]+)`", TEXT)
    documented = {route.replace("{id}", "{question_id}"): scope for route, scope in routes}
    assert documented == {route: scope for route, scope in NEEDS.items() if "/inbox" in route}
    kinds = set(re.findall(r"^\| `([a-z_]+)` \| .* \|$", TEXT.split("## On the command line")[0], re.MULTILINE))
    assert kinds == {*KINDS.values(), "interrupt", "hitl", "agent_inbox"}


def test_the_commands_of_the_page_are_commands():
    commands = get_command(app).commands
    for name, rest in re.findall(r"^    outlast inbox (\w+)(.*)$", TEXT, re.MULTILINE):
        options = {option for param in commands[name].params for option in param.opts}
        assert set(re.findall(r"--[a-z]+", rest)) <= options, name
    assert {name for name, _ in re.findall(r"^    outlast inbox (\w+)(.*)$", TEXT, re.MULTILINE)} == set(commands)


def test_the_decision_and_the_refusal_of_the_page_are_real():
    shown, refused = (json.loads(text) for text in snippets(PAGE, "json"))
    assert Decision.of_json(shown).value == {"order": 7, "amount": 20}
    assert shown["hash"] == hash_of({"amount": 200, "order": 7})
    error = QuestionClosed(
        question_id=refused["question_id"], status="answered", by="ann",
        at=datetime(2026, 11, 21, 20, tzinfo=UTC), decision="approve",
    )  # fmt: skip
    body = json.loads(bytes(refusal_of(error, "POST /inbox").body))
    assert {name: body[name] for name in refused} == refused
    assert body.keys() - refused.keys() == {"title", "detail"}


async def test_the_question_of_the_page_is_understood():
    asked: list[Any] = []
    names = await run_snippet(snippets(PAGE, "python")[0], {})

    def person(value: Any) -> dict[str, Any]:
        asked.append(value)
        return {"decision": "edit", "value": {"order": 7, "amount": 20}}

    names["interrupt"] = person
    assert names["refund"]({"order": 7, "amount": 200}) == {"amount": 20}
    question = asking("0" * 32, asked[0], agent="refunds")
    assert (question.kind, question.allowed) == ("escalation", ("approve", "edit", "reject"))
    assert (question.terms.deadline_seconds, question.terms.default, question.terms.not_requester) == (
        3600, "reject", True
    )  # fmt: skip
