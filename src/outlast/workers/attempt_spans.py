"""The span of an attempt, whose id follows from the run and its epoch: attempts are linked without storing anything.

A worker that dies cannot say how its attempt ended, and its span is sent by nobody. So whoever goes on with the run
tells it first: when it began and ended is in the database, and its id is known. What the dead worker had sent of it by
then (nodes, calls) stands below it.
"""

from collections.abc import Awaitable, Callable
from contextlib import AbstractContextManager
from typing import Any, Final
from uuid import UUID

from outlast.domain.outcome import Cancelled, Drained, Failed, Outcome, Succeeded
from outlast.domain.run import ClaimedRun
from outlast.errors import DatabaseUnavailable
from outlast.storage.postgres.attempts import LastAttempt
from outlast.telemetry import Span, span, told, tracing

# What a reap adds to the epoch, and the claim after it.
_REAPED: Final = 2

Last = Callable[[UUID], Awaitable[LastAttempt | None]]


async def begun(run: ClaimedRun, last: Last) -> AbstractContextManager[Span]:
    """Return the span of the attempt; the attempt before it is told if its worker was lost."""
    if not tracing():
        return span("run")
    fields = _fields(run)
    return span("run", **fields, epoch=run.epoch, before=await _before(run, last, fields))


def ended(outcome: Outcome) -> dict[str, Any]:
    """Return what the span says when the outcome is known."""
    match outcome:
        case Succeeded():
            return {"outcome": "success"}
        case Failed(code=code):
            return {"outcome": "error", "error": code, "failed": True}
        case Cancelled():
            return {"outcome": "cancelled"}
        case Drained():
            return {"outcome": "drained"}
        case _:
            return {"outcome": "interrupt"}


def _fields(run: ClaimedRun) -> dict[str, Any]:
    return {
        "run_id": run.id, "thread_id": run.thread_id, "agent": run.agent, "tenant": run.tenant, "user_id": run.user_id,
        "attempt": run.errors + run.crashes + 1, "traceparent": run.options.traceparent,
    }  # fmt: skip


async def _before(run: ClaimedRun, last: Last, fields: dict[str, Any]) -> int | None:
    """Return the epoch of the attempt before this one, None for the first."""
    if run.epoch == 1:
        return None
    try:
        found = await last(run.id)
    except DatabaseUnavailable:
        # The run goes on; a link is missing.
        return None
    if found is None or found.epoch < run.epoch - _REAPED:
        # It ended well: it was handed back, or a person has answered.
        return run.epoch - 1
    if found.lost and found.began_at is not None:
        told(
            "run", **{**fields, "attempt": run.errors + run.crashes}, epoch=found.epoch, began_at=found.began_at,
            ended_at=found.ended_at, worker_id=found.worker_id, outcome="lost", error="crashed",
        )  # fmt: skip
    return found.epoch
