"""Where in its graph a run is at the moment, for what its calls are remembered by.

A task of LangGraph has an id that is made of the checkpoint it stands on, so that it is the same for each execution of
one step and another for each visit of a node. That holds for what is looked up after a crash only if the checkpoint is
still there then. So calls wait until it is durable (`settled`), and in a graph that keeps no checkpoints of its own,
which begins anew with the task that called it, they are counted for that task. A run with durability `exit` stores
nothing until its end: after a crash all of it is done anew, its calls included.
"""

from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from langchain_core.runnables.config import var_child_runnable_config
from langgraph.types import interrupt

from outlast.agents.checkpoints.accepted import Accepted
from outlast.calls.scope import Place

# LangGraph's names in `configurable`: of the task's namespace, of the checkpoints that the graphs around it stand on
# (by their namespaces), and of what it tells nodes.
_NAMESPACE, _CHECKPOINTS, _RUNTIME = "checkpoint_ns", "checkpoint_map", "__pregel_runtime"
_SEPARATOR = "|"


@dataclass(frozen=True, slots=True)
class _Graph:
    """A graph around the running task, and the checkpoint it stands on."""

    ns: str
    checkpoint_id: str


class Places:
    """What the calls of one attempt ask of its graph; see `calls.scope.Scope`."""

    def __init__(self, accepted: Accepted, *, durable: bool) -> None:
        self._accepted = accepted
        self._durable = durable

    def locate(self) -> Place | None:
        """Return the task that is being executed; None between tasks."""
        configurable = _configurable()
        task: str = configurable.get(_NAMESPACE) or ""
        info = getattr(configurable.get(_RUNTIME), "execution_info", None)
        if not task or info is None:
            return None
        inside = task
        for graph in _around(task, configurable):
            if self._is_kept(graph):
                return self._place(inside, graph, info.node_attempt if inside is task else 1)
            inside = _without_counter(graph.ns)
        return Place(task, info.node_attempt)

    async def settled(self) -> None:
        """Return when the checkpoints that the running task stands on are durable."""
        configurable = _configurable()
        for graph in _around(configurable.get(_NAMESPACE) or "", configurable):
            if self._is_kept(graph):
                await self._accepted.durable(graph.ns, UUID(graph.checkpoint_id))

    def _place(self, task: str, graph: _Graph, execution: int) -> Place:
        return Place(task, execution, UUID(graph.checkpoint_id) not in self._accepted.read[graph.ns])

    def _is_kept(self, graph: _Graph) -> bool:
        return self._durable and graph.ns in self._accepted.read


def ask(question: dict[str, Any]) -> Any:
    """Ask a person: the answer if there is one, else the task ends until there is."""
    return interrupt(question)


def _configurable() -> dict[str, Any]:
    config = var_child_runnable_config.get()
    return {} if config is None else config.get("configurable") or {}


def _around(task: str, configurable: dict[str, Any]) -> list[_Graph]:
    """Return the graphs around a task, the innermost first. A run may name checkpoints of graphs that are not.

    What stands on the checkpoint of the graph around it is none, but a task that calls others (`@task`). Those are kept
    one by one, and counted by themselves: of a task that is executed again they are not executed again.
    """
    checkpoints = cast("dict[str, str]", configurable.get(_CHECKPOINTS) or {})
    around = sorted((ns for ns in checkpoints if not ns or task.startswith(ns + _SEPARATOR)), key=len)
    graphs = [
        _Graph(ns, checkpoints[ns])
        for outer, ns in zip([None, *around], around, strict=False)
        if outer is None or checkpoints[ns] != checkpoints[outer]
    ]
    return graphs[::-1]


def _without_counter(ns: str) -> str:
    """Return the task that called a graph: the second graph that a task calls is told from the first by a number."""
    task, _, last = ns.rpartition(_SEPARATOR)
    return task if last.isdigit() else ns
