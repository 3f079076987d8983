"""The functional API's first step, held back until its input is durable.

LangGraph starts a run's first step while the checkpoint of the input is still on its way. A StateGraph's first step
just takes the input in; an entrypoint's is user code. The id of a task comes from that checkpoint, and the keys of
its effects come from the task's id: if the checkpoint is lost with the process, the next attempt would have other
keys.
"""

from collections.abc import Awaitable, Callable
from copy import copy
from typing import Any

from langchain_core.runnables import Runnable, RunnableConfig
from langgraph.constants import START

Wait = Callable[[], Awaitable[None]]


class _After(Runnable[Any, Any]):
    """A node's code, which begins when `wait` has returned."""

    def __init__(self, bound: Runnable[Any, Any], wait: Wait) -> None:
        self._bound = bound
        self._wait = wait

    def invoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002 - LangChain's
        msg = "runs are executed asynchronously"
        raise NotImplementedError(msg)

    async def ainvoke(self, input: Any, config: RunnableConfig | None = None, **kwargs: Any) -> Any:  # noqa: A002
        await self._wait()
        return await self._bound.ainvoke(input, config, **kwargs)


def after_input(graph: Any, wait: Wait) -> Any:
    """Return the graph with the code of an entrypoint behind `wait`; any other graph as it is."""
    if START in graph.nodes:
        return graph
    held = copy(graph)
    held.nodes = {name: node.copy({"bound": _After(node.bound, wait)}) for name, node in graph.nodes.items()}
    return held
