"""The state of a thread's graph, as clients see it.

What a thread holds is kept beside it when a run ends. Where it is not known there, or too large to be kept twice, it is
read from the checkpoint, through the graph.
"""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any, Final

import orjson

from outlast.agents.jsonable import jsonable
from outlast.agents.registry import AccessContext
from outlast.agents.states import address, bound, mark_of, read_state
from outlast.domain.assistant import Assistant
from outlast.domain.thread import ThreadMark, ThreadState, ThreadStatus, ThreadView
from outlast.errors import AgentLoadError, InvalidInput, NotFound, StateError
from outlast.runtime import Runtime
from outlast.server.auth.users import User

# Why a state cannot be read that is not the reader's fault: what is kept beside the thread has to do.
_UNREADABLE: Final = (NotFound, InvalidInput, AgentLoadError, StateError)


class GraphUnknown(InvalidInput):
    """Nothing says which graph the thread is of."""

    def __init__(self, thread_id: str) -> None:
        super().__init__(
            f"nothing says which graph thread {thread_id} is of; set its metadata.graph_id, or start a run on it",
            field="metadata.graph_id",
        )


@dataclass(frozen=True, slots=True)
class OpenGraph:
    """A graph on our saver, and what the thread's assistant puts into `configurable`."""

    name: str
    version: str
    graph: Any
    configurable: dict[str, Any]


@asynccontextmanager
async def graph_of(
    runtime: Runtime, thread: ThreadView, *, user: User | None = None, access: AccessContext = "threads.read"
) -> AsyncGenerator[OpenGraph]:
    """Provide the graph of a thread: by its metadata, else by its newest run, else the only one there is.

    Raises GraphUnknown, NotFound for a graph that has left the project, AgentLoadError.
    """
    name = await _graph_name(runtime, thread)
    assistant = await _assistant_of(runtime, thread, name)
    config = dict(assistant.config) if assistant is not None else {}
    configurable = dict(config.get("configurable") or {})
    opened = runtime.registry.opened(
        name,
        {**config, "configurable": {**configurable, "thread_id": thread.id}},  # pyright: ignore[reportArgumentType]
        access=access,
        user=None if user is None else user.given,
        context=None if assistant is None else assistant.context,
    )
    async with opened as agent:
        yield OpenGraph(name, agent.version, bound(agent, runtime.saver), configurable)


async def current(runtime: Runtime, thread: ThreadView, *, user: User | None = None) -> ThreadView:
    """Return the thread with the state it stands at, read from the checkpoint if need be.

    When that cannot be read, the thread is returned as it is.
    """
    if not thread.stale and (thread.values is not None or thread.stands_at is None):
        return thread
    if thread.status is ThreadStatus.BUSY:
        return thread
    try:
        async with graph_of(runtime, thread, user=user) as opened:
            snapshot = await read_state(opened.graph, address(thread.id, None, opened.configurable))
    except _UNREADABLE:
        return thread
    mark = _with_reviews(thread, mark_of(snapshot))
    await runtime.threads.refresh(thread, mark)
    idle = thread.status is ThreadStatus.IDLE and mark.state is ThreadState.INTERRUPTED
    return replace(
        thread,
        values=None if mark.values is None else orjson.loads(mark.values),
        interrupts=mark.interrupts or {},
        status=ThreadStatus.INTERRUPTED if idle else thread.status,
        stands_at=mark.stands_at,
        waiting_at=mark.waiting_at,
        stale=False,
    )


def _with_reviews(thread: ThreadView, mark: ThreadMark) -> ThreadMark:
    """Keep what is asked about an output: that is asked at the end of the graph, so no task of it knows."""
    if mark.interrupts or not thread.interrupts or mark.stands_at is None or thread.waiting_at != mark.stands_at:
        return mark
    return replace(
        mark, state=ThreadState.INTERRUPTED, interrupts=thread.interrupts, waiting_at=thread.waiting_at
    )  # fmt: skip


async def values_of(runtime: Runtime, thread: ThreadView, *, user: User | None = None) -> Any:
    """Return the values of the state at which a thread stands; None when it has none."""
    return (await current(runtime, thread, user=user)).values


async def read_values(runtime: Runtime, agent_name: str, thread_id: str) -> Any:
    """Return the values of the graph's state as JSON data.

    State that was read is state that can be restored, so a quarantine ends here. Raises StateUnreadable naming the path
    when it cannot, NotFound when the project has no such agent any more.
    """
    config = address(thread_id)
    async with runtime.registry.opened(agent_name, config) as agent:
        snapshot = await read_state(bound(agent, runtime.saver), config)
    await runtime.saver.lift_quarantine(thread_id)
    return jsonable(snapshot.values)


async def _graph_name(runtime: Runtime, thread: ThreadView) -> str:
    named = thread.metadata.get("graph_id")
    if isinstance(named, str):
        return named
    ran = await runtime.threads.last_agent(thread)
    if ran is not None:
        return ran
    if len(runtime.registry.names) == 1:
        return runtime.registry.names[0]
    raise GraphUnknown(thread.id)


async def _assistant_of(runtime: Runtime, thread: ThreadView, graph: str) -> Assistant | None:
    named = thread.metadata.get("assistant_id")
    if not isinstance(named, str):
        return None
    try:
        assistant = await runtime.assistants.resolve(named)
    except NotFound:
        return None
    return assistant if assistant.graph_id == graph else None
