"""What the pages about service levels and health say is what there is."""

import re
import tomllib

from pages import ROOT, snippets

from outlast.monitoring.health import ESSENTIAL, READY
from outlast.monitoring.slo.burning import PAIRS
from outlast.monitoring.slo.objectives import LIMITS, Objectives
from outlast.setting_names import settings_of
from outlast.settings import Settings, load

PAGE = "docs/slo.md"
TEXT = (ROOT / PAGE).read_text()


def rows(heading):
    """The first cells of the table below a heading."""
    return re.findall(r"^\| `([a-z_]+)` \|", TEXT.split(heading)[1].split("\n#")[0], re.MULTILINE)


def test_every_service_level_is_explained():
    assert rows("## What is counted") == list(LIMITS)


def test_the_settings_of_the_page_exist():
    keys = {setting.key for setting in settings_of(Settings)}
    assert set(re.findall(r"`(slo\.[a-z_]+)`", TEXT)) <= keys
    (shown,) = snippets(PAGE, "toml")
    listed = Objectives(load(project=tomllib.loads(shown)).slo).listed()
    assert {(found.slo, found.limit) for found in listed if found.agent == "research"} == {
        ("first_byte", 20), ("cost", 2.0)
    }  # fmt: skip


def test_the_pairs_of_windows_are_those_of_the_table():
    told = re.findall(r"^\| \d+ [hd] and \d+ \w+ \| ([\d.]+) \| .* \| (\w+) \|$", TEXT, re.MULTILINE)
    assert [(float(factor), severity) for factor, severity in told] == [(pair.factor, pair.severity) for pair in PAIRS]


def test_the_promises_that_the_page_shows_are_the_defaults():
    (shown, *_) = snippets(PAGE, "console")
    for objective in Objectives(load().slo).listed():
        assert re.search(rf"^{objective.slo} +{re.escape(objective.text)} ", shown, re.MULTILINE), objective


def test_the_dependencies_are_explained_and_those_that_count_come_first():
    assert rows("## Health") == ["database", "schema", "workers", "hints", "models", "cache", "disk"]
    assert set(READY) < set(ESSENTIAL) == {"database", "schema", "workers"}
