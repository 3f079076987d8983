"""A thread's state through its graph: read, listed, changed from outside of a run, and told as JSON.

Through the graph and not from the checkpoint's raw channels: it knows which of them are its own business. A graph here
is bound to its saver (`bound`); configurations are `address`es.
"""

# LangGraph is typed, but pyright does not see it: the py.typed of a namespace package is not looked at.
# pyright: reportMissingTypeStubs=false

from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from typing import Any, Final, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, Interrupt, Send, StateSnapshot, StateUpdate

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.jsonable import encoded, jsonable
from outlast.agents.registry import Agent
from outlast.domain.thread import ThreadMark, ThreadState
from outlast.errors import InvalidInput, NotFound, OutlastError

_ADDRESS: Final = ("thread_id", "checkpoint_ns", "checkpoint_id", "checkpoint_map")
# What `as_node` may say besides a node's name: LangGraph's words for input, for the end and for a copy.
_NOT_NODES: Final = frozenset({"__input__", "__start__", "__end__", "__copy__"})
#: The fields of a state that a reader may choose.
FIELDS: Final = (
    "values", "next", "tasks", "checkpoint", "metadata", "created_at", "parent_checkpoint", "interrupts"
)  # fmt: skip
# Ids that older clients read.
_LEGACY: Final = {"checkpoint": "checkpoint_id", "parent_checkpoint": "parent_checkpoint_id"}


def bound(agent: Agent, saver: Checkpointer) -> Any:
    """Return the agent's graph on this saver; the agent's own stays as it is."""
    graph: Any = copy(agent.graph)
    graph.checkpointer = saver
    return graph


def address(
    thread_id: str, checkpoint: Mapping[str, Any] | None = None, configurable: Mapping[str, Any] | None = None
) -> RunnableConfig:
    """Return the configuration of a thread's state, or of an older one: `checkpoint_ns`, `_id` and `_map`.

    Raises InvalidInput for a checkpoint of another thread.
    """
    given = {key: value for key, value in (checkpoint or {}).items() if key in _ADDRESS and value is not None}
    if given.get("thread_id", thread_id) != thread_id:
        msg = "the checkpoint is of another thread"
        raise InvalidInput(msg, field="checkpoint.thread_id")
    return {"configurable": {**(configurable or {}), "checkpoint_ns": "", **given, "thread_id": thread_id}}


def labelled(config: RunnableConfig, graph_id: str, version: str) -> RunnableConfig:
    """Return the address for a write; its checkpoint says which graph made it, as those of runs do."""
    return {**config, "metadata": {"graph_id": graph_id, "graph_version": version}}


async def read_state(graph: Any, config: RunnableConfig, *, subgraphs: bool = False) -> StateSnapshot:
    """Return a state. Without any checkpoint it is empty: `created_at` is None.

    Raises NotFound for a checkpoint that is not there, StateUnreadable naming the path.
    """
    snapshot: StateSnapshot = await graph.aget_state(config, subgraphs=subgraphs)
    wanted = config.get("configurable", {}).get("checkpoint_id")
    if snapshot.created_at is None and wanted:
        kind = "checkpoint"
        raise NotFound(kind, str(wanted))
    return snapshot


async def read_history(
    graph: Any,
    config: RunnableConfig,
    *,
    limit: int,
    before: RunnableConfig | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> list[StateSnapshot]:
    """Return states, newest first; raises StateUnreadable naming the path."""
    found = graph.aget_state_history(config, limit=limit, before=before, filter=dict(metadata or {}) or None)
    return [snapshot async for snapshot in found]


async def update_state(
    graph: Any, saver: Checkpointer, config: RunnableConfig, values: Any, *, as_node: str | None
) -> RunnableConfig:
    """Change a state as if a node had returned `values`; return the new state's address.

    At an older checkpoint this is a fork, and the thread stands at it afterwards. Raises NotFound for a checkpoint that
    is not there, InvalidInput when the graph refuses, ThreadConflict when another writer was faster.
    """
    wanted = config.get("configurable", {})
    if wanted.get("checkpoint_id") and await saver.aget_tuple(config) is None:
        kind = "checkpoint"
        raise NotFound(kind, str(wanted["checkpoint_id"]))
    if not wanted.get("checkpoint_ns"):
        _check_node(graph, as_node, "as_node")
    with _refusals("values"):
        return await graph.aupdate_state(config, values, as_node=as_node)


async def apply_supersteps(graph: Any, config: RunnableConfig, supersteps: Sequence[Sequence[StateUpdate]]) -> None:
    """Apply updates step by step to a thread without state; raises InvalidInput when the graph refuses one."""
    for index, updates in enumerate(supersteps):
        for update in updates:
            _check_node(graph, update.as_node, f"supersteps[{index}]")
    with _refusals("supersteps"):
        await graph.abulk_update_state(config, supersteps)


def state_update(values: Any, command: Mapping[str, Any] | None, as_node: str | None) -> StateUpdate:
    """Return one update of a superstep; a command takes the place of values."""
    given: Any = values if command is None else _command(command)
    return StateUpdate(given, as_node, None)


def mark_of(snapshot: StateSnapshot) -> ThreadMark:
    """Return how the thread of a present state stands."""
    open_tasks = {
        task.id: [_question(interrupt) for interrupt in task.interrupts]
        for task in snapshot.tasks
        if task.interrupts
    }  # fmt: skip
    stands_at = (snapshot.config.get("configurable") or {}).get("checkpoint_id")
    at = None if stands_at is None else UUID(str(stands_at))
    waits = bool(snapshot.next or open_tasks)
    return ThreadMark(
        state=ThreadState.INTERRUPTED if waits else ThreadState.IDLE,
        values=None if snapshot.created_at is None else encoded(snapshot.values),
        interrupts=open_tasks,
        waiting_at=at if waits else None,
        stands_at=at,
    )


def state_body(snapshot: StateSnapshot) -> dict[str, Any]:
    """Return a state as clients get it."""
    empty = snapshot.created_at is None
    checkpoint = None if empty else checkpoint_of(snapshot.config)
    parent = checkpoint_of(snapshot.parent_config)
    return {
        "values": jsonable(snapshot.values) if snapshot.values is not None else {},
        "next": list(snapshot.next),
        "tasks": [_task(task) for task in snapshot.tasks],
        "metadata": jsonable(snapshot.metadata),
        "created_at": snapshot.created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": parent,
        "interrupts": [_question(interrupt) for interrupt in snapshot.interrupts],
        "checkpoint_id": (checkpoint or {}).get("checkpoint_id"),
        "parent_checkpoint_id": (parent or {}).get("checkpoint_id"),
    }


def selected(body: Mapping[str, Any], select: Sequence[str]) -> dict[str, Any]:
    """Return the chosen fields of a state: `values`, or single ones as `values.messages`; all without a choice.

    Raises InvalidInput for a field that a state does not have.
    """
    if not select:
        return dict(body)
    chosen: dict[str, Any] = {}
    for name in select:
        field, dot, key = name.partition(".")
        if field not in FIELDS or (dot and (field != "values" or not key)):
            msg = f"a state has no field {name!r}; there are {', '.join(FIELDS)} and values.<key>"
            raise InvalidInput(msg, field="select")
        if dot:
            _choose_value(chosen, body["values"], key)
        else:
            chosen[field] = body[field]
            if field in _LEGACY:
                chosen[_LEGACY[field]] = body[_LEGACY[field]]
    return chosen


def checkpoint_of(config: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the address in a configuration, and nothing else of what it holds."""
    configurable = (config or {}).get("configurable")
    if not configurable:
        return None
    return {key: configurable[key] for key in _ADDRESS if key in configurable}


def _choose_value(chosen: dict[str, Any], values: Any, key: str) -> None:
    if isinstance(values, dict) and key in values:
        chosen.setdefault("values", {})[key] = values[key]
    else:
        chosen.setdefault("values", {})


def _task(task: Any) -> dict[str, Any]:
    inner = task.state
    nested = isinstance(inner, StateSnapshot)
    return {
        "id": task.id,
        "name": task.name,
        "path": jsonable(task.path),
        "error": None if task.error is None else repr(task.error),
        "interrupts": [_question(interrupt) for interrupt in task.interrupts],
        "checkpoint": checkpoint_of(inner.config if nested else inner),
        "state": state_body(inner) if nested else None,
        "result": jsonable(task.result),
    }


def _question(interrupt: Interrupt) -> dict[str, Any]:
    return {"id": interrupt.id, "value": jsonable(interrupt.value)}


def _check_node(graph: Any, as_node: str | None, field: str) -> None:
    if as_node is not None and as_node not in graph.nodes and as_node not in _NOT_NODES:
        msg = f"the graph has no node {as_node!r}; it has {', '.join(name for name in graph.nodes if name[:2] != '__')}"
        raise InvalidInput(msg, field=field)


def _command(given: Mapping[str, Any]) -> Command[Any]:
    targets = given.get("goto") or ()
    many = cast("Sequence[Any]", targets if isinstance(targets, list | tuple) else [targets])
    return Command(update=given.get("update"), resume=given.get("resume"), goto=[_target(target) for target in many])


def _target(target: Any) -> Any:
    if not isinstance(target, dict):
        return target
    sent = cast("dict[str, Any]", target)
    return Send(sent["node"], sent.get("input"))


@contextmanager
def _refusals(field: str) -> Generator[None]:
    """Turn what the graph raises about a client's values into InvalidInput: its reducers and edges are user code."""
    try:
        yield
    except OutlastError:
        raise
    # Whatever a user's reducer or edge raises.
    except Exception as error:
        msg = f"the graph refuses this update: {type(error).__name__}: {error}"
        raise InvalidInput(msg, field=field) from error
