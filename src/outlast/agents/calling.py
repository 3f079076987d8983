"""How a run calls its graph: with what input, what configuration and what arguments, and what comes back.

input      a run that has no checkpoint yet starts with its input, or with the command that it carries
None       a run that has one goes on from it: its input is never applied twice
resume     a run that was answered gives the answer to the checkpoint that asked, and to no later one
"""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Final, Protocol, cast
from uuid import UUID

from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import WRITES_IDX_MAP, CheckpointTuple
from langgraph.checkpoint.serde.types import INTERRUPT, RESUME
from langgraph.types import Command, Interrupt, Send

from outlast.agents import events_mode
from outlast.agents.chunks import Part
from outlast.agents.contexts import fitting
from outlast.agents.jsonable import jsonable
from outlast.agents.users import ProxyUser
from outlast.domain.outcome import Waiting
from outlast.domain.run import ClaimedRun
from outlast.errors import InvalidInput

# Keys of `configurable` that are ours to set, whatever the request says.
_RESERVED: Final = frozenset(
    {
        "thread_id", "run_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "assistant_id", "graph_id",
        "langgraph_auth_user", "langgraph_auth_user_id", "langgraph_auth_permissions", "langgraph_request_id",
        "cron_id",
    }
)  # fmt: skip
_ADDRESS: Final = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")
_PASSED_ON: Final = ("recursion_limit", "tags", "max_concurrency", "run_name")
# LangGraph's task for what comes from outside: writes that a command made before any task ran.
_NULL_TASK: Final = str(UUID(int=0))


def run_config(run: ClaimedRun, *, version: str | None = None) -> RunnableConfig:
    """Return the configuration the graph sees; the version is kept with each checkpoint."""
    given = dict(run.config)
    asked = cast("dict[str, Any]", given.get("configurable") or {})
    configurable = {key: value for key, value in asked.items() if key not in _RESERVED and not key.startswith("__")}
    config: dict[str, Any] = {key: given[key] for key in _PASSED_ON if key in given}
    config["configurable"] = {**configurable, **_of_server(run), "thread_id": run.thread_id, "run_id": str(run.id)}
    config["metadata"] = {
        **(given.get("metadata") or {}), **run.metadata, "run_id": str(run.id), "graph_id": run.agent,
        "run_attempt": run.errors + run.crashes + 1,
    }  # fmt: skip
    if run.assistant_id is not None:
        config["metadata"]["assistant_id"] = str(run.assistant_id)
    if version is not None:
        config["metadata"]["graph_version"] = version
    return cast("RunnableConfig", config)


def tracer(asked: Mapping[str, str]) -> Any:
    """Return the callback that sends the run's trace to LangSmith, as a client asked."""
    from langchain_core.tracers.langchain import LangChainTracer  # noqa: PLC0415 - its client is not always needed

    return LangChainTracer(project_name=asked.get("project_name"), example_id=asked.get("example_id"))


def user_of(run: ClaimedRun) -> ProxyUser | None:
    """Return who asked for the run; None when nobody was asked who they are."""
    return ProxyUser(run.options.user) if run.options.user is not None else None


def checkpoint_of(run: ClaimedRun) -> dict[str, Any] | None:
    """Return the address of the checkpoint that a run is to start from; None: where its thread stands."""
    options = run.options
    asked: Mapping[str, Any] = options.checkpoint or {}
    if not asked and not options.plain:
        asked = cast("Mapping[str, Any]", run.config.get("configurable") or {})
    address = {key: asked[key] for key in _ADDRESS if asked.get(key)}
    if not ({"checkpoint_id", "checkpoint_map"} & address.keys()):
        return None
    return {"checkpoint_ns": "", **address}


def addressed(config: RunnableConfig, checkpoint: Mapping[str, Any]) -> RunnableConfig:
    """Return the configuration with the address of a checkpoint."""
    return {**config, "configurable": {**(config.get("configurable") or {}), **checkpoint}}


def root_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """Return the address of the root graph's checkpoint, which that of a subgraph's names, too."""
    by_namespace = cast("Mapping[str, Any]", checkpoint.get("checkpoint_map") or {})
    return {"checkpoint_ns": "", "checkpoint_id": by_namespace.get("") or checkpoint.get("checkpoint_id")}


def graph_input(run: ClaimedRun, head: CheckpointTuple | None) -> Any:
    """Return what the graph is called with, or the question that is waited for before it can be.

    `head` is where the run stands, as far as that matters: None for one that starts.
    """
    if head is None:
        return first_input(run)
    if run.answered and run.waiting_at == UUID(head.checkpoint["id"]):
        return _resumption(run, head)
    return None if is_of(run, head) else _asked(run, head)


def first_input(run: ClaimedRun) -> Any:
    """Return what a run starts with that has not been begun: its input, or its command without an answer."""
    return _asked(run, None)


def is_of(run: ClaimedRun, head: CheckpointTuple) -> bool:
    """Whether the run itself wrote the checkpoint."""
    return head.metadata.get("run_id") == str(run.id)


def answer_to(run: ClaimedRun, old: CheckpointTuple) -> Any:
    """Return the command that answers the questions of an older checkpoint, where the run is to start from."""
    questions = open_questions(old)
    if not questions:
        return _command(run, None)
    answer = run.answer
    named = answer if _names_one(answer, set(questions)) or len(questions) > 1 else {next(iter(questions)): answer}
    return _command(run, None, resume=named)


def open_questions(head: CheckpointTuple) -> dict[str, Interrupt]:
    """Return the questions of tasks that have not finished since, by id."""
    return {item.id: item for items in questions_by_task(head).values() for item in items}


def questions_by_task(head: CheckpointTuple) -> dict[str, list[Interrupt]]:
    """Return the questions of tasks that have not finished since, by the task that asks."""
    writes = head.pending_writes or ()
    finished = {task_id for task_id, channel, _ in writes if channel not in WRITES_IDX_MAP}
    asking: dict[str, list[Interrupt]] = {}
    for task_id, channel, value in writes:
        if channel == INTERRUPT and task_id not in finished:
            asking.setdefault(task_id, []).extend(value)
    return asking


def question(interrupt: Interrupt) -> dict[str, Any]:
    """Return a question as it is stored and shown."""
    return {"id": interrupt.id, "value": jsonable(interrupt.value)}


def graph_arguments(run: ClaimedRun, graph: Any) -> dict[str, Any]:
    """Return what the run wants of the call itself."""
    options = run.options
    arguments: dict[str, Any] = {
        "durability": options.durability,
        # A plain run answers with what the graph declares as its output; the others with the whole state.
        "output_keys": graph.output_channels if options.plain else None,
        "interrupt_before": _nodes(options.interrupt_before),
        "interrupt_after": _nodes(options.interrupt_after),
    }
    if options.plain:
        return arguments
    return {**arguments, "context": fitting(options.context, graph.context_schema)}


class Audience(Protocol):
    """Who hears what a graph says."""

    @property
    def modes(self) -> Sequence[str]:
        """The stream modes that the graph is asked for."""
        ...

    @property
    def subgraphs(self) -> bool:
        """Whether the graphs inside of the graph are to speak, too."""
        ...


async def parts(
    graph: Any, given: Any, config: RunnableConfig, run_id: UUID, audience: Audience, **arguments: Any
) -> AsyncGenerator[Part]:
    """Run the graph once and yield what it says, `values` of the root graph always among it."""
    modes, subgraphs = audience.modes, audience.subgraphs
    call = {"stream_mode": sorted({*modes, "values"} - {"events"}), "subgraphs": subgraphs, **arguments}
    # Version 1 of the parts: version 2 turns the state into the graph's output model, which fails as long as a
    # required field is missing, and drops what the model does not have.
    raw = (
        events_mode.raw_parts(graph, given, config, run_id=run_id, **call)
        if "events" in modes
        else graph.astream(given, config, version="v1", **call)
    )
    async with aclosing(raw) as chunks:
        async for chunk in chunks:
            ns, mode, data = chunk if subgraphs else ((), *chunk)
            yield _part(mode, tuple(ns), data)


def _part(mode: str, ns: tuple[str, ...], data: Any) -> Part:
    if mode != "values" or not isinstance(data, dict) or INTERRUPT not in data:
        return Part(mode, ns, data)
    state = cast("dict[str, Any]", data)
    asked = tuple(cast("Iterable[Interrupt]", state[INTERRUPT]))
    return Part(mode, ns, {key: value for key, value in state.items() if key != INTERRUPT}, asked)


def _of_server(run: ClaimedRun) -> dict[str, Any]:
    """Return what LangGraph's server tells graphs in `configurable`."""
    if run.options.plain:
        return {}
    told: dict[str, Any] = {"graph_id": run.agent, "langgraph_request_id": str(run.id)}
    if run.assistant_id is not None:
        told["assistant_id"] = str(run.assistant_id)
    if run.options.cron_id is not None:
        told["cron_id"] = run.options.cron_id
    user = user_of(run)
    if user is not None:
        told |= {
            "user_id": user.identity, "langgraph_auth_user": user, "langgraph_auth_user_id": user.identity,
            "langgraph_auth_permissions": list(user.permissions),
        }  # fmt: skip
    return told


def _asked(run: ClaimedRun, head: CheckpointTuple | None) -> Any:
    # A client that sends no command may also send an empty one.
    return _command(run, head) if run.options.command else run.input


def _command(run: ClaimedRun, head: CheckpointTuple | None, *, resume: Any = None) -> Any:
    """Return the run's command with the answer; None when it says nothing (any more), and the graph just goes on."""
    command = run.options.command or {}
    update, goto = command.get("update"), command.get("goto")
    if head is not None and _applied(run, head):
        # An attempt ended between the two steps of a command. LangGraph applies what it left by itself.
        update = goto = None
    if resume is None and not update and not goto:
        return None
    return Command(resume=resume, update=_pairs(update), goto=_targets(goto))


def _applied(run: ClaimedRun, head: CheckpointTuple) -> bool:
    writes = head.pending_writes or ()
    return run.epoch > 1 and any(task == _NULL_TASK and channel != RESUME for task, channel, _ in writes)


def _pairs(update: Any) -> Any:
    # JSON knows no tuples, LangGraph insists on them.
    if not isinstance(update, list):
        return update
    items = cast("list[Any]", update)
    return [tuple(cast("list[Any]", item)) if isinstance(item, list) else item for item in items]


def _targets(goto: Any) -> Any:
    if not goto:
        return ()
    targets = cast("list[Any]", goto if isinstance(goto, list) else [goto])
    return [_target(target) for target in targets]


def _target(target: Any) -> Any:
    if isinstance(target, str):
        return target
    sent: Mapping[str, Any] = cast("Mapping[str, Any]", target) if isinstance(target, Mapping) else {}
    if isinstance(sent.get("node"), str):
        return Send(sent["node"], sent.get("input"))
    msg = "a target is the name of a node, or an object with `node` and `input`"
    raise InvalidInput(msg, field="command.goto")


def _nodes(names: Any) -> Any:
    return list(cast("tuple[str, ...]", names)) if isinstance(names, tuple) else names


def _resumption(run: ClaimedRun, head: CheckpointTuple) -> Any:
    """Address the answer to its question by id, if that is still open; else go on, or wait for what is asked now.

    Bare, LangGraph refuses None, and takes an empty mapping for one of ids: the question would be asked again. A node
    may ask again at the same checkpoint, and a worker may have died just then: LangGraph would take the answer that was
    given to the first question for the second.
    """
    questions = open_questions(head)
    if not questions:
        # A breakpoint asks nothing; an answer kept for it would be taken for that to the next question.
        return _command(run, head)
    asked = set(run.asked or questions)
    if asked.isdisjoint(questions):
        return _waiting_for(head)
    if _names_one(run.answer, asked):
        named = {key: text for key, text in run.answer.items() if key in questions}
        return _command(run, head, resume=named or None)
    return _command(run, head, resume={asked.pop(): run.answer} if len(asked) == 1 else run.answer)


def _names_one(answer: object, asked: set[str]) -> bool:
    return isinstance(answer, dict) and not asked.isdisjoint(cast("dict[str, Any]", answer))


def _waiting_for(head: CheckpointTuple) -> Waiting:
    by_task = questions_by_task(head)
    return Waiting(
        interrupts=[question(item) for items in by_task.values() for item in items],
        checkpoint_id=UUID(head.checkpoint["id"]),
        output=None,
        tasks={task: [question(item) for item in items] for task, items in by_task.items()},
    )
