"""`create_agent` and a deep agent run on our models as on the bare ones, streaming included."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from deepagents import create_deep_agent
from langchain.agents import create_agent
from langchain.agents.structured_output import ProviderStrategy, ToolStrategy
from model_twins import WIRES, City, bare, ours, plain, weather

from outlast.testing.providers import ProviderServer, Reply, ToolCall

QUESTION: Any = {"messages": [("human", "how is the weather in Rome?")]}


@pytest.fixture
async def provider() -> AsyncIterator[ProviderServer]:
    async with ProviderServer() as server:
        yield server


@pytest.fixture(params=WIRES)
def wire(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def models(provider: ProviderServer, wire: str) -> list[Any]:
    """The bare model and ours; the provider asks for the weather, then says it."""
    provider.when("It is sunny in Rome, as it always is.", after_tool=True)
    provider.when(Reply("Let me look.", tool_calls=(ToolCall("weather", {"city": "Rome"}),)), tool="weather")
    return [bare(provider, wire), ours(provider, wire)]


async def test_an_agent_goes_round_as_with_the_bare_model(models: list[Any], provider: ProviderServer) -> None:
    theirs, mine = [await create_agent(model, [weather]).ainvoke(QUESTION) for model in models]

    assert plain(mine) == plain(theirs)
    assert mine["messages"][-1].text == "It is sunny in Rome, as it always is."
    bodies = [plain(request.body) for request in provider.requests]
    assert bodies[:2] == bodies[2:], "the provider is asked the same"


@pytest.mark.parametrize("mode", ["messages", "updates", "values"])
async def test_an_agent_streams_as_with_the_bare_model(models: list[Any], mode: Any) -> None:
    theirs, mine = [
        [part async for part in create_agent(model, [weather]).astream(QUESTION, stream_mode=mode)] for model in models
    ]

    assert plain(_without_versions(mine)) == plain(_without_versions(theirs))
    if mode == "messages":
        assert len(mine) > 8


@pytest.mark.parametrize("strategy", [ToolStrategy, ProviderStrategy, None])
async def test_an_agent_ends_with_structured_output(provider: ProviderServer, wire: str, strategy: Any) -> None:
    provider.script(lambda _: Reply(structured={"name": "Rome", "people": 3}))
    form = City if strategy is None else strategy(City)

    theirs, mine = [
        await create_agent(model, response_format=form).ainvoke(QUESTION)
        for model in (bare(provider, wire), ours(provider, wire))
    ]

    assert mine["structured_response"] == theirs["structured_response"] == City(name="Rome", people=3)
    bodies = [plain(request.body) for request in provider.requests]
    assert bodies[0] == bodies[1], "the profile of the model chose the same strategy"


async def test_a_deep_agent_delegates_and_writes_files(provider: ProviderServer, wire: str) -> None:
    task = {"description": "find the weather in Rome", "subagent_type": "general-purpose"}
    provider.script(
        [
            Reply("Delegate.", tool_calls=(ToolCall("task", task),)),
            Reply("", tool_calls=(ToolCall("weather", {"city": "Rome"}),)),
            Reply("It is sunny there."),
            Reply("", tool_calls=(ToolCall("write_file", {"file_path": "/report.md", "content": "sunny"}),)),
            Reply("Rome is sunny."),
        ]
    )
    agent = create_deep_agent(model=ours(provider, wire), tools=[weather])

    parts = [part async for part in agent.astream(QUESTION, stream_mode=["messages", "values"], subgraphs=True)]

    state = [data for ns, mode, data in parts if mode == "values" and not ns][-1]
    assert state["messages"][-1].text == "Rome is sunny."
    assert "/report.md" in state["files"]
    streamed = "".join(data[0].text for ns, mode, data in parts if mode == "messages" and data[0].type != "tool")
    assert "It is sunny there." in streamed, "the subagent's model streams, too"
    assert len(provider.answered) == 5


def _without_versions(parts: list[Any]) -> list[Any]:
    """Leave out of the metadata what belongs to one execution, and the packages' versions."""
    left_out = {"lc_versions", "langgraph_checkpoint_ns", "checkpoint_ns", "run_id"}
    return [
        (part[0], {key: value for key, value in part[1].items() if key not in left_out})
        if isinstance(part, tuple) and isinstance(part[1], dict)
        else part
        for part in parts
    ]
