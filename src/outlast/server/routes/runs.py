"""Runs: start, wait for, look at, answer, cancel.

`status` is the run's own: queued, blocked (behind another run of its thread), running, waiting (for an answer),
succeeded, failed or cancelled.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Header, Query
from pydantic import BaseModel, ConfigDict, FailFast, Field
from starlette.requests import Request

from outlast.admission.gate import Admitted
from outlast.admission.idempotency import Idempotency
from outlast.admission.payload import check_value
from outlast.admission.request import RunRequest
from outlast.domain.run import RunStatus, RunView
from outlast.errors import InvalidInput
from outlast.runtime import Runtime
from outlast.server.bodies import Json, PlainRoute
from outlast.server.current import CurrentGate, CurrentRuntime
from outlast.server.problems import DOCUMENTED

router = APIRouter(prefix="/agent", tags=["runs"], route_class=PlainRoute, responses=DOCUMENTED)

_30_DAYS = 30 * 24 * 3600

IdempotencyKey = Annotated[str | None, Header(alias="Idempotency-Key")]
Wait = Annotated[
    float, Query(ge=0, allow_inf_nan=False, description="seconds to wait for the run; the server has a limit too")
]


class _Body(BaseModel):
    # Strict: true is no number, and a misspelt field is no wish that may be ignored.
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class ConfigBody(_Body):
    """LangGraph's run configuration, as far as a request may set it."""

    configurable: dict[str, Any] = {}
    recursion_limit: Annotated[int, Field(ge=1, le=10_000)] | None = None
    max_concurrency: Annotated[int, Field(ge=1, le=1000)] | None = None
    # One wrong tag is told, not each of a million.
    tags: Annotated[list[str], FailFast(), Field(max_length=100)] = []


class StartBody(_Body):
    """A run that is wanted: `task`, or the graph's whole `input`."""

    agent: Annotated[str | None, Field(description="may be left out when the project has one")] = None
    task: Annotated[str | None, Field(min_length=1, description='short for the input {"task": ...}')] = None
    input: Any = None
    thread_id: Annotated[str | None, Field(description="the conversation it continues; a new one is made")] = None
    priority: Annotated[int, Field(ge=-1000, le=1000, description="higher ones start earlier")] = 0
    delay_seconds: Annotated[float, Field(ge=0, le=_30_DAYS)] = 0.0
    timeout_seconds: Annotated[int | None, Field(ge=1, le=_30_DAYS, description="for one attempt")] = None
    max_attempts: Annotated[int | None, Field(ge=1, le=100)] = None
    config: ConfigBody = ConfigBody()
    metadata: dict[str, Any] = {}

    def request(self, idempotency: Idempotency | None) -> RunRequest:
        """Return it for the gate; raises InvalidInput unless there is either a task or an input."""
        if (self.task is not None) == ("input" in self.model_fields_set):
            msg = "send either task (a text) or input (any JSON), not both" if self.task else "task or input is missing"
            raise InvalidInput(msg, field="task")
        return RunRequest(
            input=self.input if self.task is None else {"task": self.task},
            agent=self.agent,
            thread_id=self.thread_id,
            config=self.config.model_dump(exclude_unset=True) if self.config.model_fields_set else {},
            metadata=self.metadata,
            priority=self.priority,
            delay_seconds=self.delay_seconds,
            max_attempts=self.max_attempts,
            timeout_seconds=self.timeout_seconds,
            idempotency=idempotency,
        )


class AnswerBody(_Body):
    """A person's answer, in the form that the question asked for."""

    answer: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A run that is stored. `task_id` and `run_id` are the same."""

    task_id: UUID
    run_id: UUID
    thread_id: str
    status: RunStatus

    @classmethod
    def of(cls, run: Admitted | RunView) -> Self:
        """Render it."""
        run_id = run.id if isinstance(run, RunView) else run.run_id
        return cls(task_id=run_id, run_id=run_id, thread_id=run.thread_id, status=run.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class Changed:
    """A run after what was asked for; `running` after a cancellation means that it is being stopped."""

    task_id: UUID
    run_id: UUID
    status: RunStatus


@dataclass(frozen=True, slots=True)
class Attempts:
    """Attempts that ended in an error, and attempts whose worker died."""

    errors: int
    crashes: int


@dataclass(frozen=True, slots=True)
class RunErrorBody:
    """Why the last attempt failed."""

    code: str
    message: str | None


@dataclass(frozen=True, slots=True)
class ProgressBody:
    """What the run said by `outlast.progress`."""

    completed: int
    total: int | None


@dataclass(frozen=True, slots=True)
class WorkerBody:
    """Who runs it."""

    id: UUID
    pid: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunBody:
    """A run."""

    task_id: UUID
    run_id: UUID
    thread_id: str
    agent: str
    status: RunStatus
    attempts: Attempts
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    output: Any
    interrupts: list[dict[str, Any]] | None
    error: RunErrorBody | None
    progress: ProgressBody | None
    worker: WorkerBody | None

    @classmethod
    def of(cls, run: RunView) -> Self:
        """Render it."""
        return cls(
            task_id=run.id,
            run_id=run.id,
            thread_id=run.thread_id,
            agent=run.agent,
            status=run.status,
            attempts=Attempts(run.errors, run.crashes),
            created_at=run.created_at,
            started_at=run.started_at,
            ended_at=run.ended_at,
            output=run.output,
            interrupts=open_questions(run),
            error=None if run.error_code is None else RunErrorBody(run.error_code, run.error_message),
            progress=None if run.completed is None else ProgressBody(run.completed, run.total),
            worker=None if run.worker_id is None else WorkerBody(run.worker_id, run.worker_pid),
        )


def open_questions(run: RunView) -> list[dict[str, Any]] | None:
    """Return what a person is asked; a question that has its answer is open no more.

    A run of the Agent Server API has ended with its question, and is answered by another run of its thread.
    """
    return run.interrupts if run.status in {RunStatus.WAITING, RunStatus.INTERRUPTED} else None


def location(run_id: UUID) -> dict[str, str]:
    """Return the header that says where a run can be watched."""
    return {"Location": f"/agent/status/{run_id}"}


async def _idempotency(request: Request, key: str | None) -> Idempotency | None:
    return None if key is None else Idempotency.of(request.url.path, key, await request.body())


async def _seen(runtime: Runtime, run_id: UUID, wait: float) -> RunView:
    """Return the run, at once or when it stands still; no database connection is held meanwhile."""
    if wait <= 0:
        return await runtime.queue.store.get(run_id)
    timeout = min(timedelta(seconds=min(wait, _30_DAYS)), runtime.settings.server.wait)
    return await runtime.queue.wait(run_id, timeout=timeout)


def _stands_still(run: RunView) -> bool:
    return run.ended or run.status is RunStatus.WAITING


@router.post("/start", status_code=202, response_model=Started)
async def start(body: StartBody, request: Request, gate: CurrentGate, key: IdempotencyKey = None) -> Json:
    """Start a run. It is stored durably before the answer is sent."""
    admitted = await gate.admit(body.request(await _idempotency(request, key)))
    return Json(Started.of(admitted), 202, location(admitted.run_id))


@router.post("/run", response_model=RunBody, responses={202: {"model": RunBody, "description": "It still runs."}})
async def start_and_wait(
    *,
    body: StartBody,
    request: Request,
    runtime: CurrentRuntime,
    gate: CurrentGate,
    wait: Wait = 0.0,
    key: IdempotencyKey = None,
) -> Json:
    """Start a run and return it when it has ended or waits for a person; 202 when it does neither in time."""
    admitted = await gate.admit(body.request(await _idempotency(request, key)))
    run = await _seen(runtime, admitted.run_id, wait)
    return Json(RunBody.of(run), 200 if _stands_still(run) else 202, location(run.id))


@router.get("/status/{task_id}", response_model=RunBody)
async def status(task_id: UUID, runtime: CurrentRuntime, wait: Wait = 0.0) -> Json:
    """Return a run; with `wait`, when it has ended or waits for a person, or when the time is over."""
    return Json(RunBody.of(await _seen(runtime, task_id, wait)))


@router.post("/answer/{task_id}", status_code=202, response_model=Changed)
async def answer(task_id: UUID, body: AnswerBody, runtime: CurrentRuntime, gate: CurrentGate) -> Json:
    """Answer a run that waits; it goes on with the answer. The first answer wins, the second gets 409."""
    check_value(body.answer, gate.limits, field="answer")
    after = await runtime.queue.answer(task_id, body.answer)
    return Json(Changed(task_id=task_id, run_id=task_id, status=after), 202, location(task_id))


@router.post("/cancel/{task_id}", status_code=202, response_model=Changed)
async def cancel(task_id: UUID, runtime: CurrentRuntime) -> Json:
    """Ask a run to end; 409 when it has ended already."""
    after = await runtime.queue.cancel(task_id)
    return Json(Changed(task_id=task_id, run_id=task_id, status=after), 202, location(task_id))
