"""A graph that goes round in circles is stopped, and says where it went round."""

from operator import add
from pathlib import Path
from typing import Annotated, Any, TypedDict

import pytest
from engine import Engine
from langgraph.graph import END, START, StateGraph

from outlast.agents.project import AgentSpec, Project
from outlast.domain.run import RunStatus


class Turns(TypedDict, total=False):
    taken: Annotated[list[str], add]
    until: int


def _circle() -> Any:
    """Two nodes in turn, until as many steps are taken as the input says."""

    def taking(name: str) -> Any:
        return lambda _state: {"taken": [name]}

    def onward(there: str) -> Any:
        return lambda state: END if len(state["taken"]) >= state.get("until", 10_000) else there

    builder = StateGraph(Turns)
    for here, there in (("left", "right"), ("right", "left")):
        builder.add_node(here, taking(here))
        builder.add_conditional_edges(here, onward(there), [there, END])
    builder.add_edge(START, "left")
    return builder.compile()


circle = _circle()
patient = _circle().with_config({"recursion_limit": 40})
# Graphs as nodes of another one: one with a limit of its own, one without.
employer = StateGraph(Turns).add_node("worker", patient).add_edge(START, "worker").compile()
parent = StateGraph(Turns).add_node("child", circle).add_edge(START, "child").compile()


@pytest.fixture
def agents() -> Project:
    specs = {
        name: AgentSpec(name=name, path=None, module="test_step_limit", attribute=name)
        for name in ("circle", "patient", "employer", "parent")
    }
    return Project(root=Path(__file__).parent, agents=specs)


async def test_a_graph_in_a_circle_stops_after_25_steps_and_says_where(engine: Engine, agents: Project) -> None:
    async with engine.working(agents=agents):
        view = await engine.ended(await engine.start("circle"))

    assert (view.status, view.error_code, view.errors) == (RunStatus.FAILED, "recursion_limit", 1), "tried once"
    assert view.error_message is not None
    assert view.error_message.startswith("the graph took 25 steps without coming to an end, and that is its limit.")
    assert "left -> right -> left -> right -> left; right would have been next" in view.error_message
    assert "worker.recursion_limit" in view.error_message


@pytest.mark.parametrize(
    ("agent", "limit", "steps", "ends"),
    [
        # LangGraph looks at the limit before it sees that nothing is left to do.
        ("circle", None, 24, True),
        ("circle", None, 25, False),
        ("circle", 30, 29, True),
        ("circle", 3, 3, False),
        ("patient", None, 39, True),
        ("patient", None, 40, False),
        ("patient", 7, 7, False),
        ("employer", None, 39, True),
        ("employer", None, 40, False),
        ("parent", None, 24, True),
        ("parent", None, 25, False),
    ],
    ids=[
        "default",
        "over-default",
        "of-run",
        "over-run",
        "of-graph",
        "over-graph",
        "run-over-graph",
        "of-inner-graph",
        "over-inner-graph",
        "default-of-inner-graph",
        "over-default-of-inner-graph",
    ],
)
async def test_the_runs_limit_goes_before_the_graphs_and_that_before_the_default(
    engine: Engine, agents: Project, *, agent: str, limit: int | None, steps: int, ends: bool
) -> None:
    config = {"recursion_limit": limit} if limit else {}
    async with engine.working(agents=agents):
        view = await engine.ended(await engine.start(agent, {"until": steps}, config=config))

    assert (view.status, view.error_code) == (
        (RunStatus.SUCCEEDED, None) if ends else (RunStatus.FAILED, "recursion_limit")
    )


async def test_the_default_is_a_setting(engine: Engine, agents: Project) -> None:
    async with engine.working(agents=agents, worker={"recursion_limit": 2}):
        view = await engine.ended(await engine.start("circle"))

    assert view.error_message is not None
    assert "took 2 steps" in view.error_message
    assert "left -> right; left would have been next" in view.error_message
