"""What factories of graphs get from the server, and for which occasion."""

import importlib
import inspect
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph_sdk.auth.types import BaseUser

from outlast.agents.factories import Occasion, Taken
from outlast.agents.project import AgentSpec, Project
from outlast.agents.registry import AccessContext, Registry
from outlast.agents.users import ProxyUser
from outlast.errors import InvalidInput

MODULE = """
    from contextlib import asynccontextmanager
    from dataclasses import dataclass
    from typing import TypedDict
    from langchain_core.runnables import RunnableConfig
    from langgraph.graph import START, StateGraph
    from langgraph_sdk.runtime import ServerRuntime
    from pydantic import BaseModel

    class State(TypedDict):
        count: int

    @dataclass
    class Settings:
        model: str = "small"

    class Strict(BaseModel):
        model: str

    calls = []

    def new():
        return StateGraph(State).add_node("step", lambda state: state).add_edge(START, "step")
"""
STORE = InMemoryStore()


@pytest.fixture(autouse=True)
def _clean_imports() -> Any:
    path = list(sys.path)
    yield
    sys.path[:] = path
    sys.modules.pop("factory_agent", None)


@pytest.fixture
async def load(tmp_path: Path) -> AsyncIterator[Callable[..., Registry]]:
    registries: list[Registry] = []

    def registry(source: str) -> Registry:
        file = tmp_path / "factory_agent.py"
        file.write_text(dedent(MODULE) + dedent(source))
        importlib.invalidate_caches()
        agents = {"agent": AgentSpec(name="agent", path=file, module=None, attribute="agent")}
        registries.append(Registry(Project(root=tmp_path, agents=agents), store=STORE))
        return registries[-1]

    yield registry
    for opened in registries:
        await opened.aclose()


Load = Callable[..., Registry]


async def called(registry: Registry, **occasion: Any) -> tuple[Any, ...]:
    """Open the agent once and return what its factory was called with."""
    async with registry.opened("agent", {"configurable": {"key": 1}}, **occasion):
        return sys.modules["factory_agent"].calls[-1]


@pytest.mark.parametrize(
    "signature",
    [
        "config: RunnableConfig, runtime: ServerRuntime",
        "runtime: ServerRuntime, config: RunnableConfig",
        "config, runtime",
    ],
)
async def test_a_factory_of_two_gets_config_and_runtime_in_any_order(load: Load, signature: str) -> None:
    registry = load(f"def agent({signature}):\n    calls.append((config, runtime))\n    return new()")

    config, runtime = await called(registry)

    assert config["configurable"] == {"key": 1}
    assert runtime.access_context == "threads.read"
    assert runtime.store is STORE


@pytest.mark.parametrize("access", ["threads.read", "threads.update", "assistants.read"])
async def test_only_a_run_gives_a_factory_something_to_execute_with(load: Load, access: AccessContext) -> None:
    registry = load("def agent(runtime: ServerRuntime):\n    calls.append((runtime,))\n    return new()")

    (looking,) = await called(registry, access=access, context={"model": "large"})
    (running,) = await called(registry, access="threads.create_run", context={"model": "large"})

    assert looking.access_context == access
    assert looking.execution_runtime is None
    assert running.execution_runtime is running
    assert running.context == {"model": "large"}


@pytest.mark.parametrize("declared", ["Settings", "Strict"])
@pytest.mark.parametrize("annotation", ["ServerRuntime[{0}]", "'ServerRuntime[{0}]'", "ServerRuntime[{0}] | None"])
async def test_the_context_is_what_the_annotation_declares(load: Load, declared: str, annotation: str) -> None:
    parameter = annotation.format(declared)
    registry = load(f"def agent(runtime: {parameter}):\n    calls.append((runtime,))\n    return new()")

    given = {"model": "large", "user_id": "for whoever reads the configuration"}
    (runtime,) = await called(registry, access="threads.create_run", context=given)

    assert type(runtime.context).__name__ == declared
    assert runtime.context.model == "large"


async def test_a_context_that_is_not_what_is_declared_is_the_callers_mistake(load: Load) -> None:
    registry = load("def agent(runtime: ServerRuntime[Strict]):\n    return new()")

    with pytest.raises(InvalidInput, match="not a Strict") as caught:
        await called(registry, access="threads.create_run", context={"model": ["not", "text"]})

    assert caught.value.field == "context"


async def test_the_user_is_who_the_authenticator_described(load: Load) -> None:
    registry = load("def agent(runtime: ServerRuntime):\n    calls.append((runtime,))\n    return new()")
    described = {"identity": "ada", "permissions": ["read"], "email": "ada@example.org"}

    (anonymous,) = await called(registry)
    (known,) = await called(registry, user=described)

    assert anonymous.user is None
    with pytest.raises(PermissionError):
        anonymous.ensure_user()
    user = known.ensure_user()
    assert isinstance(user, BaseUser)
    assert (user.identity, user["email"], list(user.permissions)) == ("ada", "ada@example.org", ["read"])


async def test_a_context_manager_that_takes_the_runtime_lives_as_long_as_its_use(load: Load) -> None:
    registry = load(
        """
        @asynccontextmanager
        async def agent(runtime: ServerRuntime):
            calls.append("enter")
            yield new()
            calls.append("leave")
        """
    )

    async with registry.opened("agent") as agent:
        assert await agent.graph.ainvoke({"count": 1}) == {"count": 1}
        assert sys.modules["factory_agent"].calls == ["enter"]

    assert sys.modules["factory_agent"].calls == ["enter", "leave"]


def test_a_user_is_read_as_keys_and_as_attributes() -> None:
    user = ProxyUser({"identity": "ada", "team": "engines"})

    assert (user.display_name, user.is_authenticated, list(user.permissions)) == ("ada", True, [])
    assert user.team == user["team"] == "engines"
    assert "team" in user
    assert dict(user) == {"identity": "ada", "team": "engines"}
    with pytest.raises(AttributeError):
        _ = user.salary
    with pytest.raises(KeyError):
        _ = user["salary"]


def test_a_store_is_always_there() -> None:
    parameter = inspect.Parameter("runtime", inspect.Parameter.POSITIONAL_OR_KEYWORD)
    runtime: Any = Occasion().given_to(Taken(parameter=parameter, role="runtime"))

    assert isinstance(runtime.store, BaseStore)
