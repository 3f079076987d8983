"""What the page about alerts shows is what works."""

import re
import tomllib

from pages import ROOT, snippets

from outlast.setting_names import settings_of
from outlast.settings import Settings, load
from outlast.settings_alerts import BUILT_IN, FIGURES, RuleSettings

PAGE = "docs/alerts.md"
TEXT = (ROOT / PAGE).read_text()


def test_the_settings_of_the_page_are_valid_and_mean_what_it_says():
    (shown,) = snippets(PAGE, "toml")
    settings = load(project=tomllib.loads(shown))
    rules = {rule.name: rule for rule in settings.alerts.in_force()}

    assert rules["dead_letters"].above == 3
    assert "lease_losses" not in rules
    assert (rules["dear"].after.total_seconds(), rules["dear"].agents) == (300, ("support",))
    assert settings.alerts.heartbeat.url


def test_every_rule_is_shown_with_its_limit_its_time_and_its_severity():
    rows = re.findall(r"^\| `(\w+)` \| (?:`(\w+)`|[^|]+) \| (?:> ([\d.]+))? ?\| (?:(\d+) min)? ?\| ([\w ]+) \|$", TEXT,
                      re.MULTILINE)  # fmt: skip
    shown = {name: (metric or None, above, minutes, severity) for name, metric, above, minutes, severity in rows}

    assert shown == {name: _cells(rule) for name, rule in BUILT_IN.items()}


def _cells(rule: RuleSettings) -> tuple[str | None, str, str, str]:
    minutes = (rule.after.total_seconds() if rule.after else 0) / 60
    above = "" if rule.above is None else f"{rule.above:g}"
    return rule.metric, above, f"{minutes:g}" if minutes else "", rule.severity or "as found"


def test_every_figure_is_shown_with_what_it_says():
    rows = re.findall(r"^\| `(\w+)` \| (?:agent|model|budget|loop|channel)? ?\| (.+) \|$", TEXT, re.MULTILINE)

    assert dict(rows) == dict(FIGURES)


def test_every_setting_is_shown():
    named = set(re.findall(r"`(alerts\.[a-z_.]+)`", TEXT))
    settings = {setting.key for setting in settings_of(Settings) if setting.key.startswith("alerts.")}

    assert named == {key for key in settings if ".rules." not in key}
