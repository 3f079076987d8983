"""The state of a thread: now, at a checkpoint, over time, and changed from outside of a run."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query
from starlette.requests import Request

from outlast.admission.payload import check_value
from outlast.agents.states import (
    address,
    checkpoint_of,
    labelled,
    mark_of,
    read_history,
    read_state,
    selected,
    state_body,
    update_state,
)
from outlast.domain.thread import ThreadView
from outlast.errors import InvalidInput
from outlast.runtime import Runtime
from outlast.server.auth.access import CurrentUser, allowed
from outlast.server.auth.users import User
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentGate, CurrentRuntime
from outlast.server.ids import ThreadId, uuid_of
from outlast.server.problems import DOCUMENTED
from outlast.server.run_bodies import CheckpointBody
from outlast.server.thread_bodies import HistoryBody, StateBody, StateFields, StateQueryBody, StateShown
from outlast.server.thread_values import GraphUnknown, graph_of

router = APIRouter(tags=["Threads"], route_class=JsonRoute, responses=DOCUMENTED)

Select = Annotated[StateFields | None, Query(description="fields, or single values as `values.messages`")]
_EMPTY: dict[str, Any] = {
    "values": {}, "next": [], "tasks": [], "metadata": None, "created_at": None, "checkpoint": None,
    "parent_checkpoint": None, "interrupts": [], "checkpoint_id": None, "parent_checkpoint_id": None,
}  # fmt: skip


@router.get("/threads/{thread_id}/state", response_model=StateShown, response_model_exclude_unset=True)
async def get(
    thread_id: ThreadId,
    request: Request,
    runtime: CurrentRuntime,
    user: CurrentUser,
    *,
    subgraphs: bool = False,
    select: Select = None,
) -> Json:
    """Return the state at which a thread stands; an empty one before its first run."""
    thread = await _readable(request, runtime, thread_id)
    return await _state(runtime, thread, None, user=user, subgraphs=subgraphs, select=select)


@router.get("/threads/{thread_id}/state/{checkpoint_id}", response_model=StateShown, response_model_exclude_unset=True)
async def get_at(
    thread_id: ThreadId,
    checkpoint_id: Annotated[str, Path(json_schema_extra={"format": "uuid"})],
    request: Request,
    runtime: CurrentRuntime,
    user: CurrentUser,
    *,
    subgraphs: bool = False,
    select: Select = None,
) -> Json:
    """Return an older state of a thread."""
    checkpoint = _checkpoint(CheckpointBody(checkpoint_id=checkpoint_id))
    thread = await _readable(request, runtime, thread_id)
    return await _state(runtime, thread, checkpoint, user=user, subgraphs=subgraphs, select=select)


@router.post("/threads/{thread_id}/state/checkpoint", response_model=StateShown, response_model_exclude_unset=True)
async def get_checkpoint(
    thread_id: ThreadId, body: StateQueryBody, request: Request, runtime: CurrentRuntime, user: CurrentUser
) -> Json:
    """Return the state at a checkpoint, also of a subgraph."""
    thread = await _readable(request, runtime, thread_id)
    return await _state(
        runtime,
        thread,
        _checkpoint(body.checkpoint),
        user=user,
        subgraphs=bool(body.subgraphs),
        select=body.select,
    )


@router.post("/threads/{thread_id}/state")
async def update(
    *,
    thread_id: ThreadId,
    body: StateBody,
    request: Request,
    runtime: CurrentRuntime,
    gate: CurrentGate,
    user: CurrentUser,
) -> dict[str, Any]:
    """Change the state as if a node had returned `values`; 409 while a run of the thread has still to run."""
    check_value(body.values, gate.limits, field="values")
    value: dict[str, Any] = {"thread_id": thread_id, "action": "update_state"}
    _, access = await allowed(request, "threads", "update", value)
    thread = await runtime.threads.get(thread_id, access=access)
    await runtime.threads.check_idle(thread)
    checkpoint = _checkpoint(body.checkpoint, body.checkpoint_id)
    async with graph_of(runtime, thread, user=user, access="threads.update") as opened:
        config = labelled(address(thread.id, checkpoint, opened.configurable), opened.name, opened.version)
        written = await update_state(opened.graph, runtime.saver, config, body.values, as_node=body.as_node)
        snapshot = await read_state(opened.graph, address(thread.id, None, opened.configurable))
    await runtime.threads.mark(thread.id, mark_of(snapshot))
    await runtime.hub.state_updated(thread.key, state_body(snapshot))
    at = checkpoint_of(written) or {}
    return {"checkpoint": at, "configurable": at, "checkpoint_id": at.get("checkpoint_id")}


@router.get("/threads/{thread_id}/history", response_model=list[StateShown], response_model_exclude_unset=True)
async def history(
    *,
    thread_id: ThreadId,
    request: Request,
    runtime: CurrentRuntime,
    user: CurrentUser,
    limit: Annotated[int, Query(ge=1, le=1000)] = 1,
    before: Annotated[
        str | None, Query(description="states before this checkpoint", json_schema_extra={"format": "uuid"})
    ] = None,
    select: Select = None,
) -> Json:
    """Return states of a thread, newest first."""
    thread = await _readable(request, runtime, thread_id)
    checkpoint = None if before is None else CheckpointBody(checkpoint_id=before)
    return await _history(runtime, thread, HistoryBody(limit=limit, before=checkpoint, select=select), user)


@router.post("/threads/{thread_id}/history", response_model=list[StateShown], response_model_exclude_unset=True)
async def search_history(
    thread_id: ThreadId, body: HistoryBody, request: Request, runtime: CurrentRuntime, user: CurrentUser
) -> Json:
    """Return states of a thread or of a subgraph, newest first, filtered by metadata."""
    thread = await _readable(request, runtime, thread_id)
    return await _history(runtime, thread, body, user)


async def _readable(request: Request, runtime: Runtime, thread_id: str) -> ThreadView:
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id})
    return await runtime.threads.get(thread_id, access=access)


async def _state(
    runtime: Runtime,
    thread: ThreadView,
    checkpoint: Mapping[str, Any] | None,
    *,
    user: User | None,
    subgraphs: bool,
    select: list[str] | None,
) -> Json:
    try:
        async with graph_of(runtime, thread, user=user) as opened:
            config = address(thread.id, checkpoint, opened.configurable)
            body = state_body(await read_state(opened.graph, config, subgraphs=subgraphs))
    except GraphUnknown:
        await _require_empty(runtime, thread, checkpoint)
        body = _EMPTY
    return Json(selected(body, select or ()))


async def _history(runtime: Runtime, thread: ThreadView, body: HistoryBody, user: User | None) -> Json:
    before = CheckpointBody(checkpoint_id=body.before) if isinstance(body.before, str) else body.before
    try:
        async with graph_of(runtime, thread, user=user) as opened:
            found = await read_history(
                opened.graph,
                address(thread.id, _checkpoint(body.checkpoint), opened.configurable),
                limit=body.limit,
                before=None if before is None else address(thread.id, _checkpoint(before)),
                metadata=body.metadata,
            )
    except GraphUnknown:
        await _require_empty(runtime, thread, None)
        found = []
    return Json([selected(state_body(snapshot), body.select or ()) for snapshot in found])


def _checkpoint(body: CheckpointBody | None, checkpoint_id: str | None = None) -> dict[str, Any] | None:
    """Return what was sent, as an address; raises InvalidInput for ids that are none."""
    given = {} if body is None else body.model_dump(exclude_none=True)
    if checkpoint_id is not None:
        given.setdefault("checkpoint_id", checkpoint_id)
    if "checkpoint_id" in given:
        given["checkpoint_id"] = str(uuid_of(given["checkpoint_id"], kind="checkpoint", field="checkpoint_id"))
    if "\0" in given.get("checkpoint_ns", ""):
        msg = "a namespace holds no NUL"
        raise InvalidInput(msg, field="checkpoint.checkpoint_ns")
    return given or None


async def _require_empty(runtime: Runtime, thread: ThreadView, checkpoint: Mapping[str, Any] | None) -> None:
    """Let a thread be empty that no graph is known of; raises GraphUnknown when it has state."""
    if await runtime.saver.aget_tuple(address(thread.id, checkpoint)) is not None:
        raise GraphUnknown(thread.id)
