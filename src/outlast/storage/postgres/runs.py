"""Runs in the database: one method per decision, each one transaction.

Rows in, domain values out. Waking workers up and waiting for runs is `queues`. How a run is taken in, how it ends and
how the clients of the Agent Server API see it are told by `run_intake`, `run_ends` and `run_views`.
"""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID

import orjson

from outlast.domain.acting import across_tenants, acting_for, principal
from outlast.domain.approval import approved
from outlast.domain.intake import Intake
from outlast.domain.options import CancelAction, RunOptions
from outlast.domain.outcome import Settlement
from outlast.domain.question import TermsOf, no_terms
from outlast.domain.run import ClaimedRun, NewRun, RunStatus, RunView
from outlast.errors import Conflict, LeaseLost, NotFound, Undecipherable
from outlast.storage.postgres import questions
from outlast.storage.postgres.attempts import LastAttempt, last_attempt
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.claiming import Claims, RunningCaps
from outlast.storage.postgres.pool import Pool, as_unavailable
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.run_ends import TEMPORARY_GRACE, THREAD_VALUES_BYTES, Erase, RunEnds, Tx, unblock_in
from outlast.storage.postgres.run_intake import Key, RunIntake
from outlast.storage.postgres.run_sealing import opened_claim, opened_view, opened_views
from outlast.storage.postgres.run_views import RunViews, view_of
from outlast.storage.postgres.sealed_columns import RUN_ANSWER
from outlast.telemetry import emit

_SQL = Queries("runs")
# Where a claimed row says whose it is.
_TENANT = 24
#: As many runs of a tenant as there are places.
UNCAPPED = RunningCaps()


async def _no_graphs(_connection: Tx, _thread: bytes, run_ids: set[str]) -> None:
    msg = f"runs {', '.join(run_ids)} cannot be rolled back here: this store has no way to erase what they wrote"
    raise Conflict(msg)


class RunStore:
    """The runs table and what hangs on it.

    `erase` takes back what runs wrote into their threads; a store without it refuses to roll back a run that has begun.
    """

    def __init__(
        self,
        pool: Pool,
        *,
        erase: Erase = _no_graphs,
        thread_values_bytes: int = THREAD_VALUES_BYTES,
        temporary_grace: timedelta = TEMPORARY_GRACE,
        caps: RunningCaps = UNCAPPED,
        terms_of: TermsOf = no_terms,
    ) -> None:
        self._pool = pool
        self._claims = Claims(pool, caps)
        #: Tenants may have only so many runs that run.
        self.capped = bool(caps)
        self.ends = RunEnds(
            pool, erase=erase, thread_values_bytes=thread_values_bytes, temporary_grace=temporary_grace,
            terms_of=terms_of,
        )  # fmt: skip
        self.intake = RunIntake(pool, self.ends, terms_of=terms_of)
        self.views = RunViews(pool)

    # the way in

    async def enqueue(self, run: NewRun, *, key: Key | None = None) -> tuple[UUID, RunStatus | None]:
        """Store a run; it is queued, or blocked behind the run at the front of its thread.

        `key` is (route, Idempotency-Key, hash of the body): a key that is known returns its run's id and no status,
        and stores nothing. Raises Conflict when the key came with another body, ThreadQuarantined when the thread's
        state cannot be restored.
        """
        admission = await self.intake.admit(run, Intake(), key=key)
        return admission.run_id, admission.status

    # the owner's side

    async def claim(self, worker_id: UUID, agents: Sequence[str], *, limit: int, max_crashes: int) -> list[ClaimedRun]:
        """Make up to `limit` due runs this worker's, each under a new epoch; tenants take turns."""
        rows = await self._claims.claim(worker_id, agents, limit=limit, max_crashes=max_crashes)
        claimed = [run for row in rows if (run := await self._opened(row)) is not None]
        if claimed:
            with as_unavailable():
                emit("run.claimed", runs=len(claimed))
        return claimed

    async def _opened(self, row: tuple[Any, ...]) -> ClaimedRun | None:
        """Return a claimed run; None when nobody can read what it was started with, and it has ended with that."""
        try:
            return _claimed(await opened_claim(self._pool.sealing, row))
        except Undecipherable as error:
            with acting_for(row[_TENANT]):
                await self.take_away(
                    row[0], row[3].bytes, row[1], status=RunStatus.FAILED, code=error.code, message=str(error)
                )
            return None

    async def look_further(self, worker_id: UUID) -> None:
        """Say that runs are due and none could be claimed: the next claim looks at other tenants, if there are more."""
        await self._claims.look_further(worker_id)

    async def claimed(self, run_id: UUID, epoch: int) -> ClaimedRun | None:
        """Return a run that is owned under this epoch; None when it is not (any more)."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.claimed, {"id": run_id, "epoch": epoch}, binary=True)
                row = await cursor.fetchone()
        return _claimed(await opened_claim(self._pool.sealing, row)) if row else None

    async def crashed(self, run: ClaimedRun) -> bool:
        """Count a crash against a run whose own process died, and queue it; False when it was settled before that."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.crashed, {"id": run.id, "epoch": run.epoch})
                return await cursor.fetchone() is not None

    async def next_due(self, agents: Sequence[str], *, max_crashes: int) -> float | None:
        """Return the seconds until a queued run is due (negative: it is), None when there is none."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.next_due, {"agents": list(agents), "max_crashes": max_crashes})
                row = await cursor.fetchone()
        return row[0] if row else None

    async def settle(self, run: ClaimedRun, settlement: Settlement) -> tuple[RunStatus, bool]:
        """Store how an attempt ended; see `RunEnds.settle`."""
        return await self.ends.settle(run, settlement)

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

    async def cancel(
        self, run_id: UUID, *, action: CancelAction = "interrupt", reason: str | None = None, access: str | None = None
    ) -> RunStatus:
        """Ask a run to end; see `RunEnds.cancel`."""
        return await self.ends.cancel(run_id, action=action, reason=reason, access=access)

    async def answer(self, run_id: UUID, answer: Any) -> RunStatus:
        """Give a waiting run its answer and queue it; return its status.

        One that waits for a yes before it begins is queued from the start, or cancelled. Raises Conflict when it does
        not wait (any more), InvalidInput when the answer is neither yes nor no where that was the question.
        """
        async with self._pool.transaction() as connection:
            thread = await self.ends.lock_thread_of(connection, run_id)
            answer = await questions.told_in(connection, self._pool.sealing, thread, answer)
            return await self.answer_in(connection, thread, run_id, answer)

    async def answer_in(self, connection: Tx, thread: bytes, run_id: UUID, answer: Any) -> RunStatus:
        """Do it as part of an open transaction that holds the thread's lock; raises as `answer`."""
        if (status := await self._decided(connection, thread, run_id, answer)) is not None:
            return status
        sealed = await self._pool.sealing.seal(RUN_ANSWER, orjson.dumps(answer), run_id)
        cursor = await connection.execute(_SQL.answer, {"id": run_id, "answer": sealed})
        if await cursor.fetchone() is None:
            msg = f"run {run_id} does not wait for an answer; it was answered already, or never asked"
            raise Conflict(msg)
        return RunStatus.QUEUED

    async def _decided(self, connection: Tx, thread: bytes, run_id: UUID, answer: Any) -> RunStatus | None:
        """Let a run begin that waits for a yes, or cancel it; None when it waits for something else."""
        cursor = await connection.execute(_SQL.asks_approval, {"id": run_id})
        if await cursor.fetchone() is None:
            return None
        who = {"id": run_id, "by": principal().user or principal().key_id}
        if approved(answer):
            await connection.execute(_SQL.approve, who)
            return RunStatus.QUEUED
        await connection.execute(_SQL.disapprove, who)
        reason = "a person said no before it began"
        await self.ends.cancel_in(connection, thread, run_id, action="interrupt", reason=reason)
        await unblock_in(connection, thread)
        return RunStatus.CANCELLED

    async def replay(self, run_id: UUID, *, delay: timedelta = timedelta(0), most: int | None = None) -> RunStatus:
        """Give a failed run another set of attempts, due after `delay`; raises Conflict when it has not failed.

        `most`: for recovery, which replays a run by itself so many times and no more; Conflict then, too.
        """
        parameters = {"id": run_id, "delay": delay.total_seconds(), "most": most}
        async with self._pool.transaction() as connection:
            await self.ends.lock_thread_of(connection, run_id)
            cursor = await connection.execute(_SQL.replay, parameters)
            row = await cursor.fetchone()
            if row is None:
                msg = f"run {run_id} has not failed; only failed runs can be replayed"
                raise Conflict(msg)
        return RunStatus(row[0])

    async def last_attempt(self, run_id: UUID) -> LastAttempt | None:
        """Return the newest attempt of a run that ended badly."""
        return await last_attempt(self._pool, run_id)

    async def get(self, run_id: UUID) -> RunView:
        """Return a run; raises NotFound."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.get, {"id": run_id})
            row = await cursor.fetchone()
        if row is None:
            raise NotFound("run", str(run_id))
        return view_of(await opened_view(self._pool.sealing, row))

    async def find(
        self,
        *,
        thread_id: str | None = None,
        status: RunStatus | None = None,
        agent: str | None = None,
        limit: int = 50,
    ) -> list[RunView]:
        """Return runs without what they were started with, newest first."""
        parameters = {
            "thread_key": None if thread_id is None else UUID(bytes=thread_key(thread_id)),
            "status": status,
            "agent": agent,
            "limit": limit,
        }
        async with self._pool.connection() as connection:
            cursor = await connection.execute(_SQL.find, parameters)
            rows = await cursor.fetchall()
        return [view_of(row) for row in await opened_views(self._pool.sealing, rows)]

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
                    raise NotFound("thread", thread_id)
        return view_of(await opened_view(self._pool.sealing, row)) if row is not None else None

    async def standing_still(self, run_ids: Sequence[UUID]) -> set[UUID]:
        """Return which of these runs have ended, wait for a person or are gone."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.moving_among, {"ids": list(run_ids)})
                return set(run_ids) - {row[0] for row in await cursor.fetchall()}

    async def depth(self) -> dict[RunStatus, int]:
        """Return how many runs have not ended, by status."""
        with across_tenants():
            async with self._pool.connection() as connection:
                cursor = await connection.execute(_SQL.depth)
                return {RunStatus(status): count for status, count in await cursor.fetchall()}

    # recovery's side

    async def without_future(self, *, grace: timedelta, max_crashes: int) -> list[tuple[UUID, bytes, int, str, str]]:
        """Return runs that recovery has to end: (id, thread key, epoch, tenant, why).

        Why is `cancelled` (its owner did not stop it in time), `timed_out` or `crashed` (too many dead workers).
        """
        found: list[tuple[UUID, bytes, int, str, str]] = []
        seconds = {"grace": grace.total_seconds()}
        with across_tenants():
            async with self._pool.connection() as connection:
                for why, statement, parameters in (
                    ("cancelled", _SQL.force_cancelled, seconds),
                    ("timed_out", _SQL.overdue, seconds),
                    ("crashed", _SQL.buried, {"max_crashes": max_crashes}),
                ):
                    cursor = await connection.execute(statement, parameters)
                    found += [(row[0], row[1].bytes, row[2], row[3], why) for row in await cursor.fetchall()]
        return found

    async def take_away(
        self, run_id: UUID, thread: bytes, epoch: int, *, status: RunStatus, code: str | None, message: str | None
    ) -> bool:
        """End a run whatever its owner does; see `RunEnds.take_away`."""
        return await self.ends.take_away(run_id, thread, epoch, status=status, code=code, message=message)

    async def unblock(self, thread: bytes) -> bool:
        """Put the next blocked run at the front of a thread that has none."""
        return await self.ends.unblock(thread)


def _claimed(row: tuple[Any, ...]) -> ClaimedRun:
    answer: bytes | None = row[12]
    return ClaimedRun(
        id=row[0], epoch=row[1], thread_id=row[2], thread_key=row[3].bytes, agent=row[4],
        input=orjson.loads(row[5]), config=row[6], metadata=row[7], errors=row[8], crashes=row[9],
        max_attempts=row[10], timeout_seconds=row[11],
        answer=None if answer is None else orjson.loads(answer), answered=answer is not None, waiting_at=row[13],
        has_state=row[14], asked=tuple(question["id"] for question in row[15] or () if question.get("id")),
        claimed_at=row[16], options=RunOptions.of_json(row[17]), assistant_id=row[18], temporary=row[19],
        thread_last_pos=row[20], watched=row[21], lineage=row[22], seconds_before=max(0.0, row[23]),
        tenant=row[_TENANT], user_id=row[25], key_id=row[26],
        queued_seconds=max(0.0, row[27]), age_seconds=max(0.0, row[28]),
    )  # fmt: skip
