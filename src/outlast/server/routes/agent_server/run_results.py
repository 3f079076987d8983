"""Runs whose client stays for the result."""

from collections.abc import Mapping
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request

from outlast.admission.gate import Admitted
from outlast.errors import NotFound
from outlast.runtime import Runtime
from outlast.server.auth.access import allowed
from outlast.server.bodies import JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.eventually import Eventually
from outlast.server.ids import RunId, ThreadId
from outlast.server.problems import DOCUMENTED
from outlast.server.run_bodies import RunBody
from outlast.server.runs_api import cancel_in_background, idempotency, result_of, run_path, start_run

_RESULT: Mapping[int | str, dict[str, Any]] = {
    200: {
        "description": "The graph's values; with `__interrupt__` when it asks, or `__error__` alone when it failed.",
        "content": {"application/json": {"schema": {}}},
    }
}
router = APIRouter(tags=["Runs"], route_class=JsonRoute, responses=DOCUMENTED | dict(_RESULT))


@router.post("/threads/{thread_id}/runs/wait", response_model=None)
async def create_and_wait(thread_id: ThreadId, body: RunBody, request: Request, runtime: CurrentRuntime) -> Eventually:
    """Start a run on a thread and return what it leaves there."""
    body.check(stateless=False, awaited=True)
    key = await idempotency(request)
    return _awaited(request, runtime, await start_run(request, body, thread_id=thread_id, key=key), body)


@router.post("/runs/wait", response_model=None)
async def create_stateless_and_wait(body: RunBody, request: Request, runtime: CurrentRuntime) -> Eventually:
    """Start a run on a thread of its own and return its result."""
    body.check(stateless=True, awaited=True)
    key = await idempotency(request)
    return _awaited(request, runtime, await start_run(request, body, thread_id=None, key=key), body)


@router.get("/threads/{thread_id}/runs/{run_id}/join", response_model=None)
async def join(
    thread_id: ThreadId,
    run_id: RunId,
    request: Request,
    runtime: CurrentRuntime,
    *,
    cancel_on_disconnect: Annotated[bool, Query(description="cancel the run when this client leaves")] = False,
) -> Eventually:
    """Return the result of a run when it has ended."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id, "run_id": str(run_id)})
    await runtime.queue.store.views.one(thread_id, run_id, access=access)
    return Eventually(
        _result(runtime, run_id),
        headers=_headers(thread_id, run_id),
        on_gone=(lambda: cancel_in_background(request, run_id)) if cancel_on_disconnect else None,
    )


def _awaited(request: Request, runtime: Runtime, run: Admitted, body: RunBody) -> Eventually:
    return Eventually(
        _result(runtime, run.run_id),
        headers=_headers(run.thread_id, run.run_id),
        on_gone=(lambda: cancel_in_background(request, run.run_id)) if body.on_disconnect == "cancel" else None,
    )


def _headers(thread_id: str, run_id: UUID) -> dict[str, str]:
    # The SDKs come back to Location when the connection breaks, and read the ids from Content-Location.
    run = run_path(thread_id, run_id)
    return {"Location": f"{run}/join", "Content-Location": run}


async def _result(runtime: Runtime, run_id: UUID) -> Any:
    try:
        return await result_of(runtime, await runtime.queue.wait(run_id, timeout=None))
    except NotFound:
        message = "the run was rolled back or deleted while you waited for it"
        return {"__error__": {"error": "run_deleted", "message": message}}
