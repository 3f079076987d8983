"""How runs end: by their owner's word, by a cancellation, by recovery, by a rollback.

Each decision is one transaction that first locks the thread's row. A rollback is part of the transaction that ends its
run: there is no moment at which a run is gone and what it wrote is not.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import orjson
from psycopg import AsyncConnection

from outlast.domain.options import CancelAction
from outlast.domain.outcome import Settlement
from outlast.domain.positions import behind_end
from outlast.domain.question import TermsOf, no_terms
from outlast.domain.run import ClaimedRun, RunStatus
from outlast.domain.thread import ThreadState
from outlast.errors import Conflict, LeaseLost, NotFound, RunEnded
from outlast.storage.postgres import questions
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.jsonb import encoded_jsonb, jsonb
from outlast.storage.postgres.pool import Pool, as_unavailable
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.run_sealing import sealed_error, sealed_settlement
from outlast.storage.postgres.sealed_columns import ATTEMPT_ERROR, RUN_CANCEL_REASON, RUN_ERROR
from outlast.storage.postgres.together import Step
from outlast.telemetry import emit

_SQL = Queries("run_ends")
_INBOX_SQL = Queries("inbox")
_NOTIFICATIONS_SQL = Queries("notifications")
#: An open transaction.
Tx = AsyncConnection[Any]
#: Erases what some runs wrote into a thread, as part of an open transaction; the graph's state is above storage.
Erase = Callable[[Tx, bytes, set[str]], Awaitable[None]]

#: How long the thread of a stateless run stays after its end: whoever waits for the run still finds the result.
TEMPORARY_GRACE: Final = timedelta(minutes=5)
#: A state above this is not kept beside its checkpoint: a long chat would be written anew at each of its turns.
THREAD_VALUES_BYTES: Final = 1024 * 1024


class RunEnds:
    """Ends runs."""

    def __init__(
        self,
        pool: Pool,
        *,
        erase: Erase,
        thread_values_bytes: int = THREAD_VALUES_BYTES,
        temporary_grace: timedelta = TEMPORARY_GRACE,
        terms_of: TermsOf = no_terms,
    ) -> None:
        self._pool = pool
        self._erase = erase
        self._thread_values_bytes = thread_values_bytes
        self._terms_of = terms_of
        self._grace = {"grace": temporary_grace.total_seconds()}

    async def settle(self, run: ClaimedRun, settlement: Settlement) -> tuple[RunStatus, bool]:
        """Store how an attempt ended; return the run's status, and whether another run of the thread became ready.

        The status is `cancelled` instead of `queued` or `waiting` when that was asked for meanwhile, and `cancelled`
        whatever it was when the run was to be rolled back: then it is gone. Safe to repeat: settling an attempt twice
        changes nothing. Raises LeaseLost when the run has another owner.
        """
        thread = {"thread_key": UUID(bytes=run.thread_key)}
        settling = self._settlement_parameters(run, settlement)
        settling = await sealed_settlement(self._pool.sealing, run.thread_key, settling)
        # Several statements, since the last one needs a snapshot taken under the thread's lock; one round trip.
        steps = [
            Step("run_ends", "lock_thread", thread),
            Step("run_ends", "settle", settling),
            Step("run_ends", "unblock", thread),
        ]
        steps[2:2] = await questions.asked(self._pool.sealing, run, settlement, self._terms_of)
        if settlement.error_code is not None:
            steps.insert(1, await self._failed_attempt(run, settlement))
        steps += _told(run, settlement)
        if settlement.status is RunStatus.FAILED:
            steps.append(Step("notifications", "put_failed", {"id": run.id}))
        replies = await self._pool.together(
            steps, before_commit=lambda: emit("run.settle.before_commit", run_id=run.id)
        )
        rows = dict(zip((step.name for step in steps), replies, strict=True))
        settled, ready = rows["settle"], bool(rows["unblock"])
        row = settled[0] if settled else await self._is_settled(run, settlement)
        if row is None:
            return RunStatus.CANCELLED, await self._rolled_back(run)
        status = RunStatus(row[0])
        with as_unavailable():
            emit("run.settled", run_id=run.id, status=status)
        return status, ready

    async def _failed_attempt(self, run: ClaimedRun, settlement: Settlement) -> Step:
        sealed = await self._pool.sealing.seal_text(ATTEMPT_ERROR, settlement.error_message, run.id, run.epoch)
        parameters = {
            "id": run.id, "epoch": run.epoch, "error_code": settlement.error_code, "attempt_message": sealed
        }  # fmt: skip
        return Step("run_ends", "failed_attempt", parameters)

    async def _is_settled(self, run: ClaimedRun, settlement: Settlement) -> tuple[Any, ...] | None:
        parameters = {"id": run.id, "epoch": run.epoch, "status": settlement.status}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.is_settled, parameters)
            return await cursor.fetchone()

    async def _rolled_back(self, run: ClaimedRun) -> bool:
        """Roll the owner's own run back, if that was asked for; return whether another run of the thread became ready.

        Nothing of this epoch is under way any more, so nothing is written behind the erasure.
        """
        thread = {"thread_key": UUID(bytes=run.thread_key)}
        async with self._pool.transaction() as connection:
            await connection.execute(_SQL.lock_thread, thread)
            cursor = await connection.execute(_SQL.to_roll_back, {"id": run.id, "epoch": run.epoch})
            if await cursor.fetchone() is None:
                emit("run.lease_lost", run_id=run.id)
                raise LeaseLost(run_id=str(run.id), epoch=run.epoch)
            await self.roll_back_in(connection, run.thread_key, run.id)
            return await unblock_in(connection, run.thread_key)

    async def cancel(
        self,
        run_id: UUID,
        *,
        action: CancelAction = "interrupt",
        reason: str | None = None,
        access: str | None = None,
    ) -> RunStatus:
        """Ask a run to end; return its status, `running` while its owner has still to stop it.

        Rolling back, it and what it wrote are gone as soon as it has stopped: at once, when it does not run. Raises
        NotFound, or RunEnded when it has ended already.
        """
        async with self._pool.transaction() as connection:
            thread = await self.lock_thread_of(connection, run_id, access=access)
            status = await self.cancel_in(connection, thread, run_id, action=action, reason=reason)
            if status is None:
                cursor = await connection.execute(_SQL.status_of, {"id": run_id})
                row = await cursor.fetchone()
                # It may have gone while we waited for its thread.
                raise RunEnded(run_id=str(run_id), status=row[0]) if row else NotFound("run", str(run_id))
            await unblock_in(connection, thread)
        emit("run.cancel.requested", run_id=run_id)
        return status

    async def cancel_in(
        self, connection: Tx, thread: bytes, run_id: UUID, *, action: CancelAction, reason: str | None
    ) -> RunStatus | None:
        """Ask a run to end, under the lock of its thread; None when it has ended. The caller unblocks the thread."""
        sealed = await self._pool.sealing.seal_text(RUN_CANCEL_REASON, reason, run_id)
        parameters = {"id": run_id, "action": action, "reason": sealed}
        cursor = await connection.execute(_SQL.request_cancel, parameters)
        row = await cursor.fetchone()
        if row is None:
            return None
        status, epoch, wanted = RunStatus(row[0]), row[1], row[2]
        if status is RunStatus.CANCELLED:
            await self._ended_in(
                connection, thread, run_id, begun=epoch > 0, roll_back=wanted == "rollback",
                state=ThreadState.INTERRUPTED,
            )  # fmt: skip
        return status

    async def cancel_where(
        self,
        *,
        action: CancelAction = "interrupt",
        reason: str | None = None,
        thread_id: str | None = None,
        run_ids: Sequence[UUID] | None = None,
        statuses: Sequence[RunStatus],
        access: str | None = None,
    ) -> list[tuple[UUID, RunStatus]]:
        """Ask runs to end, each in a transaction of its own; return them with their status, as `cancel` does.

        Runs of other statuses are left out, and so is what ends meanwhile.
        """
        parameters = {
            "thread_key": None if thread_id is None else UUID(bytes=thread_key(thread_id)),
            "statuses": list(statuses),
            "access": access,
        }
        async with self._pool.connection() as connection:
            if run_ids is None:
                cursor = await connection.execute(_SQL.cancellable, parameters)
            else:
                cursor = await connection.execute(_SQL.cancellable_among, {**parameters, "ids": list(run_ids)})
            found = [row[0] for row in await cursor.fetchall()]
        done: list[tuple[UUID, RunStatus]] = []
        for run_id in found:
            try:
                done.append((run_id, await self.cancel(run_id, action=action, reason=reason)))
            except (NotFound, RunEnded):
                continue
        return done

    async def take_away(
        self, run_id: UUID, thread: bytes, epoch: int, *, status: RunStatus, code: str | None, message: str | None
    ) -> bool:
        """End a run whatever its owner does; False when it has moved on meanwhile.

        A run that was to be rolled back is rolled back. The epoch rises, so nothing of an owner counts any more.
        """
        sealing = self._pool.sealing
        parameters = {
            "id": run_id, "epoch": epoch, "status": status, "error_code": code,
            "error_message": await sealing.seal_text(RUN_ERROR, message, run_id),
            "attempt_message": await sealing.seal_text(ATTEMPT_ERROR, message, run_id, epoch),
        }  # fmt: skip
        async with self._pool.transaction() as connection:
            await connection.execute(_SQL.lock_thread, {"thread_key": UUID(bytes=thread)})
            cursor = await connection.execute(_SQL.take_away, parameters)
            taken = await cursor.fetchone()
            if taken is not None:
                failed = status is RunStatus.FAILED
                await connection.execute(_NOTIFICATIONS_SQL.put_failed, {"id": run_id})
                await self._ended_in(
                    connection, thread, run_id, begun=epoch > 0, roll_back=taken[1] == "rollback",
                    state=ThreadState.ERROR if failed else ThreadState.INTERRUPTED,
                    error={"error": code, "message": message} if failed else None,
                )  # fmt: skip
            await unblock_in(connection, thread)
        if taken is not None:
            emit("run.taken_away", run_id=run_id, agent=taken[2], status=status, code=code)
        return taken is not None

    async def _ended_in(
        self,
        connection: Tx,
        thread: bytes,
        run_id: UUID,
        *,
        begun: bool,
        roll_back: bool,
        state: ThreadState,
        error: Mapping[str, Any] | None = None,
    ) -> None:
        """Write down what a run left of its thread that nobody owns (any more), or take it back."""
        if roll_back:
            await self.roll_back_in(connection, thread, run_id, begun=begun)
            return
        parameters = {
            "id": run_id, "begun": begun, "thread_state": state,
            "thread_error": None if error is None else jsonb(error), **self._grace,
        }  # fmt: skip
        parameters["thread_error"] = await sealed_error(self._pool.sealing, thread, parameters["thread_error"])
        await connection.execute(_SQL.mark_ended, parameters)

    async def delete(self, run_id: UUID, *, access: str | None = None) -> None:
        """Delete a run; what it wrote into its thread stays. Raises NotFound, or Conflict while it runs."""
        async with self._pool.transaction() as connection:
            thread = await self.lock_thread_of(connection, run_id, access=access)
            parameters = {"thread_key": UUID(bytes=thread), "id": run_id}
            cursor = await connection.execute(_SQL.delete_idle, parameters)
            if await cursor.fetchone() is None:
                cursor = await connection.execute(_SQL.status_of, parameters)
                if await cursor.fetchone() is None:
                    raise NotFound("run", str(run_id))
                msg = f"run {run_id} is running; cancel it first"
                raise Conflict(msg, details={"run_id": str(run_id), "run_status": "running"})
            await connection.execute(_SQL.delete_events, parameters)
            await unblock_in(connection, thread)

    async def roll_back_in(self, connection: Tx, thread: bytes, run_id: UUID, *, begun: bool = True) -> None:
        """Take a run back, under the lock of its thread: what it wrote, its records and its row are gone.

        The thread's head falls back to where it stood before. The caller unblocks the thread.
        """
        parameters = {"thread_key": UUID(bytes=thread), "id": run_id}
        if begun:
            await self._erase(connection, thread, {str(run_id)})
        await connection.execute(_INBOX_SQL.reopen, parameters)
        await connection.execute(_SQL.delete, parameters)
        await connection.execute(_SQL.delete_events, parameters)
        if begun:
            await connection.execute(_SQL.forget_values, parameters)
        emit("run.rolled_back.before_commit", run_id=run_id)

    async def lock_thread_of(self, connection: Tx, run_id: UUID, *, access: str | None = None) -> bytes:
        """Lock the thread of a run and return its key; raises NotFound when this caller has no such run."""
        cursor = await connection.execute(_SQL.thread_of, {"id": run_id, "access": access})
        row = await cursor.fetchone()
        if row is None:
            raise NotFound("run", str(run_id))
        await connection.execute(_SQL.lock_thread, {"thread_key": row[0]})
        return row[0].bytes

    async def unblock(self, thread: bytes) -> bool:
        """Put the next blocked run at the front of a thread that has none."""
        async with self._pool.transaction() as connection:
            await connection.execute(_SQL.lock_thread, {"thread_key": UUID(bytes=thread)})
            return await unblock_in(connection, thread)

    def _settlement_parameters(self, run: ClaimedRun, settlement: Settlement) -> dict[str, Any]:
        interrupts = settlement.interrupts
        output = settlement.output
        return {
            "id": run.id,
            "epoch": run.epoch,
            "status": settlement.status,
            "errors": settlement.errors,
            "delay": settlement.delay.total_seconds(),
            "output": settlement.encoded or (None if output is None else orjson.dumps(output)),
            "interrupts": None if interrupts is None else jsonb([dict(interrupt) for interrupt in interrupts]),
            "waiting_at": settlement.waiting_at,
            "error_code": settlement.error_code,
            "error_message": settlement.error_message,
            "last_pos": settlement.last_pos,
            **self._mark_parameters(settlement),
            **self._grace,
        }

    def _mark_parameters(self, settlement: Settlement) -> dict[str, Any]:
        mark = settlement.thread
        values = None if mark is None else mark.values
        if values is not None and len(values) > self._thread_values_bytes:
            values = None
        questions = None if mark is None else mark.interrupts
        asked = len(settlement.interrupts or ())
        return {
            "thread_state": None if mark is None else mark.state,
            "thread_values": None if values is None else encoded_jsonb(values),
            "questions": None if questions is None else jsonb(questions),
            "thread_waiting_at": None if mark is None else mark.waiting_at,
            "stands_at": None if mark is None or values is None else mark.stands_at,
            "thread_error": None if mark is None or mark.error is None else jsonb(mark.error),
            "thread_pos": behind_end(settlement.last_pos, questions=asked),
        }


def _told(run: ClaimedRun, settlement: Settlement) -> list[Step]:
    """Return what is kept of an attempt that ends without an end of its run; an error has a row of its own."""
    if settlement.status is RunStatus.WAITING:
        event = "waited"
    elif settlement.status is RunStatus.QUEUED and not settlement.errors:
        event = "handed_back"
    else:
        return []
    parameters = {"id": run.id, "epoch": run.epoch, "event": event, "status": settlement.status}
    return [Step("run_ends", "tell_settled", parameters)]


async def unblock_in(connection: Tx, thread: bytes) -> bool:
    """Put the next blocked run at the front of a thread that has none, under the thread's lock."""
    cursor = await connection.execute(_SQL.unblock, {"thread_key": UUID(bytes=thread)})
    return await cursor.fetchone() is not None
