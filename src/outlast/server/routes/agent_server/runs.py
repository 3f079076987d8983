"""Runs in the background: start, list, look at, cancel, delete."""

from typing import Annotated, Any, Final, Literal
from uuid import UUID

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from outlast.admission.gate import Admitted
from outlast.admission.request import RunRequest
from outlast.domain.run import RunStatus
from outlast.domain.wire import WireStatus, run_body
from outlast.errors import InvalidInput, NotFound, NotSupported
from outlast.runtime import Runtime
from outlast.server.auth.access import allowed
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime, gate_of
from outlast.server.eventually import Eventually
from outlast.server.ids import RunId, ThreadId, known_thread_id, run_id_of
from outlast.server.paging import Limit, Offset, chosen
from outlast.server.problems import DOCUMENTED
from outlast.server.run_bodies import Batch, CancelBody, RunBody
from outlast.server.runs_api import idempotency, run_path, start_run, wanted_run
from outlast.server.runs_shown import RunShown
from outlast.storage.postgres.checkpoints import thread_key

router = APIRouter(tags=["Runs"], route_class=JsonRoute, responses=DOCUMENTED)

Action = Annotated[
    Literal["interrupt", "rollback"], Query(description="rollback: what the run wrote goes, and the run itself")
]
SelectRun = Literal[
    "run_id", "thread_id", "assistant_id", "created_at", "updated_at", "status", "metadata", "kwargs",
    "multitask_strategy", "cancel_reason",
]  # fmt: skip
_PENDING: Final = (RunStatus.BLOCKED, RunStatus.QUEUED)
#: What a status of `POST /runs/cancel` means; a plain run that waits for a person is pending for nobody.
_CANCELLED: Final = {
    "pending": _PENDING,
    "running": (RunStatus.RUNNING,),
    "all": (*_PENDING, RunStatus.RUNNING, RunStatus.WAITING),
}


@router.post("/threads/{thread_id}/runs", response_model=RunShown)
async def create(thread_id: ThreadId, body: RunBody, request: Request, runtime: CurrentRuntime) -> Json:
    """Start a run on a thread, in the background."""
    body.check(stateless=False, awaited=False)
    admitted = await start_run(request, body, thread_id=thread_id, key=await idempotency(request))
    return await _created(runtime, admitted, run_path(admitted.thread_id, admitted.run_id))


@router.post("/runs", response_model=RunShown)
async def create_stateless(body: RunBody, request: Request, runtime: CurrentRuntime) -> Json:
    """Start a run on a thread of its own, which goes when the run has ended unless it is to be kept."""
    body.check(stateless=True, awaited=False)
    admitted = await start_run(request, body, thread_id=None, key=await idempotency(request))
    return await _created(runtime, admitted, f"/runs/{admitted.run_id}")


@router.post("/runs/batch", response_model=list[RunShown])
async def create_batch(bodies: Batch, request: Request, runtime: CurrentRuntime) -> Json:
    """Start several runs: all of them, or none."""
    if "idempotency-key" in request.headers:
        msg = "a batch takes no Idempotency-Key; give its runs one each by sending them one by one"
        raise NotSupported(msg, field="Idempotency-Key")
    wanted: list[RunRequest] = []
    for body in bodies:
        thread_id = None if body.thread_id is None else await known_thread_id(body.thread_id, runtime)
        body.check(stateless=thread_id is None, awaited=False)
        wanted.append(await wanted_run(request, body, thread_id=thread_id))
    # Threads are locked one after the other, and everybody has to do that in one order.
    order = sorted(range(len(wanted)), key=lambda index: thread_key(wanted[index].thread_id or ""))
    admitted = await gate_of(request).admit_all([wanted[index] for index in order])
    ids = dict(zip(order, (run.run_id for run in admitted), strict=True))
    runs = await runtime.queue.store.views.of_ids([ids[index] for index in range(len(wanted))])
    return Json([run_body(run) for run in runs])


async def _created(runtime: Runtime, admitted: Admitted, location: str) -> Json:
    run = await runtime.queue.store.get(admitted.run_id)
    return Json(run_body(run), headers={"Content-Location": location})


@router.get("/threads/{thread_id}/runs", response_model=list[dict[str, Any]])
async def list_runs(
    thread_id: ThreadId,
    request: Request,
    runtime: CurrentRuntime,
    *,
    limit: Limit = 10,
    offset: Offset = 0,
    status: WireStatus | None = None,
    select: Annotated[list[SelectRun] | None, Query()] = None,
) -> Json:
    """Return the runs of a thread, newest first; `select` leaves out what was not asked for."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id})
    await runtime.threads.get(thread_id, access=access)
    runs = await runtime.queue.store.views.of_thread(thread_id, status=status, limit=limit, offset=offset)
    return Json([chosen(run_body(run), select) for run in runs])


@router.get("/threads/{thread_id}/runs/{run_id}", response_model=RunShown)
async def get(thread_id: ThreadId, run_id: RunId, request: Request, runtime: CurrentRuntime) -> Json:
    """Return a run."""
    _, access = await allowed(request, "threads", "read", {"thread_id": thread_id, "run_id": str(run_id)})
    return Json(run_body(await runtime.queue.store.views.one(thread_id, run_id, access=access)))


@router.delete("/threads/{thread_id}/runs/{run_id}", status_code=204)
async def delete(thread_id: ThreadId, run_id: RunId, request: Request, runtime: CurrentRuntime) -> Response:
    """Delete a run; one that runs is stopped before. What it wrote stays."""
    _, access = await allowed(request, "threads", "delete", {"thread_id": thread_id, "run_id": str(run_id)})
    await runtime.queue.store.views.one(thread_id, run_id, access=access)
    await runtime.queue.delete(run_id, timeout=runtime.settings.server.wait)
    return Response(status_code=204)


@router.post(
    "/threads/{thread_id}/runs/{run_id}/cancel",
    status_code=202,
    response_model=None,
    responses={200: {"description": "It has ended."}},
)
async def cancel(
    thread_id: ThreadId,
    run_id: RunId,
    request: Request,
    runtime: CurrentRuntime,
    *,
    wait: Annotated[bool, Query(description="answer when the run has ended")] = False,
    action: Action = "interrupt",
    reason: Annotated[Literal["taken"] | None, Query(description="another run took its input over")] = None,
) -> Response:
    """Ask a run to end; 409 when it has ended already."""
    if reason is not None and action != "interrupt":
        msg = "a reason goes with the action interrupt; a run that is rolled back leaves nothing that could keep it"
        raise InvalidInput(msg, field="reason")
    value = {"thread_id": thread_id, "run_id": str(run_id), "action": action}
    _, access = await allowed(request, "threads", "update", value)
    await runtime.queue.store.views.one(thread_id, run_id, access=access)
    why = None if reason is None else "taken: another run took the input over"
    await runtime.queue.cancel(run_id, action=action, reason=why, access=access)
    if not wait:
        return Response(status_code=202)
    return Eventually(_gone_or_ended(runtime, run_id), headers={"Location": f"{run_path(thread_id, run_id)}/join"})


async def _gone_or_ended(runtime: Runtime, run_id: UUID) -> None:
    try:
        await runtime.queue.wait(run_id, timeout=None)
    except NotFound:
        # Rolled back: that is its end.
        return


@router.post("/runs/cancel", status_code=204)
async def cancel_many(
    body: CancelBody, request: Request, runtime: CurrentRuntime, *, action: Action = "interrupt"
) -> Response:
    """Ask several runs to end; 404 when none of them can."""
    _, access = await allowed(request, "threads", "update", {**body.model_dump(exclude_none=True), "action": action})
    cancelled = await runtime.queue.cancel_where(
        thread_id=None if body.thread_id is None else await known_thread_id(body.thread_id, runtime),
        run_ids=None if body.run_ids is None else [run_id_of(name) for name in body.run_ids],
        statuses=_CANCELLED[body.status or "all"],
        action=action,
        access=access,
    )
    if not cancelled:
        kind = "run to cancel"
        raise NotFound(kind, body.status or ", ".join(body.run_ids or ())[:200])
    return Response(status_code=204)
