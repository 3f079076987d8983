"""What the pages about calls show is what works: against a provider on the loopback interface, with the real SDKs."""

import ast
import asyncio
import inspect
import json
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import typer
from pages import PAGES, ROOT, run_snippet, snippets

from outlast.agents.project import AgentSpec, Project
from outlast.calls.chain import LAYERS
from outlast.cli.main import app
from outlast.domain.run import NewRun, RunStatus, RunView
from outlast.runtime import Runtime
from outlast.server.routes.usage import UsageBody, UsageReport
from outlast.setting_names import settings_of
from outlast.settings import Settings, load
from outlast.telemetry import POINTS
from outlast.testing.providers import ProviderServer, Reply, ToolCall, faults
from runtimes import opener, working

sys.path.insert(0, str(Path(__file__).parents[1] / "calls"))

from effect_receiver import receiving


@pytest.fixture
async def provider(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ProviderServer]:
    """What `openai:...` and `anthropic:...` lead to."""
    async with ProviderServer() as server:
        for name in ("OPENAI_API_BASE", "ANTHROPIC_API_URL", "OPENAI_ADMIN_KEY", "ANTHROPIC_AUTH_TOKEN"):
            monkeypatch.delenv(name, raising=False)
        monkeypatch.setenv("OPENAI_API_KEY", "test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.openai_url)
        monkeypatch.setenv("ANTHROPIC_API_KEY", "test")
        monkeypatch.setenv("ANTHROPIC_BASE_URL", server.anthropic_url)
        yield server


class Runs:
    """Starts runs of an agent that a page shows."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime = runtime

    async def start(self, given: Any) -> Any:
        run_id = uuid4()
        return await self.runtime.queue.enqueue(
            NewRun(id=run_id, agent="shown", thread_id=str(run_id), input=given, config={}, metadata={})
        )

    async def stands(self, run_id: Any) -> RunView:
        return await self.runtime.queue.wait(run_id, timeout=timedelta(seconds=20))

    async def rows(self, statement: str) -> list[tuple[Any, ...]]:
        async with self.runtime.pool.connection() as connection:
            return await (await connection.execute(statement.encode())).fetchall()


@asynccontextmanager
async def runs_of(
    code: str, attribute: str, name: str, *, folder: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Runs]:
    """A worker whose agent is this code, as a module of this name."""
    (folder / f"{name}.py").write_text(code)
    monkeypatch.syspath_prepend(folder)
    spec = AgentSpec(name="shown", path=None, module=name, attribute=attribute)
    project = Project(root=folder, agents={"shown": spec})
    open_one = opener(project, application_name="outlast-test", pool_timeout_seconds=10)
    try:
        async with open_one(url) as runtime, working(runtime):
            yield Runs(runtime)
    finally:
        sys.modules.pop(name, None)


QUESTION = {"messages": [{"role": "user", "content": "I want my money back for order 7."}]}


async def test_the_agent_of_the_readme_pays_back_once_and_goes_on_at_the_fallback(
    provider, database_url, tmp_path, monkeypatch
):
    provider.when("It is on its way.", after_tool=True)
    provider.when(Reply(tool_calls=(ToolCall("refund", {"order": "7", "cents": 700}),)), tool="refund")
    provider.fail(faults.unauthorized(), wire="openai")
    shown = snippets("README.md", "python")[1]

    async with runs_of(
        shown, "agent", "shown_readme", folder=tmp_path, url=database_url, monkeypatch=monkeypatch
    ) as runs:
        view = await runs.stands(await runs.start(QUESTION))
        effects = await runs.rows("SELECT name, state FROM effects")

    assert view.status is RunStatus.SUCCEEDED, view.error_message
    said = [message["content"] for message in view.output["messages"]]
    assert said[-2:] == ["700 cents of 7 are on their way", "It is on its way."]
    assert effects == [("refund", "done")]
    assert {request.wire for request in provider.answered} == {"anthropic"}
    assert "idempotency_key" not in json.dumps(provider.requests[-1].body), "a model must not make up the key"


def test_the_section_of_the_readme_is_short():
    section = (ROOT / "README.md").read_text().split("## Calls that survive\n")[1].split("\n## ")[0]
    assert len(section.splitlines()) <= 25


async def test_the_model_of_the_page_answers_in_an_agent(provider):
    provider.script(["Hello"])
    names = await run_snippet(snippets("docs/calls.md", "python")[0], {})

    done = await names["agent"].ainvoke(QUESTION)

    assert done["messages"][-1].text == "Hello"
    (request,) = provider.requests
    assert (request.model, request.body["temperature"]) == ("gpt-4o", 0)


async def test_a_stream_that_begins_anew_says_what_the_page_says(provider):
    names = await run_snippet(snippets("docs/calls.md", "python")[0], {})
    shown = snippets("docs/calls.md", "python")[1]
    provider.script(["An answer that is long enough to be cut off somewhere in its middle"])
    provider.fail(faults.reset_midway(3), times=1)

    chunks = [chunk async for chunk in names["model"].astream("go on")]

    begun = [chunk for chunk in chunks if "outlast" in chunk.response_metadata]
    said = eval(shown, {"chunk": begun[0]})
    expected = ast.literal_eval(shown.split("# ")[1])
    assert len(begun) == 1
    assert said == {**expected, "replaces": chunks[0].id}
    assert chunks[0].id.startswith(expected["replaces"].rstrip("."))


JOURNAL_GLUE = """

from typing import TypedDict
from langgraph.graph import START, StateGraph
from langgraph.types import interrupt

class State(TypedDict, total=False):
    item: str

READ = []

async def fetch_stock(item):
    READ.append(item)
    return 3

async def node(state):
    await quote(state)
    interrupt("is that all right?")
    return {}

agent = StateGraph(State).add_node("node", node).add_edge(START, "node").compile()
"""


async def test_what_the_journal_of_the_page_has_read_is_read_once(database_url, tmp_path, monkeypatch):
    code = snippets("docs/calls.md", "python")[2] + JOURNAL_GLUE
    async with runs_of(
        code, "agent", "shown_journal", folder=tmp_path, url=database_url, monkeypatch=monkeypatch
    ) as runs:
        run_id = await runs.start({"item": "chair"})
        waiting = await runs.stands(run_id)
        assert waiting.status is RunStatus.WAITING, waiting.error_message
        await runs.runtime.queue.answer(run_id, "yes")
        view = await runs.stands(run_id)
        series = await runs.rows("SELECT series FROM call_journal ORDER BY series")

        assert (view.status, sys.modules["shown_journal"].READ) == (RunStatus.SUCCEEDED, ["chair"])
    assert [name for (name,) in series] == ["clock", "uuid", "value:exchange_rate", "value:stock"]


async def test_the_node_of_the_page_tells_a_refusal_and_answers_the_rest(provider):
    names = await run_snippet(snippets("docs/calls.md", "python")[3], {})
    provider.fail(faults.content_policy(), times=1)
    provider.script(["Hello"])

    refused, answered = [await names["node"](QUESTION) for _ in range(2)]

    assert refused == {"messages": [("ai", "I may not answer that (refused).")]}
    assert answered["messages"][0].text == "Hello"
    assert [request.wire for request in provider.requests] == ["openai", "openai"], "no other model is asked"


async def test_the_fallbacks_of_the_page_are_asked_in_their_order(provider):
    names = await run_snippet(snippets("docs/calls.md", "python")[4], {})
    assert len(snippets("docs/calls.md", "python")) == 5, "each one runs here"
    provider.fail(faults.unauthorized(), wire="openai")
    provider.script(["Hello"])

    answer = await names["model"].ainvoke("hello")

    assert [request.model for request in provider.requests] == ["gpt-4o", "gpt-4o-mini", "claude-haiku-4-5"]
    assert answer.response_metadata["outlast"] == {"model": "anthropic:claude-haiku-4-5"}


EFFECT_GLUE = """

from typing import TypedDict
from langgraph.graph import START, StateGraph

class State(TypedDict, total=False):
    charged: dict

async def node(state):
    return {"charged": await charge("ada", 700)}

agent = StateGraph(State).add_node("node", node).add_edge(START, "node").compile()
"""


async def test_the_effect_of_the_page_is_applied_once_though_its_answer_is_lost(database_url, tmp_path, monkeypatch):
    (shown,) = snippets("docs/effects.md", "python")
    async with receiving() as receiver:
        receiver.fates.append("reset")
        code = shown.replace("https://payments.example", receiver.url) + EFFECT_GLUE
        assert receiver.url in code
        async with runs_of(
            code, "agent", "shown_effect", folder=tmp_path, url=database_url, monkeypatch=monkeypatch
        ) as runs:
            view = await runs.stands(await runs.start({}))

    assert view.status is RunStatus.SUCCEEDED, view.error_message
    assert view.output["charged"] == {"number": 1, "of": {"customer": "ada", "cents": 700}}
    assert (len(receiver.requests), set(receiver.applied.values())) == (2, {1})
    assert len(set(receiver.keys)) == 1


async def test_the_tools_of_the_page_answer_the_model(provider, database_url, tmp_path, monkeypatch):
    (shown,) = snippets("docs/tools.md", "python")
    calls = (ToolCall("search", {"query": "refunds"}), ToolCall("refund", {"order": "7", "cents": 700}))
    provider.when("Done.", after_tool=True)
    provider.when(Reply(tool_calls=calls), tool="refund")

    async with runs_of(
        shown, "agent", "shown_tools", folder=tmp_path, url=database_url, monkeypatch=monkeypatch
    ) as runs:
        view = await runs.stands(await runs.start(QUESTION))
        effects = await runs.rows("SELECT name, state FROM effects")

    assert view.status is RunStatus.SUCCEEDED, view.error_message
    said = [message["content"] for message in view.output["messages"]]
    assert said[-3:] == ["page about refunds", "700 cents of 7 are on their way", "Done."]
    assert effects == [("refund", "done")], "a read is none"


async def test_the_tool_node_of_the_page_takes_the_hooks():
    from langgraph.prebuilt import ToolNode

    import outlast

    names = await run_snippet(snippets("docs/tools.md", "python")[0], {})
    (shown,) = re.findall(r"`(ToolNode\([^`]*)`", (ROOT / "docs/tools.md").read_text())
    tools = [names["search"], names["refund"]]

    assert set(eval(shown, {"ToolNode": ToolNode, "outlast": outlast, "tools": tools}).tools_by_name) == {
        "search", "refund"
    }  # fmt: skip


async def test_the_test_of_the_page_about_tests_passes(tmp_path):
    (shown,) = snippets("docs/testing-agents.md", "python")
    script = tmp_path / "page.py"
    script.write_text(shown)

    ran = await asyncio.to_thread(
        subprocess.run, [sys.executable, script], capture_output=True, text=True, timeout=60, check=False
    )

    assert ran.returncode == 0, ran.stderr


def test_the_faults_of_the_page_are_those_that_exist():
    page = (ROOT / "docs/testing-agents.md").read_text()
    rows = page.split("| fault | what the client sees |\n")[1].split("\n\n")[0].splitlines()
    named = {name for row in rows for name in re.findall(r"`(\w+)\(", row.split("|")[1])}

    made = {name for name, found in vars(faults).items() if inspect.isfunction(found) and not name.startswith("_")}
    assert named == {name for name in made if getattr(faults, name).__annotations__.get("return") is faults.Fault}


def test_the_layers_of_the_page_are_those_of_the_chain():
    page = (ROOT / "docs/calls.md").read_text().split("## Models")[0]

    assert re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE) == [layer.__name__ for layer in LAYERS]


SETTINGS = [(page, number) for page in PAGES for number in range(len(snippets(page, "toml")))]


@pytest.mark.parametrize(("page", "number"), SETTINGS)
def test_settings_on_a_page_are_settings(page, number):
    shown = tomllib.loads(snippets(page, "toml")[number])
    shown.pop("agents", None)

    load(project=shown)


def test_the_usage_on_the_page_has_the_fields_of_the_usage():
    shown = next(text for text in snippets("docs/calls.md", "console") if "/usage?" in text)
    report = json.loads(shown[shown.index("\n{") :])

    assert UsageReport.model_validate(report).rows
    assert report["rows"][0].keys() == {field.name for field in fields(UsageBody)}


def _commands() -> list[Any]:
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        lines = re.findall(r"^\$ (outlast .*)$", text, re.MULTILINE) + re.findall(r"`(outlast [a-z][^`]*)`", text)
        found += [pytest.param(line, id=f"{page}: {line}") for line in dict.fromkeys(lines)]
    return found


@pytest.mark.parametrize("line", _commands())
def test_a_command_on_a_page_exists_with_its_options(line):
    command: Any = typer.main.get_command(app)
    _, *words = shlex.split(line.partition(" | ")[0])
    while words and hasattr(command, "commands"):
        name, *words = words
        assert name in command.commands, f"{line}: there is no {name}"
        command = command.commands[name]
    try:
        command.make_context(line, words)
    # Typer's own class of that name. What a sentence names alone has no arguments.
    except Exception as error:
        if type(error).__name__ not in ("MissingParameter", "NoArgsIsHelpError"):
            raise


CALL_PAGES = ["docs/calls.md", "docs/effects.md", "docs/tools.md", "docs/testing-agents.md", "docs/operations.md"]


@pytest.mark.parametrize("page", CALL_PAGES)
def test_settings_and_events_that_a_page_names_exist(page):
    settings = {setting.key for setting in settings_of(Settings)}
    tables = {".".join(setting.path[:length]) for setting in settings_of(Settings) for length in range(1, 5)}
    branches = "|".join(Settings.model_fields)
    text = (ROOT / page).read_text()

    for name in re.findall(rf"`((?:{branches})\.[a-z_.]+)`", text):
        assert name in settings | tables, f"{page} names the setting {name}"
    for name in re.findall(r"`((?:call|breaker|effect)\.[a-z_]+)`", text):
        assert name in POINTS, f"{page} names the event {name}"
