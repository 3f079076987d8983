"""What the pages about monitoring name is what there is."""

import json
import re

import pytest
import typer
from pages import ROOT

from outlast.cli.main import app
from outlast.setting_names import settings_of
from outlast.settings import Settings

PAGES = ["docs/monitoring.md", "docs/runbook.md", "deploy/monitoring/README.md"]


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_names_exist(page):
    for words in re.findall(r"`outlast ([a-z][a-z -]*)", (ROOT / page).read_text()):
        command = typer.main.get_command(app)
        for word in re.sub(r" -.*", "", words).split():
            if not hasattr(command, "commands"):
                break
            assert word in command.commands, f"outlast {words}"
            command = command.commands[word]


@pytest.mark.parametrize("page", PAGES)
def test_settings_that_a_page_names_exist(page):
    keys = {setting.key for setting in settings_of(Settings)}
    tables = {key.rpartition(".")[0] for key in keys}
    text = (ROOT / page).read_text()
    assert set(re.findall(r"`((?:worker|retry|calls|database|alerts|metrics|recovery)\.[a-z_.]+)`", text)) <= keys
    assert set(re.findall(r"`\[([a-z.]+)\]`", text)) <= tables
    variables = {setting.variable for setting in settings_of(Settings)}
    assert set(re.findall(r"OUTLAST_[A-Z_]+", text)) <= variables


def test_the_dashboards_of_the_page_are_those_that_are_shipped():
    table = (ROOT / PAGES[0]).read_text().split("| dashboard |")[1].split("\n\n")[0]
    shipped = (ROOT / "deploy" / "monitoring" / "grafana" / "dashboards").glob("*.json")
    titles = {json.loads(file.read_text())["title"].removeprefix("Outlast: ") for file in shipped}
    assert set(re.findall(r"^\| ([a-z ]+) \|", table, re.MULTILINE)) == titles
