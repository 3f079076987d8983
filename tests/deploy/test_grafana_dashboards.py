"""Dashboards as Grafana would read them: their form, their layout, and that they are what the script writes."""

import importlib
import itertools
import json
from pathlib import Path

import jsonschema
import pytest
import yaml
from monitored import BOARDS, SHIPPED, boards, queries, selectors

SCHEMA = json.loads((Path(__file__).parent / "grafana_dashboard.schema.json").read_text())
NAMES = sorted(boards())


def test_they_are_the_five_that_the_script_writes():
    texts = importlib.import_module("dashboards").texts()
    assert sorted(texts) == BOARDS, "run: python deploy/monitoring/dashboards.py"
    for path, text in texts.items():
        assert path.read_text() == text, f"{path.name} is not up to date: python deploy/monitoring/dashboards.py"


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_has_the_form_that_grafana_reads(name):
    jsonschema.validate(boards()[name], SCHEMA)


@pytest.mark.parametrize("name", NAMES)
def test_panels_have_numbers_of_their_own_and_none_covers_another(name):
    panels = boards()[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for panel in panels:
        assert panel["gridPos"]["x"] + panel["gridPos"]["w"] <= 24
    for one, other in itertools.combinations((panel["gridPos"] for panel in panels), 2):
        apart = (
            one["x"] + one["w"] <= other["x"]
            or other["x"] + other["w"] <= one["x"]
            or one["y"] + one["h"] <= other["y"]
            or other["y"] + other["h"] <= one["y"]
        )
        assert apart, (one, other)


def test_uids_titles_and_the_data_source_are_what_provisioning_needs():
    found = boards().values()
    assert len({board["uid"] for board in found}) == len({board["title"] for board in found}) == len(BOARDS)
    folder = yaml.safe_load((SHIPPED / "grafana" / "provisioning" / "dashboards" / "outlast.yml").read_text())
    compose = yaml.safe_load((SHIPPED / "compose.yml").read_text())
    mounts = [volume.split(":") for volume in compose["services"]["grafana"]["volumes"]]
    (place,) = [mount[0] for mount in mounts if mount[1] == folder["providers"][0]["options"]["path"]]
    assert (SHIPPED / place).resolve() == BOARDS[0].parent


def test_every_query_of_every_panel_is_promql():
    for place, query in queries():
        assert "$" not in query, f"{place}: a variable without a value"
        assert selectors(query), place


def test_the_overview_shows_what_the_first_look_is_for():
    titles = [panel["title"] for panel in boards()["outlast-overview.json"]["panels"]]
    for title in ("Success rate", "Average latency", "P99 latency", "Tokens per hour", "Cost per hour"):
        assert title in titles
    assert "Low confidence" in titles
    assert [title for title in titles if title.startswith("Error breakdown")]
