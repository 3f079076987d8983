"""The clock: it runs inside every worker, and any number of them may run at once.

Each tick is one transaction: the cron is locked, its run is stored, the cron moves on to its next time. Whoever dies in
between has done nothing, and the next scheduler does it; whoever comes second finds the cron moved on. Ticks that
nobody was there for become one.
"""

import asyncio
from datetime import datetime
from typing import Final

from outlast.admission.gate import Gate
from outlast.crons.template import request_of
from outlast.domain.acting import Principal, acting_for
from outlast.domain.cron import run_id_of_tick
from outlast.errors import InvalidInput, OutlastError
from outlast.queues.queue import RunQueue
from outlast.refusals import AdmissionRefused
from outlast.storage.postgres.crons import CronStore, Due, Tick, Tx
from outlast.storage.postgres.pool import CONNECTION_ERRORS, is_transient
from outlast.storage.postgres.run_intake import Admission
from outlast.telemetry import emit

_BATCH: Final = 20
# A cron that is made or changed is seen this soon.
_LONGEST_SLEEP_SECONDS: Final = 1.0
# What is due and locked is in another scheduler's hands.
_SHORTEST_SLEEP_SECONDS: Final = 0.05


class Scheduler:
    """Fires the crons of these agents; `run` until cancelled."""

    def __init__(self, crons: CronStore, queue: RunQueue, gate: Gate, *, agents: list[str]) -> None:
        self._crons = crons
        self._queue = queue
        self._gate = gate
        # A tick of another project's agent is for a scheduler that knows it.
        self._agents = agents

    async def run(self) -> None:
        """Look for ever."""
        while True:
            try:
                delay = await self.round()
            # The loop must outlive whatever one round meets, or no clock ticks any more.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="crons", error=type(error).__name__)
                delay = _LONGEST_SLEEP_SECONDS
            await asyncio.sleep(delay)

    async def round(self) -> float:
        """Fire what is due; return the seconds until the next look."""
        while True:
            due = await self._crons.due(agents=self._agents, limit=_BATCH)
            fired = [await self.fire(cron) for cron in due]
            if len(due) < _BATCH or not any(fired):
                break
        following = await self._crons.next_due(agents=self._agents)
        wanted = _LONGEST_SLEEP_SECONDS if following is None else following
        return min(max(wanted, _SHORTEST_SLEEP_SECONDS), _LONGEST_SLEEP_SECONDS)

    async def fire(self, due: Due) -> bool:
        """Store the run of a tick and move the cron on; False when another scheduler has it.

        A run that is refused is skipped, and the cron still moves on.
        """
        with acting_for(Principal(tenant=due.tenant, user=due.user_id)):
            return await self._fire(due)

    async def _fire(self, due: Due) -> bool:
        async with self._crons.transaction() as connection:
            tick = await self._crons.lock_in(connection, due)
            if tick is None:
                return False
            admission = await self._admitted(connection, tick)
            await self._crons.advance_in(connection, tick.cron_id, next_run_at=_next(tick))
            emit("cron.before_commit", cron_id=str(tick.cron_id))
        if admission is not None:
            emit("cron.ticked", cron_id=str(tick.cron_id), run_id=str(admission.run_id))
            self._queue.tell(admission)
        return True

    async def _admitted(self, connection: Tx, tick: Tick) -> Admission | None:
        try:
            run, intake = self._gate.prepare(request_of(tick), run_id=run_id_of_tick(tick.cron_id, tick.due_at))
            run = await self._gate.decide(run)
            # A savepoint: what is refused leaves nothing behind, and the cron moves on all the same.
            async with connection.transaction():
                return await self._queue.store.intake.admit_in(connection, run, intake)
        # One cron that cannot be read must not stop the others, nor be tried for ever.
        except Exception as error:
            if _is_passing(error):
                raise
            emit("cron.skipped", cron_id=str(tick.cron_id), due_at=tick.due_at.isoformat(), reason=_reason(error))
            return None


def _next(tick: Tick) -> datetime | None:
    try:
        return tick.timing.next_after(max(tick.due_at, tick.now))
    except InvalidInput as error:
        # A time zone that this machine does not know (any more).
        emit("cron.skipped", cron_id=str(tick.cron_id), due_at=None, reason=str(error))
        return None


def _is_passing(error: Exception) -> bool:
    """Whether the same tick may succeed in a moment."""
    if isinstance(error, AdmissionRefused):
        # By a limit, say. To wait for it would hold up the crons behind this one.
        return False
    if isinstance(error, OutlastError):
        return error.retryable
    return isinstance(error, CONNECTION_ERRORS) and is_transient(error)


def _reason(error: Exception) -> str:
    return f"{error.code}: {error}" if isinstance(error, OutlastError) else type(error).__name__
