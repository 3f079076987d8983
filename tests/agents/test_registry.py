"""What an agent may be, when it is built, and what its version says."""

import asyncio
import importlib
import operator
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Annotated, Any, Literal, TypedDict

import pytest
from langgraph.func import entrypoint
from langgraph.graph import END, START, StateGraph
from langgraph.pregel import Pregel

from outlast.agents.project import AgentSpec, Project
from outlast.agents.registry import Registry
from outlast.agents.version import graph_version
from outlast.errors import AgentLoadError, NotFound

MODULE = """
    from contextlib import asynccontextmanager, contextmanager
    from typing import TypedDict
    from langchain_core.runnables import RunnableConfig
    from langgraph.func import entrypoint, task
    from langgraph.graph import START, StateGraph
    from langgraph.graph.state import CompiledStateGraph
    from langgraph_sdk.runtime import ServerRuntime

    class State(TypedDict):
        count: int

    calls = []

    def new(name="step"):
        return StateGraph(State).add_node(name, lambda state: {"count": state["count"] + 1}).add_edge(START, name)

    def from_config(config):
        calls.append(config)
        return new(config["configurable"].get("node", "step"))
"""


@pytest.fixture(autouse=True)
def _clean_imports():
    modules, path = set(sys.modules), list(sys.path)
    yield
    sys.path[:] = path
    for name in sys.modules.keys() - modules:
        if "site-packages" not in (getattr(sys.modules[name], "__file__", None) or "site-packages"):
            del sys.modules[name]


def module_in(folder: Path) -> Any:
    """Return what was loaded; its name depends on what other tests of this process have loaded."""
    return next(each for each in sys.modules.values() if getattr(each, "__file__", None) == str(folder / "agent.py"))


@pytest.fixture
async def load(tmp_path: Path):
    """Writes a module and gives a registry in which each of its `names` is an agent."""
    registries: list[Registry] = []

    def registry(source: str, *names: str) -> Registry:
        file = tmp_path / "agent.py"
        file.write_text(dedent(MODULE) + dedent(source))
        importlib.invalidate_caches()
        agents = {n: AgentSpec(name=n, path=file, module=None, attribute=n) for n in names or ("agent",)}
        registries.append(Registry(Project(root=tmp_path, agents=agents)))
        return registries[-1]

    yield registry
    for opened in registries:
        await opened.aclose()


Load = Callable[..., Registry]


@pytest.mark.parametrize(
    "source",
    [
        "agent = new().compile()",
        "agent = new()",
        "def agent(): return new()",
        "async def agent(): return new().compile()",
        "def agent(config): return from_config(config)",
        "async def agent(cfg: RunnableConfig): return from_config(cfg)",
        "async def agent(cfg: 'RunnableConfig', /): return from_config(cfg)",
        "def agent(settings) -> CompiledStateGraph: return from_config(settings).compile()",
        "def agent(config, runtime: ServerRuntime | None = None): return from_config(config)",
        "def agent(config, runtime: ServerRuntime): return from_config(config)",
        "def agent(settings, runtime: ServerRuntime): return from_config(settings)",
        "def agent(runtime): return new()",
        "async def agent(runtime: 'ServerRuntime[State]', /): return new()",
        "agent = lambda: new()",
        "@asynccontextmanager\nasync def agent(): yield new()",
        "@contextmanager\ndef agent(): yield new()",
        "async def agent():\n    return entered()\n@asynccontextmanager\nasync def entered(): yield new()",
    ],
)
async def test_every_way_to_name_a_state_graph_gives_one_that_runs(load: Load, source: str) -> None:
    agent = await load(source).get("agent")

    assert isinstance(agent.graph, Pregel)
    assert await agent.graph.ainvoke({"count": 1}) == {"count": 2}


@pytest.mark.parametrize(
    "source",
    [
        "@entrypoint()\nasync def agent(n): return n + 1",
        "@entrypoint()\ndef agent(n): return n + 1",
        "async def agent(n: int) -> int: return n + 1",
        "async def agent(n, *, previous=None, config: RunnableConfig): return n + 1",
        "class Plus:\n    async def __call__(self, n): return n + 1\n    __name__ = 'plus'\nagent = Plus()",
    ],
)
async def test_an_async_function_is_an_agent_itself(load: Load, source: str) -> None:
    agent = await load(source).get("agent")

    assert isinstance(agent.graph, Pregel)
    assert await agent.graph.ainvoke(1, {"configurable": {"thread_id": "t"}}) == 2


async def test_an_agent_function_is_not_called_to_find_out_what_it_is(load: Load, tmp_path: Path) -> None:
    await load("async def agent(question): calls.append(question)").load_all()

    assert module_in(tmp_path).calls == []


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("agent = 42", r"'agent' is of type 'int', not a graph. It has functions: .*from_config.*Name a StateGraph"),
        ("agent = State", r"'agent' is the class 'State', not a graph"),
        ("import json as agent", r"'agent' is the module 'json', not a graph"),
        ("@task\nasync def agent(x): ...", r"not a graph"),
        ("def agent(question): return 'answer'", r"plain function of 'question', neither.*`async def`"),
        ("def agent(): return 'answer'", r"called as a factory, but made of type 'str'.*@entrypoint\(\)"),
        ("def agent(): return {}['x']", r"(?s)calling it failed with.*KeyError: 'x'.*agent.py\", line \d+"),
        ("def agent(config): return config['configurable']['x']", r"(?s)KeyError.*called at start-up, with an empty"),
        ("async def agent(): yield new()", r"is a generator.*asynccontextmanager"),
        ("def agent(runtime: ServerRuntime, model): ...", r"'model': nobody can fill"),
        ("def agent(config, model): ...", r"'model': nobody can fill"),
        ("agent = StateGraph(State)", r"(?s)a StateGraph that does not compile:.*ValueError"),
        ("async def agent(): return lambda: 1", r"made of type 'function'"),
        ("@asynccontextmanager\nasync def agent():\n    raise OSError('down')\n    yield", r"(?s)OSError: down"),
        (
            "from functools import partial\nasync def f(a, b): ...\nagent = partial(f, b=1)",
            r"(?s)entrypoint\(\) refuses",
        ),
    ],
)
async def test_what_is_no_agent_is_refused_with_the_reason(load: Load, source: str, message: str) -> None:
    with pytest.raises(AgentLoadError, match=message):
        await load(source).get("agent")


async def test_the_users_exception_is_the_cause(load: Load) -> None:
    with pytest.raises(AgentLoadError) as caught:
        await load("def agent(): return {}['x']").get("agent")

    assert isinstance(caught.value.__cause__, KeyError)


async def test_a_graph_is_built_once_even_when_many_ask_at_once(load: Load, tmp_path: Path) -> None:
    registry = load("async def agent():\n    calls.append(1)\n    return new()")

    agents = await asyncio.gather(*(registry.get("agent", {"tags": [str(n)]}) for n in range(5)))

    assert len({id(agent.graph) for agent in agents}) == 1
    assert module_in(tmp_path).calls == [1]


async def test_a_factory_that_takes_config_is_called_with_it_each_time(load: Load) -> None:
    registry = load("def agent(config): return from_config(config)")

    plain = await registry.get("agent")
    other = await registry.get("agent", {"configurable": {"node": "other"}})

    assert "step" in plain.graph.nodes
    assert "other" in other.graph.nodes
    assert plain.version != other.version


async def test_a_failed_load_is_tried_again(load: Load) -> None:
    registry = load("def agent():\n    calls.append(1)\n    return new() if len(calls) > 1 else None")

    with pytest.raises(AgentLoadError):
        await registry.get("agent")

    assert (await registry.get("agent")).name == "agent"


async def test_a_cancelled_load_leaves_its_context_and_can_be_repeated(load: Load, tmp_path: Path) -> None:
    registry = load(
        """
        import asyncio
        entered = asyncio.Event()
        @asynccontextmanager
        async def agent():
            calls.append("enter")
            entered.set()
            try:
                if len(calls) == 1:
                    await asyncio.Event().wait()
                yield new()
            finally:
                calls.append("leave")
        """
    )
    await registry._source("agent")
    first = asyncio.create_task(registry.get("agent"))
    await module_in(tmp_path).entered.wait()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first

    assert (await registry.get("agent")).name == "agent"
    assert module_in(tmp_path).calls == ["enter", "leave", "enter"]


CONTEXT = """
import asyncio
@asynccontextmanager
async def agent({parameter}):
    calls.append(asyncio.current_task())
    yield new()
    calls.append(asyncio.current_task())
"""


async def test_a_context_is_left_at_close_by_the_task_that_entered_it(load: Load, tmp_path: Path) -> None:
    registry = load(CONTEXT.format(parameter=""))
    async with registry.opened("agent"):
        pass
    calls = module_in(tmp_path).calls
    assert len(calls) == 1, "the graph is shared, so it outlives the run"

    await registry.aclose()

    assert len(calls) == 2
    assert calls[0] is calls[1]


async def test_a_context_that_takes_config_lives_as_long_as_its_run(load: Load, tmp_path: Path) -> None:
    registry = load(CONTEXT.format(parameter="config"))

    async with registry.opened("agent", {"tags": ["x"]}) as agent:
        assert await agent.graph.ainvoke({"count": 1}) == {"count": 2}
        assert len(module_in(tmp_path).calls) == 1

    assert len(module_in(tmp_path).calls) == 2
    with pytest.raises(AgentLoadError, match=r"registry.opened\(name, config\)"):
        await registry.get("agent")


async def test_a_module_may_run_an_event_loop_while_it_is_imported(load: Load) -> None:
    registry = load("import asyncio\nasync def make(): return new()\nagent = asyncio.run(make())")

    assert (await registry.get("agent")).name == "agent"


async def test_all_broken_agents_are_reported_at_once(load: Load) -> None:
    registry = load("good = new()\nbad = 1\ndef worse(): raise OSError('down')", "good", "bad", "worse")

    with pytest.raises(AgentLoadError, match="2 of 3 agents cannot be loaded") as caught:
        await registry.load_all()

    assert "agent 'bad'" in str(caught.value)
    assert "OSError: down" in str(caught.value)
    assert (await registry.get("good")).name == "good"


async def test_the_only_broken_agent_is_reported_as_it_is(load: Load) -> None:
    with pytest.raises(AgentLoadError, match="agent 'bad': 'bad' is of type 'int'"):
        await load("good = new()\nbad = 1", "good", "bad").load_all()


async def test_an_unknown_name_is_not_found(load: Load) -> None:
    registry = load("agent = new()")

    assert registry.names == ("agent",)
    with pytest.raises(NotFound, match="there is no agent 'other'"):
        await registry.get("other")


class State(TypedDict):
    items: Annotated[list[int], operator.add]
    name: str


class OneKeyMore(State):
    extra: int


class OtherType(TypedDict):
    items: Annotated[list[int], operator.add]
    name: bytes


class OtherReducer(TypedDict):
    items: Annotated[list[int], operator.or_]
    name: str


def step(state: Any) -> Any:
    return state


def route(state: Any) -> str:
    return END


def built(
    schema: Any = State, *, nodes: tuple[str, ...] = ("a", "b"), ends: list[str] | None = None, edge: str = "a"
) -> Any:
    graph = StateGraph(schema)
    for node in nodes:
        graph.add_node(node, step)
    graph.add_edge(START, edge)
    graph.add_conditional_edges("a", route, ends or ["b", END])
    return graph.compile()


def test_a_version_is_12_hex_digits_and_equal_for_equal_graphs() -> None:
    assert graph_version(built()) == graph_version(built())
    assert len(graph_version(built())) == 12
    assert int(graph_version(built()), 16)


def test_the_order_in_which_nodes_are_added_does_not_matter() -> None:
    assert graph_version(built(nodes=("a", "b"))) == graph_version(built(nodes=("b", "a")))


@pytest.mark.parametrize(
    "changed",
    [
        lambda: built(nodes=("a", "b", "c")),
        lambda: built(nodes=("a", "renamed"), ends=["renamed", END]),
        lambda: built(ends=["b"]),
        lambda: built(edge="b"),
        lambda: built(OneKeyMore),
        lambda: built(OtherType),
        lambda: built(OtherReducer),
    ],
    ids=["node added", "node renamed", "conditional target", "edge", "state key", "type", "reducer"],
)
def test_another_shape_is_another_version(changed: Callable[[], Any]) -> None:
    assert graph_version(changed()) != graph_version(built())


def test_a_change_inside_a_subgraph_is_another_version() -> None:
    def around(inner: Any) -> Any:
        return StateGraph(State).add_node("sub", inner).add_edge(START, "sub").compile()

    assert graph_version(around(built())) == graph_version(around(built()))
    assert graph_version(around(built())) != graph_version(around(built(nodes=("a", "b", "c"))))


def test_no_memory_address_gets_into_a_version() -> None:
    def with_state(note: object, choice: Any) -> Any:
        class Noted(TypedDict):
            x: Annotated[dict[str, Callable[[int], str]] | None, note]
            c: choice

        return StateGraph(Noted).add_node("n", step).add_edge(START, "n").compile()

    first, second = object(), object()

    assert graph_version(with_state(first, Literal["p", 1])) == graph_version(with_state(second, Literal["p", 1]))
    assert graph_version(with_state(first, Literal["p", 1])) != graph_version(with_state(first, Literal["q", 1]))


def test_the_version_of_an_entrypoint_is_its_name_and_signature() -> None:
    def make(kind: int) -> Any:
        if kind == 0:

            async def agent(n: int) -> int:
                return n
        elif kind == 1:

            async def agent(n: int) -> int:
                return n * 2
        else:

            async def agent(n: str) -> int:
                return len(n)

        return entrypoint()(agent)

    assert graph_version(make(0)) == graph_version(make(1)), "what a function does is not its shape"
    assert graph_version(make(0)) != graph_version(make(2))

    @entrypoint()
    def other(n: int) -> int:
        return n

    assert graph_version(other) != graph_version(make(0))
