"""What the page about budgets shows is what works."""

import json
import re
import tomllib
from dataclasses import fields

from pages import ROOT, snippets

from outlast.domain.budget import Question
from outlast.setting_names import settings_of
from outlast.settings import Settings, load
from outlast.telemetry import POINTS

PAGE = "docs/budgets.md"


def test_the_budgets_of_the_page_are_valid_settings():
    (shown,) = snippets(PAGE, "toml")
    rules = load(project=tomllib.loads(shown)).budgets.rules

    assert list(rules) == ["team", "daily", "one-run"]
    assert (rules["daily"].per, rules["daily"].on_limit, rules["daily"].tokens) == ("user", "ask", 3_000_000)


def test_settings_events_and_fields_that_the_page_names_exist():
    text = (ROOT / PAGE).read_text()
    settings = {setting.key for setting in settings_of(Settings)}

    assert set(re.findall(r"`(budgets\.[a-z_]+)", text)) <= settings
    assert set(re.findall(r"`(budget\.[a-z_]+)`", text)) <= set(POINTS)


def test_the_question_of_the_page_is_the_one_that_is_asked():
    (shown,) = snippets(PAGE, "json")
    asked = Question(budget="b", subject="s", unit="usd_micros", limit=1, spent=1).shown()

    assert json.loads(shown).keys() == asked.keys()
    assert {item.name for item in fields(Question)} - {"unit"} <= asked.keys()
