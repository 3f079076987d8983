"""Agents that are loaded already, while others are not."""

import asyncio
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

from outlast.agents.project import AgentSpec, Project
from outlast.agents.registry import Registry

GRAPH = """
    from typing import TypedDict
    from langgraph.graph import START, StateGraph

    class State(TypedDict):
        count: int

    def graph():
        return StateGraph(State).add_node("step", lambda state: state).add_edge(START, "step")

    def graph_of(config):
        return graph()
"""
SLOW = """
    import gates_of_a_slow_import as gates
    gates.begun.set()
    gates.go_on.wait(10)
"""


class Gates:
    """Holds the import of the slow agent."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.go_on = threading.Event()


@pytest.mark.parametrize("attribute", ["graph", "graph_of"])
async def test_a_loaded_agent_does_not_wait_for_the_import_of_another_one(
    attribute: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gates = Gates()
    monkeypatch.setitem(sys.modules, "gates_of_a_slow_import", gates)
    monkeypatch.setattr(sys, "path", list(sys.path))
    names = {"ready": f"ready_agent_{attribute}", "slow": f"slow_agent_{attribute}"}
    (tmp_path / f"{names['ready']}.py").write_text(dedent(GRAPH))
    (tmp_path / f"{names['slow']}.py").write_text(dedent(SLOW + GRAPH))
    specs = {
        name: AgentSpec(name=name, path=None, module=module, attribute=attribute) for name, module in names.items()
    }
    registry = Registry(Project(root=tmp_path, agents=specs))
    async with registry.opened("ready") as first:
        pass

    loading = asyncio.create_task(registry.get("slow"))
    try:
        assert await asyncio.to_thread(gates.begun.wait, 10)
        async with asyncio.timeout(5), registry.opened("ready") as again:
            assert again.version == first.version
        assert not loading.done()
    finally:
        gates.go_on.set()
        await loading
        await registry.aclose()
        for module in names.values():
            sys.modules.pop(module, None)
