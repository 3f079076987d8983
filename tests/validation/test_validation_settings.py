"""The validators that `outlast.toml` names, and what it says that happens."""

from pathlib import Path
from typing import Any

import pytest

from outlast.agents.own_validators import validation_of
from outlast.agents.project import load_project
from outlast.errors import ConfigurationError, InvalidInput
from outlast.settings import load
from outlast.validation import cases
from outlast.validation.engine import Validation
from outlast.validation.rules import Rules
from outlast.validation.validator import Context, Invalid

CODE = """
import outlast
from pydantic import BaseModel

class Refund(outlast.Validator):
    def __init__(self, most=500):
        self.most = most

    def validate(self, output, context):
        return outlast.Invalid("too much") if output["amount"] > self.most else outlast.Valid()

class Broken(outlast.Validator):
    def __init__(self, needed):
        pass
    def validate(self, output, context):
        return outlast.Valid()

class Contract(BaseModel):
    amount: int

small = Refund(most=5)
nothing = 7
"""


def opened(folder: Path, toml: str) -> Validation:
    (folder / "own_code.py").write_text(CODE)
    (folder / "amount.json").write_text('{"type": "object", "required": ["amount"]}')
    (folder / "outlast.toml").write_text(f'[agents]\nsupport = "./own_code.py:agent"\n{toml}')
    project = load_project(folder / "outlast.toml")
    return validation_of(load(project=project.settings).validation, project)


async def said(validation: Validation, output: Any) -> list[str]:
    verdict = await validation.of("support").check(output, Context())
    await validation.aclose()
    return [reason.by or "" for reason in verdict.reasons] if isinstance(verdict, Invalid) else []


async def test_classes_objects_options_files_and_models_of_the_project_are_found(tmp_path: Path):
    toml = """
    [validation]
    validators = ["./own_code.py:Refund"]
    [validation.agents.support]
    validators = [
      "./own_code.py:small", {use = "./own_code.py:Refund", most = 50}, {use = "schema", file = "amount.json"},
      {use = "schema", name = "model", model = "./own_code.py:Contract"},
    ]
    """
    assert await said(opened(tmp_path, toml), {"amount": 100.5}) == ["Refund", "Refund", "model"]
    assert await said(opened(tmp_path, toml), {"amount": 5}) == []


WRONG = {
    '["requird"]': r"validation.validators\[0\]: 'requird' is no built-in validator \(required, schema",
    '[{use = "dates", futur = ["a"]}]': r"validation.validators\[0\], dates: futur: Extra inputs",
    '[{use = "dates"}]': "give future, past, ordered",
    '[{use = "dates", future = ["a"], zone = "Mars"}]': "'Mars' is no time zone",
    '[{use = "ranges", fields = {a = {min = 2, max = 1}}}]': "nothing is between 2 and 1",
    '[{use = "patterns", forbid = {a = "("}}]': "no regular expression",
    '[{use = "schema", schema = {type = "strin"}}]': "it is no JSON Schema",
    '[{use = "schema"}]': "give one of schema, file and model",
    '[{use = "schema", file = "missing.json"}]': "No such file",
    '[{use = "schema", model = "./own_code.py:nothing"}]': "is no type that pydantic knows",
    r"[{use = 'schema', schema = {patternProperties = {'^(a+)+$' = {}}}}]": "may take for ever",
    '[{use = "citations", marker = "x"}]': "a marker has one group",
    r"[{use = 'citations', marker = '\[(.+)\]'}]": "no repetition without an end",
    '[{use = "language", language = "elvish"}]': "'elvish' is not known",
    '[{use = "judge", criteria = "x", model = "m", show = ["diary"]}]': "'diary' cannot be shown",
    '[{fields = ["a"]}]': "give a name, an outlast.Validator, or a table with `use`",
    '["./own_code.py:nothing"]': "is no outlast.Validator",
    '["./own_code.py:Broken"]': "cannot be made of nothing: TypeError",
    '["./own_code.py:Refnd"]': "Refnd",
    '[{use = "./own_code.py:small", most = 1}]': "takes no options: it is made already",
}


@pytest.mark.parametrize("validators", WRONG)
def test_what_cannot_be_made_is_told_at_the_start(tmp_path: Path, validators: str):
    with pytest.raises(ConfigurationError, match=WRONG[validators]):
        opened(tmp_path, f"[validation]\nvalidators = {validators}")


def test_validators_of_an_agent_that_is_not_there_are_told_at_the_start(tmp_path: Path):
    with pytest.raises(ConfigurationError, match=r"validation.agents.suport: there is no agent 'suport'.*: support"):
        opened(tmp_path, '[validation.agents.suport]\nvalidators = ["required"]')


def rules(**table: Any) -> Rules:
    return Rules.of(load(project={"validation": table}).validation, "support")


BAD = {severity: Invalid("x", severity) for severity in ("low", "medium", "high")}


def test_repairs_are_bounded_and_then_comes_what_then_says():
    given = rules(repairs=2, then="fail")
    assert [given.action(BAD["medium"], repaired=count) for count in range(4)] == ["repair", "repair", "fail", "fail"]
    assert rules(repairs=0).action(BAD["low"]) == "escalate"


def test_a_severity_may_have_its_own_way():
    given = rules(severities={"low": "accept", "high": "escalate"})
    assert [given.action(BAD[severity]) for severity in BAD] == ["accept", "repair", "escalate"]


def test_an_agents_own_word_counts_before_that_for_all():
    own = {"repairs": 1, "severities": {}, "sources": {"file": "input.file"}}
    given = rules(on_invalid="fail", then="accept", severities={"low": "accept"}, agents={"support": own})
    assert given == Rules(on_invalid="fail", repairs=1, then="accept", severities={}, sources={"file": "input.file"})


@pytest.mark.parametrize(
    "table", [{"then": "repair"}, {"repairs": -1}, {"repairs": 1000}, {"agents": {"a": {"valdators": []}}}]
)
def test_settings_that_would_never_end_are_refused(table: dict[str, Any]):
    with pytest.raises(ConfigurationError):
        load(project={"validation": table})


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"output": 1, "nwo": "x"}', "output 1.nwo"),
        ('[{"output": 1}, {"output": 1, "attempt": 0}]', "output 2.attempt"),
        ("{", "it is a file of JSON"),
    ],
)  # fmt: skip
def test_a_file_of_outputs_that_cannot_be_read_says_what_is_wrong(tmp_path: Path, content: str, problem: str):
    (tmp_path / "outputs.json").write_text(content)
    with pytest.raises(InvalidInput, match=problem):
        cases.read(tmp_path / "outputs.json")
