"""`outlast import langgraph`: what a person sees, and what a script reads."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.graph import START, StateGraph
from outlast_command import make_project, outlast
from psycopg.conninfo import make_conninfo


def count(state: dict[str, int]) -> dict[str, int]:
    return {"n": state.get("n", 0) + 1}


@pytest.fixture
async def source(database_url: str) -> str:
    """The URL of a database with three threads of LangGraph's saver."""
    url = make_conninfo(database_url, options="-c search_path=public")
    async with AsyncPostgresSaver.from_conn_string(url) as saver:
        await saver.setup()
        graph = StateGraph(dict).add_node("count", count).add_edge(START, "count").compile(checkpointer=saver)
        for name in ("first", "second", str(uuid4())):
            await graph.ainvoke({"n": 1}, {"configurable": {"thread_id": name}})
    return database_url


def bring(folder: Path, source: str, *arguments: str):
    return outlast("import", "langgraph", "--from", source, *arguments, cwd=folder, DATABASE_URL=source)


def test_threads_are_brought_over_and_told(tmp_path, source):
    folder = make_project(tmp_path)
    report = tmp_path / "report.json"

    tried = bring(folder, source, "--dry-run")
    done = bring(folder, source, "--agent", "steady", "--report", str(report))
    again = bring(folder, source, "--thread", "first")

    assert (tried.returncode, done.returncode, again.returncode) == (0, 0, 0), done.stderr
    assert "3 can be imported" in tried.stdout
    assert "3 imported" in done.stdout
    assert json.loads(report.read_text()) == {
        "threads": 3, "checkpoints": 9, "writes": json.loads(report.read_text())["writes"], "imported": 3, "failed": {},
    }  # fmt: skip
    assert "1 were there already" in again.stdout


def test_what_cannot_be_done_is_said(tmp_path, source):
    folder = make_project(tmp_path)

    agent = bring(folder, source, "--agent", "nobody")
    schema = bring(folder, source, "--schema", "outlast")

    assert (agent.returncode, schema.returncode) == (2, 2)
    assert "no agent 'nobody'" in agent.stderr
    assert "no tables of LangGraph's PostgresSaver" in schema.stderr
