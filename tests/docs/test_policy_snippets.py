"""What the page about policies shows is what works."""

import re
import tomllib
from datetime import UTC, datetime

from pages import ROOT, run_snippet, snippets

import outlast
from outlast.agents.own_policies import engine_of
from outlast.agents.project import Project, load_project
from outlast.domain.policy import PolicyFacts, PolicyRequest
from outlast.policies import examples
from outlast.policies.building import build
from outlast.settings import load
from outlast.settings_policies import PolicySettings

PAGE = "docs/policies.md"
SATURDAY = datetime(2026, 11, 21, 12, tzinfo=UTC)


def shown(number: int) -> str:
    return snippets(PAGE, "toml")[number]


async def test_the_settings_of_the_page_decide_its_examples(tmp_path):
    settings = load(project=tomllib.loads(shown(0))).policies
    (tmp_path / "examples.toml").write_text(snippets(PAGE, "TOML")[0])
    engine = engine_of(settings, Project(root=tmp_path))
    tried = await examples.tried(engine, examples.read(tmp_path / "examples.toml"), now=SATURDAY)
    await engine.aclose()
    assert [result.problem for result in tried] == [None, None]


async def test_the_policy_of_the_page_is_found_and_decides(tmp_path):
    (tmp_path / "policies.py").write_text(snippets(PAGE, "python")[0])
    (tmp_path / "outlast.toml").write_text('[agents]\na = "./policies.py:Weekends"\n' + shown(1))
    project = load_project(tmp_path / "outlast.toml")
    engine = engine_of(load(project=project.settings).policies, project)
    (policy,) = engine.policies
    facts = PolicyFacts(tenant="trial", agent="support", at=SATURDAY)
    assert policy.decide(PolicyRequest(kind="run", agent="support"), facts) == outlast.Refuse("no runs on weekends")
    asked = policy.decide(PolicyRequest(kind="tool", agent="support", tool="refund"), facts)
    assert isinstance(asked, outlast.AskHuman)


async def test_the_policy_of_the_page_needs_no_project():
    names = await run_snippet(snippets(PAGE, "python")[0], {})
    assert issubclass(names["Weekends"], outlast.Policy)


def test_the_page_names_every_built_in_policy_and_every_fact():
    text = (ROOT / PAGE).read_text()
    full = PolicySettings(
        models={"deny": ["x"]}, tools={"deny": ["x"]}, runs={"steps": 1}, hours={"opens": "08:00"},
        patterns={"x": {"pattern": "x"}}, personal_data={"found": "mask"},
    )  # fmt: skip
    table = re.findall(r"^\| `(\w+)` \| (?:runs|models|tools)", text, re.MULTILINE)
    assert table == [policy.called for policy in build(full, load=lambda _: None)]
    for name in PolicyFacts.__dataclass_fields__:
        assert f"`{name}`" in text
    for name in PolicyRequest.__dataclass_fields__:
        assert f"`{name}`" in text
