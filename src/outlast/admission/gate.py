"""May this run start? The one way into the queue.

    request -> each check in turn: passes it on, completes it, or refuses -> the queue

A check is a function in a file of its own; they run in the order in which they are listed, cheap ones first, so that
nothing is looked up or reserved for a request that a later one refuses anyway.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.admission.agents import known_agent
from outlast.admission.payload import PayloadLimits, storable_payload
from outlast.admission.request import Check, RunRequest
from outlast.admission.threads import usable_thread
from outlast.domain.run import NewRun, RunStatus
from outlast.queues.queue import RunQueue


@dataclass(frozen=True, slots=True, kw_only=True)
class Admitted:
    """A run that is stored: from here on it ends, whatever happens to us."""

    run_id: UUID
    thread_id: str
    status: RunStatus


class Gate:
    """Checks what is asked for and queues it."""

    def __init__(self, queue: RunQueue, *, agents: Sequence[str], limits: PayloadLimits, max_attempts: int) -> None:
        self.limits = limits
        self._queue = queue
        self._max_attempts = max_attempts
        self._checks: tuple[Check, ...] = (known_agent(agents), usable_thread, storable_payload(limits))

    async def admit(self, request: RunRequest) -> Admitted:
        """Queue the run; with an idempotency key that is known, return its first run instead.

        Raises InvalidInput naming the field, Conflict when the key came with another request, ThreadQuarantined,
        DatabaseUnavailable.
        """
        for check in self._checks:
            request = check(request)
        run = self._new_run(request)
        known = request.idempotency
        key = (known.route, known.key, known.body_hash) if known is not None else None
        run_id = await self._queue.enqueue(run, key=key)
        if run_id != run.id:
            return await self._admitted_before(run_id)
        return Admitted(run_id=run_id, thread_id=run.thread_id, status=RunStatus.QUEUED)

    async def _admitted_before(self, run_id: UUID) -> Admitted:
        run = await self._queue.store.get(run_id)
        return Admitted(run_id=run.id, thread_id=run.thread_id, status=run.status)

    def _new_run(self, request: RunRequest) -> NewRun:
        return NewRun(
            id=uuid_utils.uuid7(),
            thread_id=request.thread_id or "",
            agent=request.agent or "",
            input=request.input,
            config=request.config,
            metadata=request.metadata,
            priority=request.priority,
            delay_seconds=request.delay_seconds,
            max_attempts=self._max_attempts if request.max_attempts is None else request.max_attempts,
            timeout_seconds=request.timeout_seconds,
        )
