"""Agents on our models in runs: executed by a worker, streamed by the Agent Server API."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from agent_server_api import Server, parts_of, served

from outlast.agents.project import find_project
from outlast.testing.postgres import Databases
from outlast.testing.providers import ProviderServer, Reply, ToolCall, faults
from runtimes import Opens

PROJECT = '''
import outlast
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langgraph.graph import START, MessagesState, StateGraph

openai = outlast.chat_model("openai:gpt-4o", base_url="{openai}", api_key="k")
anthropic = outlast.chat_model("anthropic:claude-haiku-4-5", base_url="{anthropic}", api_key="k")


def weather(city: str) -> str:
    """Return the weather of a city."""
    return f"sunny in {{city}}"


def plain(state: MessagesState):
    return {{"messages": [openai.invoke(state["messages"])]}}


async def blocking(state: MessagesState):
    return {{"messages": [openai.invoke(state["messages"])]}}


agent_openai, agent_anthropic = [create_agent(model, [weather]) for model in (openai, anthropic)]
deep_openai, deep_anthropic = [create_deep_agent(model=model, tools=[weather]) for model in (openai, anthropic)]
sync = StateGraph(MessagesState).add_node("plain", plain).add_edge(START, "plain").compile()
blocks = StateGraph(MessagesState).add_node("blocking", blocking).add_edge(START, "blocking").compile()
'''
AGENTS = ("agent_openai", "agent_anthropic", "deep_openai", "deep_anthropic", "sync", "blocks")
QUESTION: Any = {"messages": [{"role": "user", "content": "how is the weather in Rome?"}]}
ANSWER = "It is sunny in Rome, as it always is."


@pytest.fixture(scope="module")
async def shared() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture
def provider(shared: ProviderServer) -> ProviderServer:
    """A provider that asks for the weather, then says it."""
    shared.reset()
    shared.when(ANSWER, after_tool=True)
    shared.when(Reply("Let me look.", tool_calls=(ToolCall("weather", {"city": "Rome"}),)), tool="weather")
    return shared


@pytest.fixture(scope="module")
async def models(
    databases: Databases, open_runtime: Opens, shared: ProviderServer, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    """A server and a worker of a project whose agents ask the provider."""
    root: Path = tmp_path_factory.mktemp("models")
    (root / "agents_on_models.py").write_text(
        PROJECT.format(openai=shared.openai_url, anthropic=shared.anthropic_url), encoding="utf-8"
    )
    graphs = {name: f"./agents_on_models.py:{name}" for name in AGENTS}
    (root / "langgraph.json").write_text(json.dumps({"dependencies": ["."], "graphs": graphs}))
    url = await databases.create()
    async with served(open_runtime, url, project=find_project(root)) as server:
        yield server
    await databases.leave(url)


async def streamed(server: Server, agent: str, *modes: str) -> tuple[str, list[Any]]:
    thread = await server.sdk.threads.create()
    stream = server.sdk.runs.stream(thread["thread_id"], agent, input=QUESTION, stream_mode=list(modes))
    return thread["thread_id"], await parts_of(stream)


def said(parts: list[Any]) -> list[dict[str, Any]]:
    return [part.data[0] for part in parts if part.event == "messages" and part.data[0]["type"] == "AIMessageChunk"]


def text_of(message: dict[str, Any]) -> str:
    content = message["content"]
    return content if isinstance(content, str) else "".join(block.get("text", "") for block in content)


@pytest.mark.parametrize("agent", ["agent_openai", "agent_anthropic", "deep_openai", "deep_anthropic"])
async def test_an_agent_streams_its_models_chunks(models: Server, provider: ProviderServer, agent: str) -> None:
    thread, parts = await streamed(models, agent, "messages-tuple", "values")

    chunks = said(parts)
    assert "".join(map(text_of, chunks)) == "Let me look." + ANSWER
    assert len(chunks) > 8
    state = await models.sdk.threads.get_state(thread)
    final = state["values"]["messages"]
    assert text_of(final[-1]) == ANSWER
    assert [message["type"] for message in final] == ["human", "ai", "tool", "ai"]
    assert {message["id"] for message in final if message["type"] == "ai"} == {chunk["id"] for chunk in chunks}
    assert final[-1]["usage_metadata"]["output_tokens"] > 0 if "usage_metadata" in final[-1] else True
    assert len(provider.answered) == 2


@pytest.mark.parametrize("agent", ["agent_openai", "agent_anthropic"])
async def test_clients_are_told_of_a_restart(models: Server, provider: ProviderServer, agent: str) -> None:
    provider.fail(faults.early_end(), when=lambda request: bool(request.after_tool), times=1)

    thread, parts = await streamed(models, agent, "messages-tuple")

    chunks = said(parts)
    [restart] = [at for at, chunk in enumerate(chunks) if "outlast" in chunk["response_metadata"]]
    assert chunks[restart]["response_metadata"]["outlast"]["restart"]
    assert "".join(map(text_of, chunks[restart:])) == ANSWER
    state = await models.sdk.threads.get_state(thread)
    assert text_of(state["values"]["messages"][-1]) == ANSWER


@pytest.mark.parametrize("agent", ["agent_openai", "agent_anthropic"])
async def test_growing_messages_begin_anew(models: Server, provider: ProviderServer, agent: str) -> None:
    provider.fail(faults.early_end(), when=lambda request: bool(request.after_tool), times=1)

    _, parts = await streamed(models, agent, "messages")

    shown = [
        text_of(part.data[0]) for part in parts if part.event.startswith("messages/") and isinstance(part.data, list)
    ]
    assert all(ANSWER.startswith(text) or not ANSWER.startswith(text[:5]) for text in shown), "never a half twice"
    assert shown[-1] == ANSWER


async def test_a_sync_node_may_call_synchronously(models: Server, provider: ProviderServer) -> None:
    provider.when("A plain answer.", text="weather")

    thread, parts = await streamed(models, "sync", "messages-tuple")

    assert "".join(map(text_of, said(parts))) == "A plain answer."
    state = await models.sdk.threads.get_state(thread)
    assert text_of(state["values"]["messages"][-1]) == "A plain answer."
    assert len(provider.answered) == 1


async def test_a_sync_call_on_the_event_loop_says_what_to_do(models: Server, provider: ProviderServer) -> None:
    thread = await models.sdk.threads.create()
    run = await models.sdk.runs.create(thread["thread_id"], "blocks", input=QUESTION)

    ended = await models.ended(run)

    assert ended["status"] == "error"
    state = await models.sdk.threads.get(thread["thread_id"])
    assert "ainvoke" in json.dumps(state)
    assert not provider.requests


async def test_calls_of_a_run_are_in_its_journal(models: Server, provider: ProviderServer) -> None:
    thread, _ = await streamed(models, "agent_openai", "values")

    [run] = await models.sdk.runs.list(thread)
    rows = await models.rows("SELECT count(*) FROM call_journal WHERE lineage = %s", run["run_id"])

    assert rows == [(2,)]
