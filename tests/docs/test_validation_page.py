"""What the page about validation shows is what works."""

import json
import re
import tomllib
from pathlib import Path

from pages import ROOT, run_snippet, snippets

import outlast
from outlast.agents.own_validators import validation_of
from outlast.agents.project import load_project
from outlast.settings import load
from outlast.settings_validation import ValidationSettings
from outlast.validation.building import BUILT_IN
from outlast.validation.cases import Case
from outlast.validation.checks.check import CheckOptions
from outlast.validation.engine import Validation
from outlast.validation.validator import utc_now

PAGE = "docs/validation.md"


async def test_the_settings_of_the_page_find_what_the_page_says(tmp_path: Path):
    (tmp_path / "outlast.toml").write_text(snippets(PAGE, "toml")[0])
    project = load_project(tmp_path / "outlast.toml")
    validation = validation_of(load(project=project.settings).validation, project)
    case = Case.model_validate(json.loads(snippets(PAGE, "JSON")[0]))
    agent = validation.of("contracts")
    verdict = await agent.check(case.output, case.context(agent, utc_now()))
    await validation.aclose()
    assert isinstance(verdict, outlast.Invalid)
    shown = re.findall(r"^output 1 +(\w+) +(\w+) +(\w+) +(\S+) .*?(\w+)$", snippets(PAGE, "text")[0], re.MULTILINE)
    action = agent.rules.action(verdict)
    assert shown == [(verdict.severity, reason.by, reason.code, reason.field, action) for reason in verdict.reasons]


def test_the_judge_of_the_page_can_be_made():
    table = tomllib.loads(snippets(PAGE, "toml")[1])["validation"]
    validation = Validation(ValidationSettings(**table), agents=["support"], load=lambda _: None)
    assert [one.called for one in validation.of("support").validators()] == ["leaks", "judge"]


async def test_the_validator_of_the_page_decides_and_its_graph_is_looked_at():
    names = await run_snippet(snippets(PAGE, "python")[0], {})
    verdict = names["Refund"]().validate({"amount": 600}, outlast.ValidationContext())
    assert (verdict.severity, verdict.fields) == ("high", ("amount",))
    names = await run_snippet(snippets(PAGE, "python")[1], names)
    validation = Validation(ValidationSettings(), agents=["a"], load=lambda _: None)
    agent = validation.of("a", names["graph"])
    assert [one.called for one in agent.validators()] == ["Refund", "required"]
    assert await agent.check(await names["graph"].ainvoke({}), outlast.ValidationContext()) == outlast.Valid()
    await validation.aclose()


def test_the_page_names_every_built_in_validator_with_its_options_and_every_field_of_the_context():
    text = (ROOT / PAGE).read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| .+? \| (.+?) \|$", text, re.MULTILINE))
    assert list(rows) == list(BUILT_IN)
    for name, options in rows.items():
        if name != "detectors":
            for option in options_of(name) - {*CheckOptions.model_fields, "at"}:
                assert f"`{option}`" in options, (name, option)
    for name in outlast.ValidationContext.__dataclass_fields__:
        assert f"`{name}`" in text


def options_of(name: str) -> set[str]:
    from importlib import import_module

    module, _, attribute = BUILT_IN[name].partition(":")
    fields = getattr(import_module(module), attribute).takes.model_fields
    return {field.alias or key for key, field in fields.items()}
