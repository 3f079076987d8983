"""Run a claimed run's graph so that every completed step survives the process.

input      a run that has no checkpoint yet starts with its input
None       a run that has one goes on from it: its input is never applied twice
resume     a run that was answered gives the answer to the checkpoint that asked, and to no later one
"""

from collections.abc import Iterable
from copy import copy
from typing import Any, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple
from langgraph.checkpoint.serde.types import INTERRUPT
from langgraph.errors import GraphDrained
from langgraph.runtime import RunControl
from langgraph.types import Command, GraphOutput, Interrupt

from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.jsonable import jsonable
from outlast.agents.registry import Agent
from outlast.domain.outcome import Drained, Failed, Outcome, Succeeded, Waiting
from outlast.domain.run import ClaimedRun

# LangGraph's channel that makes a node run next.
_TRIGGER = "branch:to:"
# Keys of `configurable` that are ours to set, whatever the request says.
_RESERVED = frozenset({"thread_id", "run_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map"})


def run_config(run: ClaimedRun, *, version: str | None = None) -> RunnableConfig:
    """Return the configuration the graph sees; the version is kept with each checkpoint."""
    given = dict(run.config)
    asked = cast("dict[str, Any]", given.pop("configurable", None) or {})
    configurable = {key: value for key, value in asked.items() if key not in _RESERVED and not key.startswith("__")}
    config: dict[str, Any] = {key: given[key] for key in ("recursion_limit", "tags", "max_concurrency") if key in given}
    config["configurable"] = {**configurable, "thread_id": run.thread_id, "run_id": str(run.id)}
    config["metadata"] = {
        **run.metadata, "run_id": str(run.id), "graph_id": run.agent, "run_attempt": run.errors + run.crashes + 1
    }  # fmt: skip
    if version is not None:
        config["metadata"]["graph_version"] = version
    return cast("RunnableConfig", config)


async def execute(agent: Agent, saver: Checkpointer, run: ClaimedRun, control: RunControl) -> Outcome:
    """Take the graph as far as it goes.

    Raises LeaseLost when the run has another owner, and whatever the graph raises.
    """
    graph: Any = copy(agent.graph)
    graph.checkpointer = saver
    config = run_config(run, version=agent.version)
    head = await saver.aget_tuple(_thread(run)) if _may_have_progress(run) else None
    given = _next_input(run, head)
    if isinstance(given, Waiting):
        return given
    if head is not None and _resumes(given):
        mismatch = await _version_mismatch(graph, agent, run, config, head)
        if mismatch is not None:
            return mismatch
    try:
        result = await graph.ainvoke(given, config, durability="sync", control=control, version="v2")
    except GraphDrained:
        return Drained()
    output: GraphOutput[Any] = result
    if output.interrupts or _has_breakpoints(graph):
        waiting = await _waiting(graph, saver, run, output)
        if waiting is not None:
            return waiting
    return Succeeded(output=jsonable(output.value))


def _thread(run: ClaimedRun) -> RunnableConfig:
    return {"configurable": {"thread_id": run.thread_id}}


def _may_have_progress(run: ClaimedRun) -> bool:
    # Epoch 1 is the first claim ever: nobody has executed anything of this run.
    return run.epoch > 1 and run.has_state


def _next_input(run: ClaimedRun, head: CheckpointTuple | None) -> Any:
    if head is None:
        return run.input
    if run.answered and run.waiting_at == UUID(head.checkpoint["id"]):
        return _resumption(run, head)
    return None if head.metadata.get("run_id") == str(run.id) else run.input


def _resumption(run: ClaimedRun, head: CheckpointTuple) -> Any:
    """Address the answer to its question by id, if that is still open; else go on, or wait for what is asked now.

    Bare, LangGraph refuses None, and takes an empty mapping for one of ids: the question would be asked again. A node
    may ask again at the same checkpoint, and a worker may have died just then: LangGraph would take the answer that was
    given to the first question for the second.
    """
    questions = _open_questions(head)
    if not questions:
        # A breakpoint asks nothing; an answer kept for it would be taken for that to the next question.
        return None
    asked = set(run.asked or questions)
    if asked.isdisjoint(questions):
        return _waiting_for(questions.values(), head)
    if _names_one(run.answer, asked):
        named = {question: text for question, text in run.answer.items() if question in questions}
        return Command(resume=named) if named else None
    return Command(resume={asked.pop(): run.answer} if len(asked) == 1 else run.answer)


def _open_questions(head: CheckpointTuple) -> dict[str, Interrupt]:
    """Return the questions of tasks that have not finished since, by id."""
    writes = head.pending_writes or ()
    finished = {task_id for task_id, channel, _ in writes if channel not in WRITES_IDX_MAP}
    return {
        item.id: item
        for task_id, channel, value in writes
        if channel == INTERRUPT and task_id not in finished
        for item in value
    }


def _names_one(answer: object, asked: set[str]) -> bool:
    return isinstance(answer, dict) and not asked.isdisjoint(cast("dict[str, Any]", answer))


def _waiting_for(questions: Iterable[Interrupt], head: CheckpointTuple) -> Waiting:
    return Waiting(
        interrupts=[_question(interrupt) for interrupt in questions],
        checkpoint_id=UUID(head.checkpoint["id"]),
        output=None,
    )


def _resumes(given: object) -> bool:
    return given is None or isinstance(given, Command)


async def _version_mismatch(
    graph: Any, agent: Agent, run: ClaimedRun, config: RunnableConfig, head: CheckpointTuple
) -> Failed | None:
    """Refuse to go on with a graph that has lost the place where the run stands.

    LangGraph would find nothing to do and call the run finished, and an answer would be dropped.
    """
    before = head.metadata.get("graph_version")
    if before in (None, agent.version):
        return None
    if not _lost_steps(head, graph) and (not run.answered or (await graph.aget_state(config)).next):
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


def _has_breakpoints(graph: Any) -> bool:
    return bool(graph.interrupt_before_nodes or graph.interrupt_after_nodes)


async def _waiting(graph: Any, saver: Checkpointer, run: ClaimedRun, output: "GraphOutput[Any]") -> Waiting | None:
    """Return what the run waits for; None when it only passed a breakpoint's check."""
    head = await saver.aget_tuple(_thread(run))
    interrupts = [_question(interrupt) for interrupt in output.interrupts]
    if not interrupts:
        state = await graph.aget_state(_thread(run))
        interrupts = [{"id": None, "value": None, "node": node} for node in state.next]
        if not interrupts:
            return None
    return Waiting(
        interrupts=interrupts,
        checkpoint_id=UUID(head.checkpoint["id"]) if head is not None else None,
        output=jsonable(output.value),
    )


def _question(interrupt: Interrupt) -> dict[str, Any]:
    return {"id": interrupt.id, "value": jsonable(interrupt.value)}
