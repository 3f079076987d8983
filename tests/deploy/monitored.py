"""What is shipped for Prometheus and Grafana, read as data, and the programs that judge it."""

import importlib
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ROOT / "deploy" / "monitoring"
RULES = sorted((SHIPPED / "prometheus" / "rules").glob("*.yml"))
RULE_TESTS = sorted((SHIPPED / "prometheus" / "tests").glob("*.yml"))
BOARDS = sorted((SHIPPED / "grafana" / "dashboards").glob("*.json"))
#: What Prometheus adds, and what Grafana puts in the place of its variables.
OF_PROMETHEUS = {"up", "ALERTS"}
VARIABLES = {"$installation": ".*", "$agent": ".*", "$__rate_interval": "1m", "$__range": "1h"}


@cache
def program(name: str) -> Path:
    """Where it is; in CI it has to be had."""
    tools = importlib.import_module("prometheus_tools")
    try:
        return tools.tool(name)
    except tools.ToolMissing as missing:
        if os.environ.get("CI"):
            raise
        pytest.skip(str(missing))


def run(name: str, *arguments: object) -> str:
    """Run a program to its end, which has to be a good one."""
    ended = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@cache
def rules() -> list[dict[str, Any]]:
    """All rules: those with `alert`, and those with `record`."""
    files = [yaml.safe_load(file.read_text()) for file in RULES]
    return [rule for file in files for group in file["groups"] for rule in group["rules"]]


@cache
def alerts() -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for rule in rules() if "alert" in rule}


@cache
def boards() -> dict[str, dict[str, Any]]:
    return {file.name: json.loads(file.read_text()) for file in BOARDS}


def queries() -> Iterator[tuple[str, str]]:
    """Every query of every panel, with where it stands; variables have values."""
    for name, board in boards().items():
        for panel in board["panels"]:
            for target in panel.get("targets", []):
                yield f"{name} {panel['id']}{target['refId']}: {panel['title']}", replaced(target["expr"])


def replaced(query: str) -> str:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


def selectors(query: str) -> list[promql_parser.VectorSelector]:
    """Every selector of a query; raises ValueError when it is no PromQL."""
    found = []

    def visit(expr: Any) -> bool:
        if isinstance(expr, promql_parser.MatrixSelector):
            found.append(expr.vector_selector)
        elif isinstance(expr, promql_parser.VectorSelector):
            found.append(expr)
        return True

    promql_parser.walk(promql_parser.parse(query), visit)
    return found


sys.path += [str(ROOT / "scripts"), str(SHIPPED)]
