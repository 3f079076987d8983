"""What the page about metrics shows is what works; its table: tests/monitoring/metrics/test_metric_table.py."""

import re
import tomllib

from pages import ROOT, snippets

from outlast.setting_names import settings_of
from outlast.settings import Settings, load

PAGE = "docs/metrics.md"


def test_the_settings_of_the_page_are_valid_with_those_that_are_commented_out():
    (shown,) = snippets(PAGE, "toml")
    everything = re.sub(r"^# (?=\w+ = )", "", shown, flags=re.MULTILINE)
    settings = load(project=tomllib.loads(everything))
    assert settings.metrics.listen == "127.0.0.1:9464"
    assert str(settings.metrics.directory) == ".outlast/counted"
    assert settings.metrics.most_values == 100


def test_settings_that_the_page_names_exist():
    known = {setting.key for setting in settings_of(Settings)}
    assert set(re.findall(r"`(metrics\.[a-z_]+)`", (ROOT / PAGE).read_text())) <= known
