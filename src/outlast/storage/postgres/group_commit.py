"""Group commit: one writer for all the checkpoints of a process.

While one batch is on its way to the database the next one gathers; each batch is one statement
(`commit_batch`). So the cost of a round trip and of a log flush is shared by every run that is at a step
boundary at that moment, and a lone run never waits for company.

Guarantees. A row is durable when `submit` returns. Rows are sent in the order of submission per (thread,
namespace). A refused row (its epoch is over, its parent is not the head) raises for its submitter alone. A batch
that fails for a reason of its own data is sent again row by row, so that only the culprit fails. A batch
whose connection broke is sent again on a new connection: every row is written so that repeating it changes nothing.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg import AsyncConnection, AsyncRawCursor

from outlast.errors import DatabaseUnavailable, LeaseLost
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoint_rows import CheckpointRow, Row, batch_parameters
from outlast.storage.postgres.pool import CONNECTION_ERRORS, connect, unavailable
from outlast.storage.postgres.queries import numbered
from outlast.telemetry import emit

_COMMIT_BATCH = numbered("checkpoints", "commit_batch")
# More rows than this gain nothing: the statement's time grows with its rows.
_MAX_ROWS = 256
# A step must not hang on a database that is away: after this the step fails and the run is retried later.
_GIVE_UP_AFTER_SECONDS = 20.0


class Refused(Exception):  # noqa: N818 - an answer of the database, told apart by the caller
    """The head of the namespace is not the row's parent, or the thread was deleted: another was faster."""


@dataclass(slots=True)
class _Pending:
    row: Row
    done: asyncio.Future[None]


class GroupCommit:
    """The writer; open it once per process and event loop."""

    def __init__(self, settings: DatabaseSettings, *, application_name: str = "outlast-checkpoints") -> None:
        self._settings = settings
        self._application_name = application_name
        self._queue: list[_Pending] = []
        self._wake = asyncio.Event()
        self._connection: AsyncConnection[Any] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._closing = False

    async def open(self) -> None:
        """Connect and start the writer."""
        await self._connected()
        self._writer = asyncio.create_task(self._write_batches(), name="outlast-group-commit")

    async def close(self) -> None:
        """Write what was submitted, then stop and disconnect."""
        self._closing = True
        self._wake.set()
        if self._writer is not None:
            await self._writer
            self._writer = None
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    async def submit(self, row: Row) -> None:
        """Return once the row is durable.

        Raises LeaseLost when the row's run has another owner, Refused when its parent is not the head,
        DatabaseUnavailable when the server did not come back in time. If the caller is cancelled the row may
        or may not have been written.
        """
        if self._closing:
            msg = "the checkpointer is closed; use it inside its `async with` block"
            raise DatabaseUnavailable(msg)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(row, done))
        self._wake.set()
        await done

    async def _write_batches(self) -> None:
        while True:
            if not self._queue:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._next_batch()
            try:
                await self._commit(batch)
            except CONNECTION_ERRORS as error:
                _fail(batch, unavailable(error))
            except psycopg.Error as error:
                await self._one_by_one(batch, error)

    def _next_batch(self) -> list[_Pending]:
        """Take rows in order, at most one checkpoint per namespace: the next one needs the first as head."""
        batch: list[_Pending] = []
        later: list[_Pending] = []
        keys: set[object] = set()
        for pending in self._queue:
            key = _key(pending.row)
            if key in keys or len(batch) >= _MAX_ROWS:
                later.append(pending)
                # Whatever follows on this namespace must not overtake.
                keys.add(key)
            else:
                keys.add(key)
                batch.append(pending)
        self._queue = later
        return batch

    async def _commit(self, batch: Sequence[_Pending]) -> None:
        rows = [pending.row for pending in batch]
        emit("checkpoint.before_commit")
        accepted = await self._execute(rows)
        emit("checkpoint.after_commit")
        for number, pending in enumerate(batch):
            if pending.done.done():
                continue
            if accepted.get(number):
                pending.done.set_result(None)
            else:
                pending.done.set_exception(_refusal(pending.row, stale=number in accepted))

    async def _execute(self, rows: Sequence[Row]) -> dict[int, bool]:
        arguments = _COMMIT_BATCH.arguments(batch_parameters(rows))
        give_up_at = asyncio.get_running_loop().time() + _GIVE_UP_AFTER_SECONDS
        delay = 0.05
        while True:
            try:
                cursor = AsyncRawCursor(await self._connected())
                await cursor.execute(
                    _COMMIT_BATCH.text, arguments, prepare=not self._settings.pooler, binary=True
                )
                return dict(await cursor.fetchall())
            except (*CONNECTION_ERRORS, DatabaseUnavailable) as error:
                emit("checkpoint.connection_lost", error=type(error).__name__, rows=len(rows))
                await self._disconnect()
                if asyncio.get_running_loop().time() + delay > give_up_at:
                    raise
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)

    async def _one_by_one(self, batch: Sequence[_Pending], error: psycopg.Error) -> None:
        """A row of the batch is at fault; find it by writing each alone."""
        if len(batch) == 1:
            _fail(batch, error)
            return
        for pending in batch:
            try:
                await self._commit([pending])
            except CONNECTION_ERRORS as lost:
                _fail([pending], unavailable(lost))
            except psycopg.Error as own:
                _fail([pending], own)

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is None or self._connection.closed:
            self._connection = await connect(self._settings, application_name=self._application_name)
            # The planner believes that knowing the arrays' lengths is worth a new plan each time: 2 ms for nothing.
            await self._connection.execute("SET plan_cache_mode = force_generic_plan")
        return self._connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


def _key(row: Row) -> object:
    if isinstance(row, CheckpointRow):
        return (row.thread_key, row.ns)
    return (row.thread_key, row.ns, row.checkpoint_id, row.task_id, row.idx)


def _refusal(row: Row, *, stale: bool) -> Exception:
    if row.fence is not None and not stale:
        return LeaseLost(run_id=str(row.fence.run_id), epoch=row.fence.epoch)
    return Refused()


def _fail(batch: Sequence[_Pending], error: Exception) -> None:
    for pending in batch:
        if not pending.done.done():
            pending.done.set_exception(error)
