"""What `outlast threads` does with the history of a thread: list it, compare, fork, run again from a place in it.

Over HTTP the same is done with the Agent Server API: `/threads/{id}/history`, `/threads/{id}/state/{checkpoint_id}`,
`POST /threads/{id}/state` with a checkpoint (a fork), and runs with a `checkpoint_id`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.agents.jsonable import jsonable
from outlast.agents.states import address, labelled, mark_of, read_history, read_state, state_body, update_state
from outlast.domain.differences import Difference, differences
from outlast.domain.intake import Intake
from outlast.domain.options import PLAIN
from outlast.domain.run import NewRun, RunView
from outlast.errors import InvalidInput, NotFound
from outlast.runtime import Runtime
from outlast.server.thread_values import graph_of

#: LangGraph's word for a state that is copied as it is.
_AS_IT_IS: Final = "__copy__"
_LONGEST_TASK: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """One checkpoint of a thread."""

    checkpoint_id: str
    parent_id: str | None
    #: LangGraph's number of the step that ended there, and what made it: input, loop, update, fork.
    step: int | None
    source: str | None
    saved_at: str | None
    run_id: str | None
    #: What runs next.
    next: list[str]
    #: The thread stands here.
    head: bool


async def history(runtime: Runtime, thread_id: str, *, limit: int) -> list[Moment]:
    """Return checkpoints, newest first; raises NotFound."""
    thread = await runtime.threads.get(thread_id)
    async with graph_of(runtime, thread) as opened:
        head = await read_state(opened.graph, address(thread_id, None, opened.configurable))
        found = await read_history(opened.graph, address(thread_id, None, opened.configurable), limit=limit)
    stands_at: str | None = state_body(head)["checkpoint_id"]
    return [_moment(state_body(snapshot), stands_at) for snapshot in found]


async def compare(runtime: Runtime, thread_id: str, before: str, after: str | None) -> list[Difference]:
    """Return what differs in the values of two checkpoints; without a second one, of the present state."""
    thread = await runtime.threads.get(thread_id)
    async with graph_of(runtime, thread) as opened:
        old = await read_state(opened.graph, _at(thread_id, before, opened.configurable))
        new = await read_state(opened.graph, _at(thread_id, after, opened.configurable))
    return differences(jsonable(old.values), jsonable(new.values))


async def fork(
    runtime: Runtime, thread_id: str, checkpoint: str, *, values: Any, as_node: str | None, to: str | None
) -> tuple[str, str]:
    """Let a thread, or a copy of it, stand at an older checkpoint; return the thread and its new checkpoint.

    With `values` as if a node had returned them there. The old line stays in the history. Raises NotFound, ThreadBusy
    while a run of the thread has still to run, InvalidInput when the graph refuses the values.
    """
    thread = await runtime.threads.get(thread_id)
    await runtime.threads.check_idle(thread)
    if to is not None:
        # The place has to be there before anything is copied.
        await _require(runtime, thread_id, checkpoint)
        thread = await runtime.threads.copy(thread_id, to)
    async with graph_of(runtime, thread, access="threads.update") as opened:
        config = labelled(_at(thread.id, checkpoint, opened.configurable), opened.name, opened.version)
        as_node = _AS_IT_IS if values is None else as_node
        written = await update_state(opened.graph, runtime.saver, config, values, as_node=as_node)
        snapshot = await read_state(opened.graph, address(thread.id, None, opened.configurable))
    await runtime.threads.mark(thread.id, mark_of(snapshot))
    await runtime.hub.state_updated(thread.key, state_body(snapshot))
    await runtime.audit.note("thread.forked", f"thread:{thread.id}", {"checkpoint": checkpoint})
    return thread.id, str((written.get("configurable") or {}).get("checkpoint_id"))


async def rerun(runtime: Runtime, thread_id: str, checkpoint: str | None, *, given: Any) -> RunView:
    """Start a run that goes on from a checkpoint, or from where the thread stands; return it.

    Steps behind the checkpoint are executed anew, and their effects and calls are those of a new run. `given`: input
    for it, in the place of going on. Raises NotFound, InvalidInput when nothing says which agent the thread is of.
    """
    thread = await runtime.threads.get(thread_id)
    if checkpoint is not None:
        await _require(runtime, thread_id, checkpoint)
    before = await runtime.queue.store.of_thread(thread_id)
    agent = thread.metadata.get("graph_id") or (before.agent if before is not None else None)
    if not isinstance(agent, str):
        msg = f"nothing says which agent thread {thread_id} is of; start a run of it first"
        raise InvalidInput(msg, field="thread")
    options = PLAIN if before is None else before.options
    at = None if checkpoint is None else {"checkpoint_id": checkpoint}
    run = NewRun(
        id=uuid_utils.uuid7(), thread_id=thread_id, agent=agent, input=given,
        config={} if before is None else await _config_of(runtime, before.id),
        metadata={} if before is None else before.metadata,
        max_attempts=runtime.settings.retry.max_attempts,
        options=replace(options, command=None, checkpoint=at, live=False),
        assistant_id=None if before is None else before.assistant_id,
    )  # fmt: skip
    await runtime.queue.admit(await runtime.gate().decide(run), Intake(if_not_exists="reject"))
    await runtime.audit.note("thread.rerun", f"thread:{thread_id}", {"checkpoint": checkpoint, "run": str(run.id)})
    return await runtime.queue.store.get(run.id)


async def _config_of(runtime: Runtime, run_id: UUID) -> Mapping[str, Any]:
    return (await runtime.queue.store.get(run_id)).config


async def _require(runtime: Runtime, thread_id: str, checkpoint: str) -> None:
    if await runtime.saver.aget_tuple(_at(thread_id, checkpoint, None)) is None:
        raise NotFound("checkpoint", checkpoint)


def _at(thread_id: str, checkpoint: str | None, configurable: Mapping[str, Any] | None) -> Any:
    if checkpoint is None:
        return address(thread_id, None, configurable)
    try:
        name = str(UUID(checkpoint))
    except ValueError as error:
        msg = f"{checkpoint[:_LONGEST_TASK]!r} is no checkpoint id; see `outlast threads history`"
        raise InvalidInput(msg, field="checkpoint") from error
    return address(thread_id, {"checkpoint_id": name}, configurable)


def _moment(body: Mapping[str, Any], stands_at: str | None) -> Moment:
    metadata: Mapping[str, Any] = body["metadata"] or {}
    return Moment(
        checkpoint_id=body["checkpoint_id"], parent_id=body["parent_checkpoint_id"], step=metadata.get("step"),
        source=metadata.get("source"), saved_at=body["created_at"], run_id=metadata.get("run_id"), next=body["next"],
        head=body["checkpoint_id"] == stands_at,
    )  # fmt: skip
