"""Agents whose tools are cut off or executed again, in real runs, against providers that refuse what does not pair."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from engine import Engine
from langchain.agents import create_agent
from langchain.agents.middleware import ToolRetryMiddleware
from langchain_core.tools import InjectedToolArg, tool
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode

import outlast
from outlast import telemetry
from outlast.agents.project import AgentSpec, Project
from outlast.calls.history import INTERRUPTED
from outlast.domain.run import RunStatus
from outlast.testing.providers import ProviderServer, Reply, ToolCall
from scripted_models import calling

S = RunStatus


class World:
    """What the tools of a test have seen and done."""

    provider: ProviderServer
    arrived: asyncio.Event
    sent: list[tuple[str, str]]
    fails: list[Exception]

    @classmethod
    def begin(cls, provider: ProviderServer) -> None:
        cls.provider, cls.arrived, cls.sent, cls.fails = provider, asyncio.Event(), [], []


@tool
async def hang(about: str) -> str:
    """Wait for ever."""
    World.arrived.set()
    await asyncio.Event().wait()
    return about


@tool
async def send(text: str, idempotency_key: Annotated[str, InjectedToolArg]) -> str:
    """Send a text to somebody."""
    World.sent.append((text, idempotency_key))
    if World.fails:
        raise World.fails.pop()
    return f"sent {text}"


@tool
def send_in_thread(text: str, idempotency_key: Annotated[str, InjectedToolArg]) -> str:
    """Send a text to somebody, synchronously."""
    World.sent.append((text, idempotency_key))
    return f"sent {text}"


TOOLS = [hang, send, send_in_thread]
GUARD = outlast.middleware(effects={"send", "send_in_thread"}, timeout={"hang": None})


def openai() -> Any:
    return _agent(outlast.chat_model("openai:gpt-4o", base_url=World.provider.openai_url, api_key="k"))


def anthropic() -> Any:
    return _agent(outlast.chat_model("anthropic:claude-haiku-4-5", base_url=World.provider.anthropic_url, api_key="k"))


def _agent(model: Any) -> Any:
    return create_agent(model, TOOLS, middleware=[GUARD])


def bare_openai() -> Any:
    """A model without us, where the middleware mends."""
    from langchain_openai import ChatOpenAI

    return _agent(ChatOpenAI(model="gpt-4o", base_url=World.provider.openai_url, api_key="k", max_retries=0))


def plain() -> Any:
    """Our model alone, without the middleware."""
    return create_agent(outlast.chat_model("openai:gpt-4o", base_url=World.provider.openai_url, api_key="k"), TOOLS)


def node() -> Any:
    """A graph of somebody's own, which calls two tools in one task."""
    builder = StateGraph(MessagesState)
    builder.add_node("model", lambda _state: {"messages": [calling("send", "send", "send_in_thread", text="hello")]})
    builder.add_node("tools", ToolNode(TOOLS, **GUARD.hooks))
    builder.add_edge(START, "model")
    builder.add_edge("model", "tools")
    return builder.compile()


def retrying() -> Any:
    """A middleware of LangChain's that calls ours again when it raises."""
    again = ToolRetryMiddleware(max_retries=2, initial_delay=0)
    model = outlast.chat_model("openai:gpt-4o", base_url=World.provider.openai_url, api_key="k")
    return create_agent(model, TOOLS, middleware=[again, GUARD])


AGENTS = ("retrying", "openai", "anthropic", "bare_openai", "plain", "node")


@pytest.fixture(autouse=True)
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        World.begin(server)
        yield server


@pytest.fixture(autouse=True)
def no_faults() -> Iterator[None]:
    yield
    telemetry.arm("")


@pytest.fixture
def agents() -> Project:
    specs = {name: AgentSpec(name=name, path=None, module="test_tools_in_runs", attribute=name) for name in AGENTS}
    return Project(root=Path(__file__).parent, agents=specs)


def asking(text: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": text}]}


async def cut_off(engine: Engine, agent: str, provider: ProviderServer) -> None:
    """Cancel a run in the middle of two calls of tools."""
    calls = (ToolCall("hang", {"about": "a"}), ToolCall("hang", {"about": "b"}))
    provider.script([Reply("Let me see.", tool_calls=calls)])
    run_id = await engine.start(agent, asking("go"), thread_id="t")
    await asyncio.wait_for(World.arrived.wait(), 20)
    await (await engine.client()).queue.cancel(run_id)
    assert (await engine.ended(run_id)).status is S.CANCELLED


@pytest.mark.parametrize("agent", ["openai", "anthropic", "bare_openai", "plain"])
async def test_the_turn_after_one_that_was_cancelled_within_its_tools_works(
    engine: Engine, agents: Project, provider: ProviderServer, agent: str
) -> None:
    async with engine.working(agents=agents):
        await cut_off(engine, agent, provider)
        provider.script(["Still here."])
        view = await engine.ended(await engine.start(agent, asking("are you there?"), thread_id="t"))

    assert (view.status, view.error_message) == (S.SUCCEEDED, None)
    assert view.output["messages"][-1]["content"] == "Still here."
    shown = str(provider.requests[-1].body["messages"])
    assert shown.count(INTERRUPTED) == 2
    assert shown.index(INTERRUPTED) < shown.index("are you there?")


async def test_without_mending_the_provider_refuses_the_thread(
    engine: Engine, agents: Project, provider: ProviderServer
) -> None:
    async with engine.working(agents=agents, calls={"mend_history": False}):
        await cut_off(engine, "plain", provider)
        provider.script(["Still here."])
        view = await engine.ended(await engine.start("plain", asking("are you there?"), thread_id="t"))

    assert (view.status, view.error_code) == (S.FAILED, "provider_refused")


@pytest.mark.parametrize("name", ["send", "send_in_thread"])
async def test_a_tool_that_is_an_effect_is_applied_once_though_its_step_is_executed_again(
    engine: Engine, agents: Project, provider: ProviderServer, name: str
) -> None:
    provider.script([Reply("", tool_calls=(ToolCall(name, {"text": "hello"}),)), "Done."])
    telemetry.arm("effect.recorded:raise:1:1")
    async with engine.working(agents=agents):
        view = await engine.ended(await engine.start("openai", asking("go")))

    assert (view.status, view.errors) == (S.SUCCEEDED, 1), "the step was executed again"
    assert [text for text, _ in World.sent] == ["hello"]
    assert len(World.sent[0][1]) == 64, "the tool has got its key"
    assert view.output["messages"][-2]["content"] == "sent hello"


async def test_two_calls_of_one_tool_with_the_same_arguments_are_two_effects(engine: Engine, agents: Project) -> None:
    telemetry.arm("effect.recorded:raise:1:3")
    async with engine.working(agents=agents):
        view = await engine.ended(await engine.start("node", asking("go")))

    assert (view.status, view.errors) == (S.SUCCEEDED, 1)
    assert sorted(text for text, _ in World.sent) == ["hello"] * 3
    assert len({key for _, key in World.sent}) == 3
    results = [message for message in view.output["messages"] if message["type"] == "tool"]
    assert [message["tool_call_id"] for message in results] == ["send-0", "send-1", "send_in_thread-2"]


async def test_an_effect_of_unknown_outcome_goes_to_a_person_and_not_to_the_model(
    engine: Engine, agents: Project, provider: ProviderServer
) -> None:
    provider.script([Reply("", tool_calls=(ToolCall("send", {"text": "hello"}),)), "Done."])
    World.fails.append(ConnectionResetError("reset"))
    async with engine.working(agents=agents):
        run_id = await engine.start("openai", asking("go"))
        waiting = await engine.stands(run_id, S.WAITING)
        (question,) = waiting.interrupts
        await (await engine.client()).queue.answer(run_id, {"applied": True, "result": "it was sent"})
        view = await engine.ended(run_id)

    assert (question["value"]["type"], question["value"]["effect"]) == ("effect_unknown", "send")
    assert question["value"]["arguments"] == {"text": "hello"}
    assert view.status is S.SUCCEEDED
    assert len(World.sent) == 1, "never tried again by itself"
    assert len(provider.requests) == 2
    result = view.output["messages"][-2]
    assert (result["type"], result["content"], result["name"]) == ("tool", "it was sent", "send")


async def test_no_middleware_makes_a_second_effect_of_one_that_is_unknown(
    engine: Engine, agents: Project, provider: ProviderServer
) -> None:
    provider.script([Reply("", tool_calls=(ToolCall("send", {"text": "hello"}),)), "Done."])
    World.fails.append(ConnectionResetError("reset"))
    async with engine.working(agents=agents):
        run_id = await engine.start("retrying", asking("go"))
        await engine.stands(run_id, S.WAITING)
        await (await engine.client()).queue.answer(run_id, {"applied": None})
        await engine.ended(run_id)

    assert len(World.sent) == 1


async def test_a_refusal_of_the_receiver_is_told_to_the_model(
    engine: Engine, agents: Project, provider: ProviderServer
) -> None:
    provider.script([Reply("", tool_calls=(ToolCall("send", {"text": "hello"}),)), "Sorry."])
    World.fails.append(outlast.NotApplied("the mailbox is full"))
    async with engine.working(agents=agents):
        view = await engine.ended(await engine.start("openai", asking("go")))

    assert view.status is S.SUCCEEDED
    told = view.output["messages"][-2]
    assert (told["status"], told["content"]) == ("error", "NotApplied: the mailbox is full")


async def test_wrong_arguments_announce_no_effect(engine: Engine, agents: Project, provider: ProviderServer) -> None:
    provider.script([Reply("", tool_calls=(ToolCall("send", {"txt": "hello"}),)), "Sorry."])
    async with engine.working(agents=agents):
        view = await engine.ended(await engine.start("openai", asking("go")))
        rows = await engine.rows("SELECT count(*) FROM effects")

    assert view.status is S.SUCCEEDED
    assert "text: Field required" in view.output["messages"][-2]["content"]
    assert (World.sent, rows) == ([], [(0,)])
