"""Where a graph is and which tools it calls: told as it happens, and known to everything that happens there.

LangGraph tells it as callbacks, of inner graphs, parallel nodes, `@task` functions and graphs that a node calls by
itself, too. A beginning comes in the task of the node right before its code, so that what is set here is the
surroundings of all that the node does; an end may come in another task, which cannot set them back.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langgraph.errors import GraphBubbleUp, GraphInterrupt, ParentCommand

from outlast.calls.tally import Tally
from outlast.telemetry import emit
from outlast.telemetry.surroundings import Place, step_into, step_out

# LangGraph's mark of a node's own run; what the node runs inside of it does not have it, and `@task` functions neither.
_NODE: Final = "graph:step:"
_HIDDEN: Final = "__"


class _Begun(NamedTuple):
    at: float
    place: Place
    name: str
    step: int = 0
    #: LangGraph's namespace of the node's task.
    running: str = ""
    #: Where it is executed; LangChain tells the end in a task of its own. None: in a thread.
    task: "asyncio.Task[Any] | None" = None


class NodeEvents(BaseCallbackHandler):
    """Emits `node.started`, `node.ended` and `tool.ended`, and counts for one attempt; called from any thread."""

    # In the task itself: anywhere else it would cost a thread each, and could not be the node's surroundings.
    run_inline = True
    ignore_chat_model = ignore_custom_event = ignore_llm = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]
    ignore_retriever = ignore_retry = True  # pyright: ignore[reportAssignmentType, reportIncompatibleMethodOverride]

    def __init__(self, tally: Tally) -> None:
        self._tally = tally
        self._nodes: dict[UUID, _Begun] = {}
        self._tools: dict[UUID, _Begun] = {}
        self._running = set[str]()

    def on_chain_start(
        self,
        serialized: Mapping[str, Any] | None,  # noqa: ARG002 - LangChain's signature
        inputs: Any,  # noqa: ARG002
        *,
        run_id: UUID,
        tags: Sequence[str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        **given: Any,
    ) -> None:
        """Say that a node begins, if that is what begins."""
        name = str(given.get("name") or "")
        about = metadata or {}
        if about.get("langgraph_node") != name or name.startswith(_HIDDEN):
            return
        running = str(about.get("langgraph_checkpoint_ns"))
        if running in self._running and not any(tag.startswith(_NODE) for tag in tags or ()):
            return
        step = int(about.get("langgraph_step") or 0)
        self._running.add(running)
        place = step_into(node=name, step=step)
        self._nodes[run_id] = _Begun(time.perf_counter(), place, name, step, running, _task())
        self._tally.add_node()
        emit("node.started", node=name, step=step)

    def on_chain_end(self, outputs: Any, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """Say that a node has ended."""
        begun = self._nodes.pop(run_id, None)
        if begun is not None:
            self._node_ended(begun, "success", None)

    def on_chain_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """Say how a node has ended that did not return."""
        begun = self._nodes.pop(run_id, None)
        if begun is not None:
            outcome = _outcome(error, begun.task)
            self._node_ended(begun, outcome, type(error).__name__ if outcome == "error" else None)

    def on_tool_start(
        self, serialized: Mapping[str, Any] | None, input_str: str, *, run_id: UUID, **given: Any  # noqa: ARG002
    ) -> None:  # fmt: skip
        """Note that a tool begins."""
        name = str(given.get("name") or (serialized or {}).get("name") or "")
        self._tools[run_id] = _Begun(time.perf_counter(), step_into(tool=name), name, task=_task())

    def on_tool_end(self, output: Any, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """Say that a tool has answered, which may be with an error for the model."""
        begun = self._tools.pop(run_id, None)
        if begun is not None:
            self._tool_ended(begun, "error" if getattr(output, "status", None) == "error" else "ok", None)

    def on_tool_error(self, error: BaseException, *, run_id: UUID, **given: Any) -> None:  # noqa: ARG002
        """Say that a tool has raised; one that asks a person, or is stopped, has not failed."""
        begun = self._tools.pop(run_id, None)
        if begun is not None:
            outcome = _outcome(error, begun.task)
            name = type(error).__name__ if outcome == "error" else None
            self._tool_ended(begun, "ok" if outcome == "success" else outcome, name)

    def _node_ended(self, begun: _Begun, outcome: str, error: str | None) -> None:
        self._running.discard(begun.running)
        emit(
            "node.ended", node=begun.name, step=begun.step, seconds=time.perf_counter() - begun.at, outcome=outcome,
            error=error, within=None if begun.place.around is None else begun.place.around.fields.get("node"),
        )  # fmt: skip
        step_out(begun.place)

    def _tool_ended(self, begun: _Begun, outcome: str, error: str | None) -> None:
        self._tally.add_tool(failed=outcome == "error")
        seconds = time.perf_counter() - begun.at
        emit("tool.ended", tool=begun.name, seconds=seconds, outcome=outcome, error=error)
        step_out(begun.place)


def _outcome(error: BaseException, task: "asyncio.Task[Any] | None") -> str:
    if isinstance(error, ParentCommand):
        # A command for the graph around it: the node has done what it wanted.
        return "success"
    if isinstance(error, GraphInterrupt):
        return "interrupt"
    if isinstance(error, GraphBubbleUp):
        return "cancelled"
    # A node that raises it by itself, with nobody cancelling, has failed.
    cancelled = isinstance(error, asyncio.CancelledError) and (task is None or task.cancelling() > 0)
    return "cancelled" if cancelled else "error"


def _task() -> "asyncio.Task[Any] | None":
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None
