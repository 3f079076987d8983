"""What the page about admission shows is what works."""

import re
import tomllib

from pages import ROOT, snippets

from outlast.domain.limits import PERIODS, SUBJECTS, parse_rule
from outlast.server.problems import STATUS
from outlast.setting_names import settings_of
from outlast.settings import Settings, load

PAGE = "docs/admission.md"


def text() -> str:
    return (ROOT / PAGE).read_text()


def test_the_settings_of_the_page_are_valid_and_its_rules_can_be_read():
    rules = []
    for shown in snippets(PAGE, "toml"):
        limits = load(project=tomllib.loads(shown)).limits
        rules += limits.rules
        rules += [rule for tenant in limits.tenants.values() for rule in tenant.rules or ()]

    assert [str(parse_rule(given.rule).count) for given in rules] == ["100", "1000", "20", "10", "5000"]


def test_the_words_of_a_rule_are_those_that_exist():
    for name, words in (("period", tuple(PERIODS)), ("subject", SUBJECTS)):
        (row,) = re.findall(rf"^\| {name} \| (.*) \|$", text(), re.MULTILINE)
        assert tuple(re.findall(r"`(\w+)`", row)) == words


def test_settings_and_codes_that_the_page_names_exist():
    keys = {setting.key for setting in settings_of(Settings)}

    assert set(re.findall(r"`((?:limits|admission|worker)\.[a-z_]+)`", text())) <= keys
    assert {"queue_full", "overloaded"} <= set(STATUS)
    assert load().limits.queued == 100_000
