"""The table of figures is complete, follows Prometheus' rules, and is what the page shows."""

import re
from pathlib import Path

import pytest

from outlast.monitoring.metrics.figure import NAMES
from outlast.monitoring.metrics.table import FIGURES, HEARD
from outlast.telemetry import POINTS

PAGE = Path(__file__).parents[3] / "docs" / "metrics.md"
SOURCES = Path(__file__).parents[3] / "src" / "outlast" / "monitoring" / "metrics"
UNITS = ("_seconds", "_bytes", "_ratio", "_score", "_total", "_timestamp_seconds")


def row(figure):
    labels = ", ".join(
        f"`{name}`" if values is NAMES else f"`{name}`: {', '.join(values)}" for name, values in figure.labels.items()
    )
    return f"| `{figure.name}` | {figure.kind} | {labels} | {figure.help} |"


def test_the_page_shows_each_figure_as_it_is():
    shown = {line for line in PAGE.read_text().splitlines() if re.match(r"\| `(agent|outlast)_", line)}
    assert shown == {row(figure) for figure in FIGURES.values()}


@pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)
def test_names_follow_the_rules_of_prometheus(figure):
    assert re.fullmatch(r"[a-z][a-z_]*[a-z]", figure.name)
    assert figure.name.endswith("_total") == (figure.kind == "counter")
    assert figure.kind != "histogram" or (
        figure.name.endswith(UNITS) and figure.buckets == tuple(sorted(figure.buckets))
    )
    assert figure.help.endswith(".")
    assert all(re.fullmatch(r"[a-z_]+", label) for label in figure.labels)
    assert not {"le", "quantile", "job", "instance", "installation"} & figure.labels.keys()


def test_no_label_is_for_somebody():
    named = {label for figure in FIGURES.values() for label, values in figure.labels.items() if values is NAMES}
    assert named <= {"agent_name", "model", "node", "tool", "route", "loop", "channel", "reason", "kind", "slo"}


def test_what_is_listened_to_is_told():
    assert HEARD.keys() <= POINTS.keys()


def test_every_figure_of_a_process_is_counted_somewhere():
    counted = "\n".join(file.read_text() for file in SOURCES.glob("*.py"))
    for concern in SOURCES.glob("of_*.py"):
        for constant, name in re.findall(r"^([A-Z_]+) = \w+\(\s*\"(\w+)\"", concern.read_text(), re.MULTILINE):
            if FIGURES[name].source == "process" and not name.startswith("outlast_stream_"):
                assert len(re.findall(rf"\b(?:add|observe|set)\(\s*(?:of_\w+\.)?{constant}\b", counted)) > 0, name
