"""Threads: make, find, change, copy, delete."""

import asyncio
from typing import Annotated, Any, Final

import uuid_utils.compat as uuid_utils
from fastapi import APIRouter, Header, Query
from starlette.requests import Request
from starlette.responses import Response

from outlast.admission.payload import check_value
from outlast.admission.secrets import check_secrets
from outlast.agents.checkpoints.weight import weigh
from outlast.agents.states import address, apply_supersteps, labelled, mark_of, read_state, state_update
from outlast.domain.thread import ThreadView
from outlast.errors import NotFound
from outlast.queues.wakeup import CANCEL, SETTLED
from outlast.runtime import Runtime
from outlast.server.auth.access import CurrentUser, allowed
from outlast.server.auth.users import User
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentGate, CurrentRuntime
from outlast.server.ids import ThreadId, known_thread_id, new_thread_id
from outlast.server.paging import paged
from outlast.server.problems import DOCUMENTED
from outlast.server.thread_bodies import (
    MetadataBody,
    NewThreadBody,
    PartOfThread,
    PruneBody,
    SuperstepBody,
    ThreadChangeBody,
    ThreadFilterBody,
    ThreadSearchBody,
    ThreadShown,
    command_of,
    default_ttl,
    found_body,
    thread_body,
    ttl_of,
)
from outlast.server.thread_values import current, graph_of
from outlast.storage.postgres.listing import Page
from outlast.storage.postgres.threads import ThreadQuery

router = APIRouter(tags=["Threads"], route_class=JsonRoute, responses=DOCUMENTED)

_MINIMAL: Final = "return=minimal"
# States that are read from their checkpoints at the same time, of one search.
_READERS: Final = 4


@router.post("/threads", response_model=ThreadShown)
async def create(
    body: NewThreadBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate, user: CurrentUser
) -> Json:
    """Make a thread; with `supersteps` also its state."""
    for field in ("metadata", "supersteps"):
        check_value(body.model_dump(include={field}), gate.limits, field=field)
    check_secrets(body.metadata, field="metadata")
    wanted = str(uuid_utils.uuid7()) if body.thread_id is None else new_thread_id(body.thread_id)
    ttl = ttl_of(body.ttl) or default_ttl(runtime)
    value: dict[str, Any] = {
        "thread_id": wanted,
        "metadata": dict(body.metadata or {}),
        "if_exists": body.if_exists or "raise",
        "ttl": None if ttl is None else {"ttl": ttl.minutes, "strategy": ttl.strategy},
    }
    value, access = await allowed(request, "threads", "create", value)
    thread, new = await runtime.threads.create(
        new_thread_id(str(value["thread_id"])),
        metadata=value.get("metadata"),
        ttl=ttl,
        exist_ok=value.get("if_exists") == "do_nothing",
        access=access,
    )
    if new and body.supersteps:
        thread = await _with_state(runtime, thread, body.supersteps, user)
    return Json(thread_body(await current(runtime, thread, user=user)))


async def _with_state(
    runtime: Runtime, thread: ThreadView, supersteps: list[SuperstepBody], user: User | None
) -> ThreadView:
    """Apply the supersteps; a thread whose state cannot be made is not made."""
    steps = [
        [state_update(update.values, command_of(update.command), update.as_node) for update in step.updates]
        for step in supersteps
    ]
    try:
        async with graph_of(runtime, thread, user=user, access="threads.update") as opened:
            config = labelled(address(thread.id, None, opened.configurable), opened.name, opened.version)
            await apply_supersteps(opened.graph, config, steps)
            snapshot = await read_state(opened.graph, address(thread.id, None, opened.configurable))
        await runtime.threads.mark(thread.id, mark_of(snapshot))
    # Also when the client leaves meanwhile: the thread would be there without the state that was asked for.
    except BaseException:
        await asyncio.shield(runtime.threads.delete(thread.id))
        raise
    return await runtime.threads.get(thread.id)


@router.post("/threads/search", response_model=list[PartOfThread])
async def search(
    body: ThreadSearchBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate, user: CurrentUser
) -> Json:
    """Return threads, newest first unless asked otherwise; those of stateless runs are left out."""
    body.check()
    value = body.model_dump(include={"metadata", "values", "status", "limit", "offset"}, exclude_none=True)
    query = await _query(request, gate, body, value, ids=await _ids(body, runtime))
    page = Page(body.limit, body.offset)
    with_values = "values" in body.fields
    found, total = await runtime.threads.search(
        query,
        sort_by=body.sort_by or "created_at",
        order=body.sort_order or "desc",
        page=page,
        with_values=with_values,
    )
    if with_values:
        found = await _all_current(runtime, found, user)
    return paged([found_body(thread, body) for thread in found], total=total, page=page)


@router.post("/threads/count", response_model=int)
async def count(body: ThreadFilterBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate) -> Json:
    """Return how many threads there are."""
    query = await _query(request, gate, body, body.model_dump(exclude_none=True), ids=None)
    return Json(await runtime.threads.count(query))


async def _query(
    request: Request, gate: CurrentGate, body: ThreadFilterBody, value: dict[str, Any], *, ids: list[str] | None
) -> ThreadQuery:
    for field in ("metadata", "values"):
        check_value(getattr(body, field), gate.limits, field=field)
    value, access = await allowed(request, "threads", "search", value)
    return ThreadQuery(
        metadata=value.get("metadata"), values=value.get("values"), ids=ids, status=body.status, access=access
    )


async def _ids(body: ThreadSearchBody, runtime: Runtime) -> list[str] | None:
    return None if body.ids is None else [await known_thread_id(name, runtime) for name in body.ids]


async def _all_current(runtime: Runtime, threads: list[ThreadView], user: User | None) -> list[ThreadView]:
    readers = asyncio.Semaphore(_READERS)

    async def read(thread: ThreadView) -> ThreadView:
        async with readers:
            return await current(runtime, thread, user=user)

    return await asyncio.gather(*(read(thread) for thread in threads))


@router.post("/threads/prune")
async def prune(body: PruneBody, request: Request, runtime: CurrentRuntime) -> dict[str, int]:
    """Delete threads, or all of their history but the present state; busy and unknown ones are left as they are."""
    value: dict[str, Any] = {"thread_ids": list(body.thread_ids), "strategy": body.strategy}
    value, access = await allowed(request, "threads", "delete", value)
    pruned = 0
    for thread_id in dict.fromkeys([await known_thread_id(str(name), runtime) for name in value["thread_ids"]]):
        try:
            pruned += await runtime.threads.prune(thread_id, strategy=body.strategy, access=access)
        except NotFound:
            continue
    return {"pruned_count": pruned}


@router.get("/threads/{thread_id}", response_model=ThreadShown)
async def get(
    thread_id: ThreadId,
    request: Request,
    runtime: CurrentRuntime,
    user: CurrentUser,
    include: Annotated[str | None, Query(pattern="^(ttl)?(,ttl)*$", description="ttl")] = None,
) -> Json:
    """Return a thread."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id})
    thread = await runtime.threads.get(thread_id, access=access)
    return Json(thread_body(await current(runtime, thread, user=user), ttl=bool(include)))


@router.patch(
    "/threads/{thread_id}", response_model=ThreadShown, responses={204: {"description": "With Prefer: return=minimal."}}
)
async def update(
    *,
    thread_id: ThreadId,
    body: ThreadChangeBody,
    request: Request,
    runtime: CurrentRuntime,
    gate: CurrentGate,
    user: CurrentUser,
    prefer: Annotated[str | None, Header()] = None,
) -> Response:
    """Merge metadata, set a new TTL."""
    check_value(body.metadata, gate.limits, field="metadata")
    check_secrets(body.metadata, field="metadata")
    value: dict[str, Any] = {"thread_id": thread_id, "metadata": dict(body.metadata or {})}
    value, access = await allowed(request, "threads", "update", value)
    thread = await runtime.threads.update(
        thread_id, metadata=value.get("metadata"), ttl=ttl_of(body.ttl), access=access
    )
    if prefer is not None and _MINIMAL in prefer:
        return Response(status_code=204)
    return Json(thread_body(await current(runtime, thread, user=user), ttl=body.ttl is not None))


@router.patch("/threads/{thread_id}/state", status_code=204)
async def patch_state(
    thread_id: ThreadId, body: MetadataBody, request: Request, runtime: CurrentRuntime, gate: CurrentGate
) -> Response:
    """Merge metadata: what JavaScript's `patchState` asks for."""
    check_value(body.metadata, gate.limits, field="metadata")
    value: dict[str, Any] = {"thread_id": thread_id, "metadata": dict(body.metadata)}
    value, access = await allowed(request, "threads", "update", value)
    await runtime.threads.update(thread_id, metadata=value.get("metadata"), ttl=None, access=access)
    return Response(status_code=204)


@router.delete("/threads/{thread_id}", status_code=204)
async def delete(thread_id: ThreadId, request: Request, runtime: CurrentRuntime) -> Response:
    """Delete a thread with its runs, its state and its crons; a run that is under way is stopped."""
    _, access = await allowed(request, "threads", "delete", {"thread_id": thread_id})
    await delete_thread(runtime, thread_id, access=access)
    return Response(status_code=204)


async def delete_thread(runtime: Runtime, thread_id: str, *, access: str | None) -> None:
    """Delete a thread and tell the owners of its runs to stop; raises NotFound."""
    running = await runtime.threads.delete(thread_id, access=access)
    if running:
        runtime.wakeup.tell(CANCEL, running)
        # Who waits for them looks again, and finds them gone.
        runtime.wakeup.tell(SETTLED, running)


@router.post("/threads/{thread_id}/copy", response_model=ThreadShown)
async def copy(thread_id: ThreadId, request: Request, runtime: CurrentRuntime, user: CurrentUser) -> Json:
    """Copy a thread with its history to a new one; 409 while it is busy."""
    _, readable = await allowed(request, "threads", "read", {"thread_id": thread_id})
    target = str(uuid_utils.uuid7())
    made, _ = await allowed(request, "threads", "create", {"thread_id": target, "metadata": {}})
    thread = await runtime.threads.copy(thread_id, target, metadata=made.get("metadata"), access=readable)
    return Json(thread_body(await current(runtime, thread, user=user)))


@router.get("/threads/{thread_id}/storage")
async def storage(thread_id: ThreadId, request: Request, runtime: CurrentRuntime) -> dict[str, Any]:
    """Return what the thread's state weighs, by what it is made of."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id})
    thread = await runtime.threads.get(thread_id, access=access)
    return {"thread_id": thread.id, **await weigh(runtime.pool, thread.key)}
