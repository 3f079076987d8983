"""An agent that calls its tools for ever, and a tool that is an agent itself, count for one run and stop together."""

from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import tool
from pydantic import Field

import outlast
from asking import scope_of
from outlast.calls import scope
from outlast.calls.scope import Scope
from outlast.calls.services import Calls
from outlast.errors import CapReached
from outlast.settings import CallSettings


class Restless(BaseChatModel):
    """Calls its tool, whatever it is told."""

    tool_name: str
    asked: list[int] = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "restless"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Any:
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        self.asked.append(len(messages))
        call = {"name": self.tool_name, "args": {"topic": "x"}, "id": f"call-{len(self.asked)}"}
        message = AIMessage(
            "", tool_calls=[call], usage_metadata={"input_tokens": 10, "output_tokens": 1, "total_tokens": 11},
            response_metadata={"finish_reason": "tool_calls"},
        )  # fmt: skip
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.fixture
async def running() -> Any:
    """A run that may make five calls."""
    found = scope_of(Calls(settings=CallSettings(caps={"turns": 5})))
    token = scope.current.set(found)
    yield found
    scope.current.reset(token)


def restless(name: str) -> tuple[Restless, Any]:
    chat = Restless(tool_name=name)
    return chat, outlast.wrap(chat)


@pytest.fixture(params=[True, False], ids=["with our middleware", "without"])
def middleware(request: pytest.FixtureRequest) -> list[Any]:
    return [outlast.middleware()] if request.param else []


async def test_an_agent_that_never_stops_is_stopped(running: Scope, middleware: Any) -> None:
    chat, model = restless("look")

    @tool
    async def look(topic: str) -> str:
        """Look something up."""
        return "nothing"

    agent = create_agent(model, [look], middleware=middleware)
    with pytest.raises(CapReached, match="5 turns of 5"):
        await agent.ainvoke({"messages": [("user", "go on")]}, {"recursion_limit": 100})
    assert len(chat.asked) == 5


async def test_a_subagent_inside_of_a_tool_counts_for_its_run_and_is_no_result_of_the_tool(
    running: Scope, middleware: Any
) -> None:
    inner_chat, inner_model = restless("look")
    outer_chat, outer_model = restless("research")

    @tool
    async def look(topic: str) -> str:
        """Look something up."""
        return "nothing"

    @tool
    async def research(topic: str) -> str:
        """Let another agent look."""
        inner = create_agent(inner_model, [look])
        said = await inner.ainvoke({"messages": [("user", topic)]}, {"recursion_limit": 100})
        return str(said["messages"][-1].content)

    agent = create_agent(outer_model, [research], middleware=middleware)
    with pytest.raises(CapReached, match="5 turns of 5"):
        await agent.ainvoke({"messages": [("user", "go on")]}, {"recursion_limit": 100})
    assert (len(outer_chat.asked), len(inner_chat.asked)) == (1, 4)
    assert running.spent.tokens == 55
