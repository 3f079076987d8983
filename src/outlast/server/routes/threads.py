"""Where a thread stands: its front run, else its newest, in plain words."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query

from outlast.admission.names import check_name
from outlast.domain.run import RunStatus, RunView
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED
from outlast.server.routes.runs import RunErrorBody, open_questions
from outlast.server.thread_values import read_values

router = APIRouter(prefix="/agent", tags=["threads"], route_class=PlainRoute, responses=DOCUMENTED)


class ThreadStatus(StrEnum):
    """What a person would say."""

    IDLE = "idle"
    QUEUED = "queued"
    IN_PROGRESS = "in_progress"
    WAITING = "waiting"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


_STATUS: Final = {
    RunStatus.BLOCKED: ThreadStatus.QUEUED,
    RunStatus.QUEUED: ThreadStatus.QUEUED,
    RunStatus.RUNNING: ThreadStatus.IN_PROGRESS,
    RunStatus.WAITING: ThreadStatus.WAITING,
    RunStatus.SUCCEEDED: ThreadStatus.COMPLETED,
    RunStatus.FAILED: ThreadStatus.FAILED,
    RunStatus.CANCELLED: ThreadStatus.CANCELLED,
    RunStatus.INTERRUPTED: ThreadStatus.WAITING,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadBody:
    """A thread. `completed` and `total` are null until its run reports progress, `values` unless they are asked for."""

    thread_id: str
    status: ThreadStatus = ThreadStatus.IDLE
    completed: int | None = None
    total: int | None = None
    run_id: str | None = None
    agent: str | None = None
    updated_at: datetime | None = None
    interrupts: list[dict[str, Any]] | None = None
    error: RunErrorBody | None = None
    values: Any = None


@router.get("/state/{thread_id:path}", response_model=ThreadBody)
async def state(
    thread_id: str,
    runtime: CurrentRuntime,
    values: Annotated[bool, Query(description="with the state of the graph; this lifts a quarantine")] = False,  # noqa: FBT002
) -> Json:
    """Return where a thread stands."""
    run = await runtime.queue.store.of_thread(check_name(thread_id, field="thread_id"))
    if run is None:
        return Json(ThreadBody(thread_id=thread_id))
    return Json(_body(run, await read_values(runtime, run.agent, thread_id) if values else None))


def _body(run: RunView, values: Any) -> ThreadBody:
    times = (run.created_at, run.started_at, run.progress_at, run.ended_at)
    return ThreadBody(
        thread_id=run.thread_id,
        status=_STATUS[run.status],
        completed=run.completed,
        total=run.total,
        run_id=str(run.id),
        agent=run.agent,
        updated_at=max(time for time in times if time is not None),
        interrupts=open_questions(run),
        error=None if run.error_code is None else RunErrorBody(run.error_code, run.error_message),
        values=values,
    )
