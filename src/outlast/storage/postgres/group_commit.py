"""Group commit: one writer for all the checkpoints of a process.

While one batch is on its way to the database the next one gathers; each batch is one statement
(`commit_batch`). So the cost of a round trip and of a log flush is shared by every run that is at a step
boundary at that moment, and a lone run never waits for company.

Guarantees. A row is durable when `submit` returns. Rows are sent in the order of submission per (thread,
namespace). A refused row (its epoch is over, its parent is not the head) raises for its submitter alone. A batch
that fails for a reason of its own data is sent again row by row, so that only the culprit fails. A batch
whose connection broke is sent again on a new connection: every row is written so that repeating it changes nothing.
Nothing that a row, a listener or the server does ends the writer, which serves every run of the process.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import psycopg

from outlast.errors import DatabaseUnavailable, InvalidInput, LeaseLost
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoint_rows import Batch, CheckpointRow, Row
from outlast.storage.postgres.lone_step import OIDS, LoneStep
from outlast.storage.postgres.pool import CONNECTION_ERRORS, is_transient, unavailable
from outlast.storage.postgres.prepared import Answer, Line, Statement
from outlast.storage.postgres.queries import numbered
from outlast.telemetry import emit

# More rows than this gain nothing: the statement's time grows with its rows.
_MAX_ROWS = 256
# More rows than one run submits at a step.
_CROWD = 3
# A message to PostgreSQL ends at 1 GB, and what waits here is in memory twice.
_MAX_BYTES = 64 * 1024 * 1024
# A step must not hang on a database that is away: after this the step fails and the run is retried later.
_GIVE_UP_AFTER = timedelta(seconds=20)


class Refused(Exception):
    """The head of the namespace is not the row's parent, or the thread was deleted: another was faster."""


@dataclass(slots=True)
class _Pending:
    row: Row
    done: asyncio.Future[None]


class GroupCommit:
    """The writer; open it once per process and event loop."""

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application_name: str = "outlast-checkpoints",
        give_up_after: timedelta = _GIVE_UP_AFTER,
        reply_within: timedelta | None = None,
    ) -> None:
        self._give_up_after = give_up_after.total_seconds()
        self._line = Line(settings, application_name=application_name, reply_within=reply_within)
        self._queue: list[_Pending] = []
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Connect and start the writer."""
        await self._line.open()
        self._writer = asyncio.create_task(self._write_batches(), name="outlast-group-commit")

    async def close(self) -> None:
        """Write what was submitted, then stop and disconnect."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
            self._writer = None
        await self._line.close()

    async def submit(self, row: Row) -> None:
        """Return once the row is durable.

        Raises LeaseLost when the row's run has another owner, Refused when its parent is not the head, InvalidInput
        when PostgreSQL cannot store it, DatabaseUnavailable when the server did not come back in time. If the caller
        is cancelled the row may or may not have been written.
        """
        if self._closing:
            msg = "the checkpointer is closed; use it inside its `async with` block"
            raise DatabaseUnavailable(msg)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(row, done))
        self._wake.set()
        await done

    async def _write_batches(self) -> None:
        crowded = False
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            if crowded:
                # Whoever is ready to submit does so first; a lone run does not wait for company.
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            batch = self._next_batch()
            crowded = len(batch) > _CROWD
            await self._write(batch)

    def _next_batch(self) -> list[_Pending]:
        """Take rows in order, at most one checkpoint per namespace: the next one needs the first as head."""
        batch: list[_Pending] = []
        later: list[_Pending] = []
        keys: set[object] = set()
        size = 0
        for pending in self._queue:
            key = _key(pending.row)
            size += _size(pending.row)
            if batch and (key in keys or len(batch) >= _MAX_ROWS or size > _MAX_BYTES):
                later.append(pending)
            else:
                batch.append(pending)
            # Whatever follows on this namespace must not overtake.
            keys.add(key)
        self._queue = later
        return batch

    async def _write(self, batch: Sequence[_Pending]) -> None:
        try:
            await self._commit(batch)
        except DatabaseUnavailable as error:
            _fail(batch, error)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is told to those whose rows these are
            if len(batch) == 1:
                _fail(batch, _refused_by_database(error))
            else:
                await self._one_by_one(batch)

    async def _one_by_one(self, batch: Sequence[_Pending]) -> None:
        """Write each row alone, which finds the one that is at fault."""
        for pending in batch:
            if not pending.done.done():
                await self._write([pending])

    async def _commit(self, batch: Sequence[_Pending]) -> None:
        accepted = await self._execute([pending.row for pending in batch])
        for number, pending in enumerate(batch):
            if pending.done.done():
                continue
            if accepted.get(number):
                pending.done.set_result(None)
            else:
                pending.done.set_exception(_refusal(pending.row, stale=number in accepted))

    async def _execute(self, rows: Sequence[Row]) -> dict[int, bool]:
        step = LoneStep.of(rows)
        if step is not None and await self._all_is_well(step):
            return dict.fromkeys(range(len(rows)), True)
        batch = Batch.of(rows)
        statement = numbered("checkpoints", "commit_batch", *batch.flags)
        arrays = statement.arguments(batch.parameters)
        oids = [array.oid for array in arrays]
        answer = await self._insist(Statement(statement.text, oids, [array.to_binary() for array in arrays]))
        # In binary: the row's number, and one byte for true or false.
        return {int.from_bytes(number or b""): ok == b"\x01" for number, ok in answer}

    async def _all_is_well(self, step: LoneStep) -> bool:
        """Commit a lone step; False when nothing was stored, and the other statement has to say why."""
        statement = numbered("checkpoints", "commit_step", *step.flags)
        oids = [OIDS[name] for name in statement.names]
        try:
            return bool(await self._insist(Statement(statement.text, oids, statement.arguments(step.parameters))))
        except psycopg.errors.UniqueViolation:
            return False

    async def _insist(self, statement: Statement) -> Answer:
        """Execute, on a new connection when the one at hand breaks; raises DatabaseUnavailable in the end."""
        give_up_at = asyncio.get_running_loop().time() + self._give_up_after
        delay = 0.05
        while True:
            try:
                return await self._send(statement)
            except (*CONNECTION_ERRORS, psycopg.InternalError, DatabaseUnavailable) as error:
                if not is_transient(error):
                    raise
                emit("checkpoint.connection_lost", error=type(error).__name__)
                await self._line.close()
                if asyncio.get_running_loop().time() + delay > give_up_at:
                    raise unavailable(error) from error
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)

    async def _send(self, statement: Statement) -> Answer:
        if self._line.broken:
            # It ended while nothing was under way; nothing is lost but the time to connect.
            emit("checkpoint.connection_lost", error="closed")
        await self._line.open()
        emit("checkpoint.before_commit")
        answer = await self._line.execute(statement)
        emit("checkpoint.after_commit")
        return answer


def _size(row: Row) -> int:
    segments = sum(len(segment.items) for segment in row.segments) if isinstance(row, CheckpointRow) else 0
    return len(row.body) + segments + sum(map(len, row.blobs.values()))


def _key(row: Row) -> object:
    if isinstance(row, CheckpointRow):
        return (row.thread_key, row.ns)
    return (row.thread_key, row.ns, row.checkpoint_id, row.task_id, row.idx)


def _refusal(row: Row, *, stale: bool) -> Exception:
    if row.fence is not None and not stale:
        return LeaseLost(run_id=str(row.fence.run_id), epoch=row.fence.epoch)
    return Refused()


def _refused_by_database(error: Exception) -> Exception:
    """Say as one of our errors that a row's own content cannot be stored; other errors stay what they are."""
    if isinstance(error, psycopg.errors.NotNullViolation):
        # The statement's way to refuse other items in a place of a list that is taken.
        return Refused()
    if isinstance(error, UnicodeEncodeError | psycopg.DataError | psycopg.errors.ProgramLimitExceeded):
        what = error.diag.message_primary if isinstance(error, psycopg.Error) else error.reason
        return InvalidInput(f"PostgreSQL cannot store this checkpoint: {what}. Shorten or clean what names it")
    return error


def _fail(batch: Sequence[_Pending], error: Exception) -> None:
    for pending in batch:
        if not pending.done.done():
            pending.done.set_exception(error)
