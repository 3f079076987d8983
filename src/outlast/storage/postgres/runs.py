"""Runs in the database: one method per decision, each one transaction.

Rows in, domain values out. Waking workers up and waiting for runs is `queues`.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, cast
from uuid import UUID

import orjson
from psycopg import AsyncConnection, AsyncCursor

from outlast.domain.outcome import Settlement
from outlast.domain.run import ClaimedRun, NewRun, RunStatus, RunView
from outlast.errors import Conflict, LeaseLost, NotFound, ThreadQuarantined
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.pool import Pool, as_unavailable
from outlast.storage.postgres.queries import Queries
from outlast.telemetry import emit

_SQL = Queries("runs")
Connection = AsyncConnection[Any]
Cursor = AsyncCursor[Any]


class RunStore:
    """The runs table and what hangs on it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    # the way in

    async def enqueue(self, run: NewRun, *, key: tuple[str, str, bytes] | None = None) -> tuple[UUID, RunStatus | None]:
        """Store a run; it is queued, or blocked behind the run at the front of its thread.

        `key` is (route, Idempotency-Key, hash of the body): a key that is known returns its run's id and no status,
        and stores nothing. Raises Conflict when the key came with another body, ThreadQuarantined when the thread's
        state cannot be restored.
        """
        if key is None:
            # Nothing is decided between the statements, so they go out together.
            async with self._pool.pipelined() as connection:
                cursors = await _add(connection, run)
                emit("run.enqueue.before_commit", run_id=run.id)
            status = await _added(run, cursors)
        else:
            async with self._pool.transaction() as connection:
                if (known := await _remember(connection, run.id, key)) is not None:
                    return known, None
                status = await _added(run, await _add(connection, run))
                emit("run.enqueue.before_commit", run_id=run.id)
        with as_unavailable():
            emit("run.enqueued", run_id=run.id)
        return run.id, status

    # the owner's side

    async def claim(self, worker_id: UUID, agents: Sequence[str], *, limit: int, max_crashes: int) -> list[ClaimedRun]:
        """Make up to `limit` due runs this worker's, each under a new epoch."""
        parameters = {"worker_id": worker_id, "agents": list(agents), "limit": limit, "max_crashes": max_crashes}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.claim, parameters, binary=True)
            claimed = [_claimed(row) for row in await cursor.fetchall()]
            if claimed:
                emit("run.claimed", runs=len(claimed))
        return claimed

    async def claimed(self, run_id: UUID, epoch: int) -> ClaimedRun | None:
        """Return a run that is owned under this epoch; None when it is not (any more)."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.claimed, {"id": run_id, "epoch": epoch}, binary=True)
            row = await cursor.fetchone()
        return _claimed(row) if row else None

    async def crashed(self, run: ClaimedRun) -> bool:
        """Count a crash against a run whose own process died, and queue it; False when it was settled before that."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.crashed, {"id": run.id, "epoch": run.epoch})
            return await cursor.fetchone() is not None

    async def next_due(self, agents: Sequence[str], *, max_crashes: int) -> float | None:
        """Return the seconds until a queued run is due (negative: it is), None when there is none."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.next_due, {"agents": list(agents), "max_crashes": max_crashes})
            row = await cursor.fetchone()
        return row[0] if row else None

    async def settle(self, run: ClaimedRun, settlement: Settlement) -> tuple[RunStatus, bool]:
        """Store how an attempt ended; return the run's status, and whether another run of the thread became ready.

        The status is `cancelled` instead of `queued` or `waiting` when that was asked for meanwhile. Safe to repeat:
        settling an attempt twice changes nothing. Raises LeaseLost when the run has another owner.
        """
        thread = {"thread_key": UUID(bytes=run.thread_key)}
        # Three statements, since the last one needs a snapshot taken under the thread's lock; one round trip.
        async with self._pool.pipelined() as connection:
            await connection.execute(_SQL.lock_thread, thread)
            settled = await connection.execute(_SQL.settle, _settlement_parameters(run, settlement))
            unblocked = await connection.execute(_SQL.unblock, thread)
            emit("run.settle.before_commit", run_id=run.id)
        row = await settled.fetchone() or await self._is_settled(run, settlement)
        if row is None:
            emit("run.lease_lost", run_id=run.id)
            raise LeaseLost(run_id=str(run.id), epoch=run.epoch)
        status = RunStatus(row[0])
        with as_unavailable():
            emit("run.settled", run_id=run.id, status=status)
        return status, await unblocked.fetchone() is not None

    async def _is_settled(self, run: ClaimedRun, settlement: Settlement) -> tuple[Any, ...] | None:
        parameters = {"id": run.id, "epoch": run.epoch, "status": settlement.status}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.is_settled, parameters)
            return await cursor.fetchone()

    async def save_progress(self, run_id: UUID, epoch: int, *, completed: int, total: int) -> None:
        """Store a run's progress; raises LeaseLost when it has another owner."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                _SQL.progress, {"id": run_id, "epoch": epoch, "completed": completed, "total": total}
            )
            if await cursor.fetchone() is None:
                raise LeaseLost(run_id=str(run_id), epoch=epoch)
        emit("run.progress.saved", run_id=run_id, completed=completed, total=total)

    # people's side

    async def cancel(self, run_id: UUID) -> RunStatus:
        """Ask a run to end; return its status, `running` while its owner has still to stop it.

        Raises NotFound, or Conflict when it has ended already.
        """
        async with self._pool.transaction() as connection:
            thread = await _lock_thread_of(connection, run_id)
            cursor = await connection.execute(_SQL.request_cancel, {"id": run_id})
            row = await cursor.fetchone()
            if row is None:
                msg = f"run {run_id} has ended already; there is nothing to cancel"
                raise Conflict(msg)
            await _unblock(connection, thread)
        emit("run.cancel.requested", run_id=run_id)
        return RunStatus(row[0])

    async def answer(self, run_id: UUID, answer: Any) -> None:
        """Give a waiting run its answer and queue it; raises Conflict when it does not wait (any more)."""
        async with self._pool.transaction() as connection:
            await _lock_thread_of(connection, run_id)
            cursor = await connection.execute(_SQL.answer, {"id": run_id, "answer": orjson.dumps(answer)})
            if await cursor.fetchone() is None:
                msg = f"run {run_id} does not wait for an answer; it was answered already, or never asked"
                raise Conflict(msg)

    async def replay(self, run_id: UUID) -> RunStatus:
        """Give a failed run another set of attempts; raises Conflict when it has not failed."""
        async with self._pool.transaction() as connection:
            await _lock_thread_of(connection, run_id)
            cursor = await connection.execute(_SQL.replay, {"id": run_id})
            row = await cursor.fetchone()
            if row is None:
                msg = f"run {run_id} has not failed; only failed runs can be replayed"
                raise Conflict(msg)
        return RunStatus(row[0])

    async def get(self, run_id: UUID) -> RunView:
        """Return a run; raises NotFound."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.get, {"id": run_id})
            row = await cursor.fetchone()
        if row is None:
            kind = "run"
            raise NotFound(kind, str(run_id))
        return _view(row)

    async def find(
        self,
        *,
        thread_id: str | None = None,
        status: RunStatus | None = None,
        agent: str | None = None,
        limit: int = 50,
    ) -> list[RunView]:
        """Return runs, newest first."""
        parameters = {
            "thread_key": None if thread_id is None else UUID(bytes=thread_key(thread_id)),
            "status": status,
            "agent": agent,
            "limit": limit,
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.find, parameters)
            return [_view(row) for row in await cursor.fetchall()]

    async def of_thread(self, thread_id: str) -> RunView | None:
        """Return the run at the front of a thread, else its newest; None when it has none.

        Raises NotFound when there is no such thread.
        """
        thread = {"thread_key": UUID(bytes=thread_key(thread_id))}
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.of_thread, thread)
            row = await cursor.fetchone()
            if row is None:
                cursor = await connection.execute(_SQL.thread_exists, thread)
                if await cursor.fetchone() is None:
                    kind = "thread"
                    raise NotFound(kind, thread_id)
        return _view(row) if row is not None else None

    async def standing_still(self, run_ids: Sequence[UUID]) -> set[UUID]:
        """Return which of these runs have ended or wait for a person."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.ended_among, {"ids": list(run_ids)})
            return {row[0] for row in await cursor.fetchall()}

    async def depth(self) -> dict[RunStatus, int]:
        """Return how many runs have not ended, by status."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.depth)
            return {RunStatus(status): count for status, count in await cursor.fetchall()}

    # recovery's side

    async def without_future(self, *, grace: timedelta, max_crashes: int) -> list[tuple[UUID, bytes, int, str]]:
        """Return runs that recovery has to end: (id, thread key, epoch, why).

        Why is `cancelled` (its owner did not stop it in time), `timed_out` or `crashed` (too many dead workers).
        """
        found: list[tuple[UUID, bytes, int, str]] = []
        seconds = {"grace": grace.total_seconds()}
        async with self._pool.connection() as connection:
            for why, statement, parameters in (
                ("cancelled", _SQL.force_cancelled, seconds),
                ("timed_out", _SQL.overdue, seconds),
                ("crashed", _SQL.buried, {"max_crashes": max_crashes}),
            ):
                cursor = await connection.execute(statement, parameters)
                found += [(row[0], row[1].bytes, row[2], why) for row in await cursor.fetchall()]
        return found

    async def take_away(
        self, run_id: UUID, thread: bytes, epoch: int, *, status: RunStatus, code: str | None, message: str | None
    ) -> bool:
        """End a run whatever its owner does; False when it has moved on meanwhile."""
        key = {"thread_key": UUID(bytes=thread)}
        parameters = {"id": run_id, "epoch": epoch, "status": status, "error_code": code, "error_message": message}
        async with self._pool.transaction() as connection:
            await connection.execute(_SQL.lock_thread, key)
            cursor = await connection.execute(_SQL.take_away, parameters)
            taken = await cursor.fetchone() is not None
            await _unblock(connection, key)
        return taken

    async def unblock(self, thread: bytes) -> bool:
        """Put the next blocked run at the front of a thread that has none."""
        key = {"thread_key": UUID(bytes=thread)}
        async with self._pool.transaction() as connection:
            await connection.execute(_SQL.lock_thread, key)
            return await _unblock(connection, key)


async def _add(connection: Connection, run: NewRun) -> tuple[Cursor, Cursor]:
    """Lock the thread, then insert the run; a quarantined thread gets none."""
    thread = thread_key(run.thread_id)
    opened = await connection.execute(_SQL.open_thread, {"thread_key": UUID(bytes=thread), "thread_id": run.thread_id})
    return opened, await connection.execute(_SQL.enqueue, _new_run_parameters(run, thread))


async def _added(run: NewRun, cursors: tuple[Cursor, Cursor]) -> RunStatus:
    """Return what the new run is; raises ThreadQuarantined when it was not inserted."""
    opened, added = cursors
    row = await added.fetchone()
    if row is None:
        reason = cast("tuple[str]", await opened.fetchone())[0]
        raise ThreadQuarantined(thread_id=run.thread_id, reason=reason)
    return RunStatus(row[0])


async def _remember(connection: Connection, run_id: UUID, key: tuple[str, str, bytes]) -> UUID | None:
    """Bind an idempotency key to this run; return the run it is bound to already, if any."""
    route, name, body_hash = key
    parameters = {"route": route, "key": name, "body_hash": body_hash, "run_id": run_id}
    cursor = await connection.execute(_SQL.remember_key, parameters)
    if await cursor.fetchone() is not None:
        return None
    # A new statement, so a new snapshot: the winner's row is visible to it.
    cursor = await connection.execute(_SQL.find_key, parameters)
    known, known_hash = cast("tuple[UUID, bytes]", await cursor.fetchone())
    if known_hash != body_hash:
        msg = f"Idempotency-Key {name!r} was used with another body; use a new key for a new request"
        raise Conflict(msg)
    return known


async def _lock_thread_of(connection: Connection, run_id: UUID) -> dict[str, Any]:
    cursor = await connection.execute(_SQL.thread_of, {"id": run_id})
    row = await cursor.fetchone()
    if row is None:
        kind = "run"
        raise NotFound(kind, str(run_id))
    thread = {"thread_key": row[0]}
    await connection.execute(_SQL.lock_thread, thread)
    return thread


async def _unblock(connection: Connection, thread: Mapping[str, Any]) -> bool:
    cursor = await connection.execute(_SQL.unblock, thread)
    return await cursor.fetchone() is not None


def _new_run_parameters(run: NewRun, thread: bytes) -> dict[str, Any]:
    return {
        "id": run.id,
        "thread_key": UUID(bytes=thread),
        "agent": run.agent,
        "priority": run.priority,
        "delay": run.delay_seconds,
        "max_attempts": run.max_attempts,
        "timeout_seconds": run.timeout_seconds,
        "input": orjson.dumps(run.input),
        "config": jsonb(dict(run.config)),
        "metadata": jsonb(dict(run.metadata)),
    }


def _settlement_parameters(run: ClaimedRun, settlement: Settlement) -> dict[str, Any]:
    interrupts = settlement.interrupts
    return {
        "id": run.id,
        "epoch": run.epoch,
        "status": settlement.status,
        "errors": settlement.errors,
        "delay": settlement.delay.total_seconds(),
        "output": None if settlement.output is None else orjson.dumps(settlement.output),
        "interrupts": None if interrupts is None else jsonb([dict(interrupt) for interrupt in interrupts]),
        "waiting_at": settlement.waiting_at,
        "error_code": settlement.error_code,
        "error_message": settlement.error_message,
    }


def _claimed(row: tuple[Any, ...]) -> ClaimedRun:
    answer: bytes | None = row[12]
    return ClaimedRun(
        id=row[0], epoch=row[1], thread_id=row[2], thread_key=row[3].bytes, agent=row[4],
        input=orjson.loads(row[5]), config=row[6], metadata=row[7], errors=row[8], crashes=row[9],
        max_attempts=row[10], timeout_seconds=row[11],
        answer=None if answer is None else orjson.loads(answer), answered=answer is not None, waiting_at=row[13],
        has_state=row[14], asked=tuple(question["id"] for question in row[15] or () if question.get("id")),
    )  # fmt: skip


def _view(row: tuple[Any, ...]) -> RunView:
    return RunView(
        id=row[0], thread_id=row[1], agent=row[2], status=RunStatus(row[3]), priority=row[4], epoch=row[5],
        errors=row[6], crashes=row[7], max_attempts=row[8], created_at=row[9], available_at=row[10],
        started_at=row[11], ended_at=row[12], cancel_requested_at=row[13], metadata=row[14],
        output=None if row[15] is None else orjson.loads(row[15]), interrupts=row[16], error_code=row[17],
        error_message=row[18], completed=row[19], total=row[20], progress_at=row[21], worker_id=row[22],
        worker_pid=row[23],
    )  # fmt: skip
