"""`outlast validate`: an output in a file, looked at without a database."""

import json
from pathlib import Path
from typing import Any

import pytest
from outlast_command import outlast

CODE = """
import outlast
from langgraph.graph import START, StateGraph

class Unlucky(outlast.Validator):
    def validate(self, output, context):
        return outlast.Invalid("13 is unlucky", fields=["price"]) if output["price"] == 13 else outlast.Valid()

builder = StateGraph(dict)
builder.add_node("work", lambda state: state)
builder.add_edge(START, "work")
graph = outlast.validated(builder.compile(), Unlucky())
"""
SETTINGS = """
[agents]
contracts = "./agent_of_validate.py:graph"

[validation]
severities = {high = "escalate"}
[validation.agents.contracts]
validators = [{use = "dates", future = ["closing"]}, {use = "source", fields = {price = "number"}, severity = "high"}]
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "agent_of_validate.py").write_text(CODE)
    (tmp_path / "outlast.toml").write_text(SETTINGS)
    return tmp_path


def given(project: Path, content: Any) -> str:
    (project / "output.json").write_text(json.dumps(content))
    return "output.json"


CASE = {"name": "odd", "now": "2026-11-21T12:00:00Z", "input": {"contract": "for $250,000"}}


def test_each_reason_is_a_line_with_what_would_happen(project: Path):
    file = given(project, {**CASE, "output": {"closing": "2026-11-20", "price": 13}})
    said = outlast("validate", file, cwd=project)
    assert said.returncode == 1, said.stderr
    lines = [line.split("\t") for line in said.stdout.splitlines()]
    assert lines[0] == ["output", "severity", "by", "code", "field", "reason", "then"]
    assert [(line[0], line[1], line[2], line[3], line[6]) for line in lines[1:]] == [
        ("odd", "high", "dates", "in_the_past", "escalate"), ("odd", "high", "source", "not_in_source", "escalate"),
        ("odd", "high", "Unlucky", "invalid", "escalate"),
    ]  # fmt: skip


def test_several_outputs_as_json_for_programs(project: Path):
    good, late = ({**CASE, "output": {"closing": day, "price": "250k"}} for day in ("2026-12-01", "2026-01-01"))
    said = outlast("validate", given(project, [good, {**late, "attempt": 3}]), "--json", cwd=project)
    assert said.returncode == 1
    first, second = json.loads(said.stdout)
    assert (first["valid"], first["then"], first["validators"]) == (True, None, ["dates", "source", "Unlucky"])
    # Of a run that was repaired twice already.
    assert (second["severity"], second["fields"], second["then"]) == ("medium", ["closing"], "escalate")


def test_an_output_alone_is_looked_at_now(project: Path):
    (project / "outlast.toml").write_text('[agents]\ncontracts = "./agent_of_validate.py:graph"\n')
    said = outlast("validate", given(project, {"price": 14}), cwd=project)
    assert said.returncode == 0, said.stderr
    assert said.stdout.splitlines()[1].split("\t")[:2] == ["output 1", "valid"]


def test_a_node_that_nobody_looks_at_is_told(project: Path):
    said = outlast("validate", given(project, {"output": {}, "node": "work"}), cwd=project)
    assert said.returncode == 0
    assert "nothing looks at it" in said.stderr


def test_a_validator_that_cannot_be_made_is_told(project: Path):
    (project / "outlast.toml").write_text(SETTINGS.replace('use = "dates"', 'use = "date"'))
    said = outlast("validate", given(project, {"price": 1}), cwd=project)
    assert said.returncode == 2
    assert "'date' is no built-in validator" in said.stderr
