"""Grafana panels and dashboards as data: what they ask Prometheus for, and where they stand."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

#: Of Grafana's 24 columns.
COLUMNS: Final = 24
#: The lowest version of Grafana that these were made for, as its number of the format.
SCHEMA: Final = 39
_SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}
# What a query may say for short: the installation and the agents that are chosen at the top of a dashboard.
_CHOSEN: Final = {
    "%I": 'installation=~"$installation"',
    "%A": 'installation=~"$installation", agent_name=~"$agent"',
}
_STAT: Final = {"reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False}}
_OPTIONS: Final[dict[str, dict[str, Any]]] = {
    "stat": {**_STAT, "colorMode": "value", "graphMode": "area", "textMode": "auto"},
    "bargauge": {**_STAT, "displayMode": "basic", "orientation": "horizontal"},
    "timeseries": {
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": True},
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "table": {"showHeader": True},
}
_HEIGHTS: Final = {"stat": 4, "bargauge": 8, "timeseries": 8, "table": 8}


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One picture: `queries` are PromQL with what each line is called; `limits` colour a value from there on."""

    kind: str
    title: str
    about: str
    queries: tuple[tuple[str, str], ...]
    unit: str = "short"
    width: int = 12
    limits: tuple[tuple[float, str], ...] = ()
    stacked: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """Panels below a line of text; they fill it from left to right."""

    title: str
    panels: tuple[Panel, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A page of sections."""

    uid: str
    title: str
    about: str
    sections: tuple[Section, ...]
    variables: tuple[str, ...] = field(default=("installation", "agent"))


def stat(title: str, about: str, query: str, unit: str = "short", *limits: tuple[float, str]) -> Panel:
    """Describe a large figure, green below the limits."""
    return Panel(kind="stat", title=title, about=about, queries=((query, ""),), unit=unit, width=4, limits=limits)


def lines(
    title: str, about: str, *queries: tuple[str, str], unit: str = "short", width: int = 12, stacked: bool = False
) -> Panel:
    """Describe lines over time."""
    return Panel(
        kind="timeseries", title=title, about=about, queries=queries, unit=unit, width=width, stacked=stacked
    )  # fmt: skip


def bars(title: str, about: str, query: tuple[str, str], unit: str, *limits: tuple[float, str]) -> Panel:
    """Describe a bar for each series."""
    return Panel(kind="bargauge", title=title, about=about, queries=(query,), unit=unit, limits=limits)


def quantile(share: float, histogram: str, chosen: str) -> str:
    """Return the query for what this share of a histogram's events stays below."""
    return f"histogram_quantile({share}, sum by (le) (rate({histogram}_bucket{{{chosen}}}[$__rate_interval])))"


def table(title: str, about: str, *queries: tuple[str, str], unit: str = "short", width: int = 24) -> Panel:
    """Describe a row for each series, as it stands now."""
    return Panel(kind="table", title=title, about=about, queries=queries, unit=unit, width=width)


def rendered(dashboard: Dashboard) -> dict[str, Any]:
    """Return what Grafana imports."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.about,
        "tags": ["outlast"],
        "schemaVersion": SCHEMA,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "timezone": "",
        "time": {"from": "now-6h", "to": "now"},
        "links": [_others()],
        "annotations": {"list": []},
        "templating": {"list": [_data_source(), *(_variable(name) for name in dashboard.variables)]},
        "panels": list(_placed(dashboard.sections)),
    }


def _placed(sections: Iterable[Section]) -> Iterator[dict[str, Any]]:
    number, top = 0, 0
    for section in sections:
        number += 1
        yield {
            "id": number, "type": "row", "title": section.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": top, "w": COLUMNS, "h": 1},
        }  # fmt: skip
        top, left, tallest = top + 1, 0, 0
        for panel in section.panels:
            number += 1
            height = _HEIGHTS[panel.kind]
            if left + panel.width > COLUMNS:
                top, left, tallest = top + tallest, 0, 0
            yield _panel(panel, number, {"x": left, "y": top, "w": panel.width, "h": height})
            left, tallest = left + panel.width, max(tallest, height)
        top += tallest


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps = [{"color": "green", "value": None}, *({"color": name, "value": at} for at, name in panel.limits)]
    custom = {"fillOpacity": 10, "stacking": {"mode": "normal" if panel.stacked else "none"}}
    return {
        "id": number,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.about,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": [_target(panel, at, *query) for at, query in enumerate(panel.queries)],
        "fieldConfig": {
            "defaults": {
                "unit": panel.unit,
                "thresholds": {"mode": "absolute", "steps": steps},
                "custom": custom if panel.kind == "timeseries" else {},
            },
            "overrides": [],
        },
        "options": _OPTIONS[panel.kind],
        # Of several queries a table shows the columns beside each other.
        "transformations": [{"id": "merge", "options": {}}] if panel.kind == "table" else [],
    }


def _target(panel: Panel, at: int, query: str, legend: str) -> dict[str, Any]:
    for short, meant in _CHOSEN.items():
        query = query.replace(short, meant)
    # What changes over time is drawn; anything else is asked for once.
    now = panel.kind in {"bargauge", "table"}
    return {
        "refId": chr(ord("A") + at),
        "datasource": _SOURCE,
        "expr": " ".join(query.split()),
        "legendFormat": legend,
        "instant": now,
        "range": not now,
        "format": "table" if panel.kind == "table" else "time_series",
    }


def _data_source() -> dict[str, Any]:
    return {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "hide": 0}


def _variable(name: str) -> dict[str, Any]:
    query = {
        "installation": "label_values(outlast_workers, installation)",
        "agent": 'label_values(agent_tasks_total{installation=~"$installation"}, agent_name)',
    }[name]
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": _SOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
        "multi": True,
        "includeAll": True,
        # Also what has no such label.
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "hide": 0,
    }


def _others() -> dict[str, Any]:
    return {
        "type": "dashboards", "title": "Outlast", "tags": ["outlast"], "asDropdown": True, "includeVars": True,
        "keepTime": True, "targetBlank": False,
    }  # fmt: skip
