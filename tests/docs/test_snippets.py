"""What the documentation shows is what works."""

import asyncio
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from langgraph.graph import START, StateGraph
from pages import FENCE, PAGES, ROOT, run_snippet, snippets

import outlast
from outlast.agents.project import find_project


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


async def test_the_checkpointer_of_the_readme_runs_as_it_is_shown(database_url):
    async def answer(state: dict) -> dict:
        return {"said": f"You said: {state['said']}"}

    builder = StateGraph(dict)
    builder.add_node("answer", answer)
    builder.add_edge(START, "answer")
    config = {"configurable": {"thread_id": "1"}}
    names = {"outlast": outlast, "url": database_url, "builder": builder, "inputs": {"said": "hello"}, "config": config}

    await run_snippet(snippets("README.md", "python")[-1], names)

    async with outlast.Checkpointer.open(database_url) as saver:
        kept = await builder.compile(checkpointer=saver).aget_state(config)
    assert kept.values == {"said": "You said: hello"}


def test_the_project_file_of_the_chat_page_is_valid(tmp_path):
    (shown,) = snippets("examples/chat-ui.md", "json")
    (tmp_path / "langgraph.json").write_text(json.dumps({"graphs": {"agent": "./agent.py:graph"}, **json.loads(shown)}))

    http = find_project(tmp_path).sections.http

    assert http.cors.allow_origins == ("https://chat.example.com", "https://agentchat.vercel.app")


@pytest.mark.parametrize("page", PAGES)
def test_links_between_pages_lead_somewhere(page):
    base = (ROOT / page).parent
    for target, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)#?([^)\s]*)\)", (ROOT / page).read_text()):
        there = base / target if target else ROOT / page
        assert there.exists(), f"{page} links to {target}"
        assert not anchor or anchor in anchors(there), f"{page} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.*)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_diagram_of_the_docs_is_the_table_of_transitions():
    from outlast.domain.run import TRANSITIONS

    arrows = re.findall(r"^\s+(\w+) --> (\w+)", (ROOT / "docs/run-lifecycle.md").read_text(), re.MULTILINE)

    assert set(arrows) == {(before.value, after.value) for before, later in TRANSITIONS.items() for after in later}
