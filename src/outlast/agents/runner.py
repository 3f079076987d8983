"""Run a claimed run's graph so that every completed step survives the process."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, cast
from uuid import UUID

import orjson
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import CheckpointTuple
from langgraph.errors import GraphDrained, GraphRecursionError
from langgraph.runtime import RunControl
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Interrupt

from outlast.agents import calling, step_limit
from outlast.agents.checking import Checks
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.chunks import Part
from outlast.agents.first_step import after_input
from outlast.agents.recording import Recorder
from outlast.agents.registry import Agent
from outlast.agents.states import bound
from outlast.domain.outcome import Drained, Failed, Outcome, Succeeded, Waiting
from outlast.domain.run import ClaimedRun
from outlast.errors import NotFound

# LangGraph's key of `configurable` that says whether a graph goes on.
_RESUMING = "__pregel_resuming"
# LangGraph's channel that makes a node run next.
_TRIGGER = "branch:to:"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Start:
    """What the graph is called with, and the checkpoint that it goes on from, where that had to be looked at."""

    given: Any
    config: RunnableConfig
    head: CheckpointTuple | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """What a graph is called with in the place of what the run begins with; None: it goes on from where it stands."""

    value: Any
    #: The graph was called in this attempt before.
    again: bool = False


@dataclass(slots=True)
class _Said:
    """What is left of the parts of an attempt: the last state, and the questions with the graph that asked first."""

    state: Part | None = None
    interrupts: dict[str, Interrupt] = field(default_factory=dict[str, Interrupt])
    asked_in: dict[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])

    def hear(self, part: Part) -> None:
        if part.mode != "values":
            return
        for interrupt in part.interrupts:
            self.asked_in.setdefault(interrupt.id, part.ns)
        if not part.ns:
            self.state = part
            self.interrupts |= {interrupt.id: interrupt for interrupt in part.interrupts}


async def execute(
    agent: Agent,
    saver: Checkpointer,
    run: ClaimedRun,
    control: RunControl,
    recorder: Recorder,
    *,
    store: BaseStore | None = None,
    recursion_limit: int = 25,
    callbacks: Sequence[Any] = (),
    given: Given | None = None,
    checks: Checks | None = None,
) -> Outcome:
    """Take the graph as far as it goes; what it says on the way goes to the recorder.

    A graph that has ended and is called with None does nothing, and says its state once more.

    Raises LeaseLost when the run has another owner, and whatever the graph raises.
    """
    graph = _equipped(agent, saver, store)
    graph = graph if checks is None else checks.graph(graph)
    step_limit.default_to(recursion_limit)
    config = calling.run_config(run, version=agent.version)
    config["callbacks"] = list(callbacks)
    start = await _start(saver, run, config) if given is None else _start_with(given, run, config)
    if isinstance(start.given, Waiting):
        return start.given
    if (mismatch := await _version_mismatch(graph, agent, run, start)) is not None:
        return mismatch
    if given is None or not given.again:
        recorder.begin()
    said = _Said()
    arguments = calling.graph_arguments(run, graph) | {"control": control}
    try:
        await _listen(calling.parts(graph, start.given, start.config, run.id, recorder, **arguments), recorder, said)
    except GraphDrained:
        return Drained()
    except GraphRecursionError as error:
        return await step_limit.failure(error, graph, _thread(run))
    return await _waiting(graph, saver, run, said) or _succeeded(graph, saver, run, said)


def _equipped(agent: Agent, saver: Checkpointer, store: BaseStore | None) -> Any:
    graph = after_input(bound(agent, saver), saver.accepted.settled)
    # A store of the author's own stays; one in memory would forget with this process what other workers never saw.
    if store is not None and (graph.store is None or isinstance(graph.store, InMemoryStore)):
        graph.store = store
    return graph


def _start_with(given: Given, run: ClaimedRun, config: RunnableConfig) -> _Start:
    _trace(run, config)
    if given.value is not None:
        # LangGraph takes an input with the run id of the last checkpoint for a run that goes on, and drops it.
        config["configurable"] = {**(config.get("configurable") or {}), _RESUMING: False}
    return _Start(given=given.value, config=config)


def _trace(run: ClaimedRun, config: RunnableConfig) -> None:
    if run.options.tracer is not None:
        config["callbacks"] = [*cast("list[Any]", config.get("callbacks")), calling.tracer(run.options.tracer)]


async def _start(saver: Checkpointer, run: ClaimedRun, config: RunnableConfig) -> _Start:
    _trace(run, config)
    head = await saver.aget_tuple(_thread(run)) if _needs_head(run) else None
    checkpoint = calling.checkpoint_of(run)
    if checkpoint is None or (head is not None and calling.is_of(run, head)):
        return _Start(given=calling.graph_input(run, head), config=config, head=head)
    return await _start_at(saver, run, config, head, checkpoint)


async def _start_at(
    saver: Checkpointer, run: ClaimedRun, config: RunnableConfig, head: CheckpointTuple | None, at: Mapping[str, Any]
) -> _Start:
    """Start from a checkpoint that was named; LangGraph would take one that does not exist for an empty thread."""
    address = calling.addressed(_thread(run), calling.root_of(at))
    found = await saver.aget_tuple(address)
    if found is None:
        raise NotFound("checkpoint", str(at.get("checkpoint_id") or at.get("checkpoint_map")))
    if run.answered and head is not None and head.checkpoint["id"] == found.checkpoint["id"]:
        # Named, but not left: the answer belongs to the question that the thread asks.
        return _Start(given=calling.graph_input(run, head), config=config, head=head)
    given = calling.answer_to(run, found) if run.answered else calling.first_input(run)
    return _Start(given=given, config=calling.addressed(config, at), head=found)


async def _listen(stream: AsyncGenerator[Part], recorder: Recorder, said: _Said) -> None:
    async with aclosing(stream) as parts:
        async for part in parts:
            said.hear(part)
            recorder.record(part)


def _thread(run: ClaimedRun) -> RunnableConfig:
    return {"configurable": {"thread_id": run.thread_id}}


def _needs_head(run: ClaimedRun) -> bool:
    # Epoch 1 is the first claim ever: nobody has executed anything of this run. But it may answer another one's.
    return run.has_state and (run.epoch > 1 or run.answered)


def _resumes(given: object) -> bool:
    return given is None or isinstance(given, Command)


async def _version_mismatch(graph: Any, agent: Agent, run: ClaimedRun, start: _Start) -> Failed | None:
    """Refuse to go on with a graph that has lost the place where the run stands.

    LangGraph would find nothing to do and call the run finished, and an answer would be dropped.
    """
    head = start.head
    if head is None or not _resumes(start.given):
        return None
    before = head.metadata.get("graph_version")
    if before in (None, agent.version):
        return None
    if not _lost_steps(head, graph) and (not run.answered or (await graph.aget_state(start.config)).next):
        return None
    message = (
        f"agent {agent.name!r} is now version {agent.version}, the run stands in version {before} "
        "at a step that is gone; deploy the old version to finish it, or cancel it"
    )
    return Failed(code="version_mismatch", message=message, retryable=False)


def _lost_steps(head: CheckpointTuple, graph: Any) -> list[str]:
    """Return the nodes that the checkpoint would run next and the graph does not have."""
    values = head.checkpoint["channel_values"]
    triggered = [channel.removeprefix(_TRIGGER) for channel in values if channel.startswith(_TRIGGER)]
    sent = [packet.node for packet in values.get("__pregel_tasks") or () if hasattr(packet, "node")]
    return [node for node in (*triggered, *sent) if node not in graph.nodes]


def _has_breakpoints(graph: Any, run: ClaimedRun) -> bool:
    return bool(
        graph.interrupt_before_nodes
        or graph.interrupt_after_nodes
        or run.options.interrupt_before
        or run.options.interrupt_after
    )


def _succeeded(graph: Any, saver: Checkpointer, run: ClaimedRun, said: _Said) -> Succeeded:
    # A graph that changed nothing may have said nothing.
    state = said.state.json() if said.state is not None else None
    if not run.options.plain:
        return Succeeded(output=None, values=state, stands_at=saver.accepted.stands_at)
    whole = _names(graph.output_channels) == _names(graph.stream_channels_asis)
    stands_at = saver.accepted.stands_at if whole else None
    output = orjson.loads(state) if state is not None else None
    return Succeeded(output=output, values=state if whole else None, stands_at=stands_at)


def _names(channels: Any) -> Any:
    return channels if isinstance(channels, str) else frozenset(cast("Sequence[str]", channels))


async def _waiting(graph: Any, saver: Checkpointer, run: ClaimedRun, said: _Said) -> Waiting | None:
    """Return what the run waits for; None when it asks nothing, or only passed a breakpoint's check."""
    if not said.interrupts and not _has_breakpoints(graph, run):
        return None
    head = await saver.aget_tuple(_thread(run))
    interrupts = [_question(interrupt, said) for interrupt in said.interrupts.values()]
    if not interrupts:
        state = await graph.aget_state(_thread(run))
        interrupts = [{"id": None, "value": None, "node": node} for node in state.next]
        if not interrupts:
            return None
    done = _succeeded(graph, saver, run, said)
    by_task = calling.questions_by_task(head) if head is not None else {}
    return Waiting(
        interrupts=interrupts,
        checkpoint_id=UUID(head.checkpoint["id"]) if head is not None else None,
        output=done.output,
        values=done.values,
        tasks={task: [calling.question(item) for item in items] for task, items in by_task.items()},
    )


def _question(interrupt: Interrupt, said: _Said) -> dict[str, Any]:
    where = said.asked_in.get(interrupt.id)
    return {**calling.question(interrupt), "ns": list(where)} if where else calling.question(interrupt)
