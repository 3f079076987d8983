"""May this run start? The one way into the queue.

    request -> each check in turn: passes it on, completes it, or refuses -> the stages that decide -> the queue

A check is a function in a file of its own; they run in the order in which they are listed, cheap ones first, so that
nothing is looked up or reserved for a request that a later one refuses anyway. Checks look at the request alone; what
else there is to consider (limits, policies, budgets, the queue) is decided by the stages of `pipeline`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.admission.agent_server import usable_options
from outlast.admission.agents import known_agent
from outlast.admission.idempotency import Idempotency
from outlast.admission.payload import PayloadLimits, storable_payload
from outlast.admission.pipeline import Pipeline
from outlast.admission.request import Check, RunRequest
from outlast.admission.secrets import free_of_secrets
from outlast.admission.threads import usable_thread
from outlast.domain.intake import Intake, Resume
from outlast.domain.options import RunOptions
from outlast.domain.run import NewRun, RunStatus
from outlast.domain.webhook import WebhookPolicy
from outlast.errors import InvalidInput
from outlast.queues.queue import RunQueue
from outlast.refusals import AdmissionRefused
from outlast.storage.postgres.run_intake import Admission, Key, NotTaken
from outlast.telemetry import carried, note


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A run that is stored: from here on it ends, whatever happens to us."""

    run_id: UUID
    thread_id: str
    status: RunStatus
    #: The thread goes with the run.
    temporary: bool = False


class Gate:
    """Checks what is asked for and queues it."""

    def __init__(
        self,
        queue: RunQueue,
        *,
        agents: Sequence[str],
        limits: PayloadLimits,
        max_attempts: int,
        webhooks: WebhookPolicy | None = None,
        tracing: bool = False,
        pipeline: Pipeline | None = None,
    ) -> None:
        self.limits = limits
        self._queue = queue
        self._pipeline = pipeline
        self._max_attempts = max_attempts
        self._checks: tuple[Check, ...] = (
            known_agent(agents),
            usable_thread,
            usable_options(limits, webhooks=webhooks, tracing=tracing),
            storable_payload(limits),
            free_of_secrets,
        )

    async def admit(self, request: RunRequest) -> Admitted:
        """Queue the run; with an idempotency key that is known, return its first run instead.

        Raises InvalidInput naming the field, AdmissionRefused when it may not start (RateLimited, PolicyRefused,
        BudgetExceeded, QueueFull), Conflict when the key came with another request or the thread is not in a
        state for it (ThreadBusy, NothingToResume, AlreadyAnswered, ThreadQuarantined), NotFound when there is no such
        thread, DatabaseUnavailable.
        """
        run, intake = self.prepare(request)
        key = _key(request.idempotency)
        try:
            run, admission = await self._stored(run, intake, key)
        except AdmissionRefused:
            # A repeated request is told about its first run, whatever has been used up since.
            if (admission := await self._queue.store.intake.known(key)) is None:
                raise
        return await self._admitted(run, admission)

    async def _stored(self, run: NewRun, intake: Intake, key: Key | None) -> tuple[NewRun, Admission]:
        if self._pipeline is None:
            return run, await self._queue.admit(run, intake, key=key)
        run = await self._pipeline.decide(run, deferring=True)
        try:
            return run, await self._queue.admit(run, intake, key=key)
        except NotTaken as reached:
            run = await self._pipeline.taken(run, reached.taken)
        return run, await self._queue.admit(run, intake, key=key)

    async def admit_all(
        self, requests: Sequence[RunRequest], *, idempotency: Idempotency | None = None
    ) -> list[Admitted]:
        """Queue all of these runs or none; each gets a thread of its own.

        A key that is known returns the first run of its first request alone. Raises as `admit`, InvalidInput also when
        there are none or when one names a thread.
        """
        if not requests:
            msg = "a batch has at least one run"
            raise InvalidInput(msg)
        runs = [self.prepare(request) for request in requests]
        key = _key(idempotency)
        try:
            runs = await self._decide_all(runs)
        except AdmissionRefused:
            if (known := await self._queue.store.intake.known(key)) is None:
                raise
            return [await self._admitted(runs[0][0], known)]
        admissions = await self._queue.admit_all(runs, key=key)
        return [await self._admitted(run, admission) for (run, _), admission in zip(runs, admissions, strict=False)]

    def prepare(self, request: RunRequest, *, run_id: UUID | None = None) -> tuple[NewRun, Intake]:
        """Check the request and return what would be stored; nothing is. Raises InvalidInput naming the field."""
        makes_thread = request.thread_id is None or request.temporary
        for check in self._checks:
            request = check(request)
        run = self._new_run(request, run_id or uuid_utils.uuid7(), makes_thread=makes_thread)
        return run, _intake(request)

    async def decide(self, run: NewRun) -> NewRun:
        """Ask the stages about a prepared run, for whoever is acting; return it as it is to be stored.

        Raises AdmissionRefused.
        """
        return run if self._pipeline is None else await self._pipeline.decide(run)

    async def _decide_all(self, runs: list[tuple[NewRun, Intake]]) -> list[tuple[NewRun, Intake]]:
        if self._pipeline is None:
            return runs
        decided = await self._pipeline.decide_all([run for run, _ in runs])
        return [(run, intake) for run, (_, intake) in zip(decided, runs, strict=True)]

    async def _admitted(self, run: NewRun, admission: Admission) -> Admitted:
        note(run_id=admission.run_id, thread_id=run.thread_id, agent=run.agent)
        if admission.status is not None:
            return Admitted(run_id=run.id, thread_id=run.thread_id, status=admission.status, temporary=run.temporary)
        before = await self._queue.store.get(admission.run_id)
        return Admitted(run_id=before.id, thread_id=before.thread_id, status=before.status, temporary=before.temporary)

    def _new_run(self, request: RunRequest, run_id: UUID, *, makes_thread: bool) -> NewRun:
        return NewRun(
            id=run_id,
            thread_id=request.thread_id or "",
            agent=request.agent or "",
            input=request.input,
            config=request.config,
            metadata=request.metadata,
            priority=request.priority,
            delay_seconds=request.delay_seconds,
            max_attempts=self._max_attempts if request.max_attempts is None else request.max_attempts,
            timeout_seconds=request.timeout_seconds,
            options=_traced(request.options),
            assistant_id=request.assistant_id,
            temporary=_goes_with_its_run(request),
            webhook=request.webhook,
            multitask=request.thread.multitask if request.thread is not None else "enqueue",
            makes_thread=makes_thread,
        )


def _traced(options: RunOptions) -> RunOptions:
    """Return the options with where in a trace the run is asked for."""
    traceparent = carried()
    return options if traceparent is None else replace(options, traceparent=traceparent)


def _goes_with_its_run(request: RunRequest) -> bool:
    return request.temporary and request.options.on_completion == "delete"


def _intake(request: RunRequest) -> Intake:
    rules = request.thread
    if rules is None:
        return Intake()
    answer = (request.options.command or {}).get("resume")
    return Intake(
        multitask=rules.multitask,
        if_not_exists=rules.if_not_exists,
        access=rules.access,
        thread_metadata=rules.metadata,
        resume=None if answer is None else Resume(answer),
        # A temporary thread goes by a rule of its own.
        ttl=None if _goes_with_its_run(request) else rules.ttl,
    )


def _key(known: Idempotency | None) -> Key | None:
    return (known.route, known.key, known.body_hash) if known is not None else None
