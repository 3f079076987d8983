"""What the documentation shows is what works."""

import asyncio
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text()
    return [body for found, body in FENCE.findall(text) if found == language]


async def test_the_agent_of_the_readme_runs_as_it_is_shown(tmp_path):
    (tmp_path / "agent.py").write_text(snippets("README.md", "python")[0])
    (tmp_path / "outlast.toml").write_text(snippets("README.md", "toml")[0])
    from outlast.agents.registry import Registry, load_project

    registry = Registry(load_project(tmp_path / "outlast.toml"))
    agent = await registry.get("documents")

    assert await agent.graph.ainvoke(["a", "b"]) == ["a: done", "b: done"]
    await registry.aclose()


def test_the_project_file_of_the_readme_is_valid():
    assert tomllib.loads(snippets("README.md", "toml")[0])["agents"] == {"documents": "./agent.py:documents"}


async def test_the_checkpointer_page_runs_as_it_is_shown(database_url, tmp_path):
    script = tmp_path / "page.py"
    script.write_text(f"DATABASE_URL = {database_url!r}\n" + snippets("docs/checkpointer.md", "python")[0])

    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )

    assert ran.stdout == "You said: hello\n", ran.stderr


PAGES = ["README.md", "CHANGELOG.md", *(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    base = (ROOT / page).parent
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", (ROOT / page).read_text()):
        assert (base / target).exists(), f"{page} links to {target}"


def test_the_diagram_of_the_docs_is_the_table_of_transitions():
    from outlast.domain.run import TRANSITIONS

    arrows = re.findall(r"^\s+(\w+) --> (\w+)", (ROOT / "docs/run-lifecycle.md").read_text(), re.MULTILINE)

    assert set(arrows) == {(before.value, after.value) for before, later in TRANSITIONS.items() for after in later}
