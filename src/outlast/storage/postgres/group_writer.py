"""Group commit: one writer for all the rows of one kind that a process stores.

While one batch is on its way to the database the next one gathers; each batch is one statement. So the cost of a round
trip and of a log flush is shared by every run that stores something at that moment, and a lone run never waits for
company. What is stored, and by which statement, is told by a subclass.

Guarantees. A row is durable when `submit` returns. Rows are sent in the order of submission per key. A refused row
raises for its submitter alone. A batch that fails for a reason of its own data is sent again row by row, so that only
the culprit fails. A batch whose connection broke is sent again on a new connection: every row has to be written so that
repeating it changes nothing. Nothing that a row, a listener or the server does ends the writer, which serves every run
of the process.
"""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Generic, TypeVar

import psycopg

from outlast.errors import DatabaseUnavailable
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import CONNECTION_ERRORS, is_transient, unavailable
from outlast.storage.postgres.prepared import Answer, Line, Scoped
from outlast.storage.postgres.scoping import Scope

R = TypeVar("R")

# More rows than this gain nothing: the statement's time grows with its rows.
_MAX_ROWS = 256
# More rows than one run submits at a step.
_CROWD = 3
# A message to PostgreSQL ends at 1 GB, and what waits here is in memory twice.
_MAX_BYTES = 64 * 1024 * 1024
# A step must not hang on a database that is away: after this the step fails and the run is retried later.
GIVE_UP_AFTER = timedelta(seconds=20)


@dataclass(slots=True)
class _Pending(Generic[R]):
    row: R
    scope: Scope
    done: asyncio.Future[None]


class GroupWriter(ABC, Generic[R]):
    """The writer; open it once per process and event loop."""

    def __init__(
        self,
        settings: DatabaseSettings,
        *,
        application_name: str,
        give_up_after: timedelta = GIVE_UP_AFTER,
        reply_within: timedelta | None = None,
    ) -> None:
        self._give_up_after = give_up_after.total_seconds()
        self._schema = settings.schema_name
        self._line = Line(settings, application_name=application_name, reply_within=reply_within)
        self._queue: list[_Pending[R]] = []
        self._wake = asyncio.Event()
        self._writer: asyncio.Task[None] | None = None
        self._closing = False

    #: What to do when it is closed.
    closed: str

    @abstractmethod
    def key(self, row: R) -> object:
        """Return what only one row of a batch may have: rows of one key depend on each other."""

    @abstractmethod
    def size(self, row: R) -> int:
        """Return about how many bytes the row is."""

    @abstractmethod
    async def store(self, parts: Sequence[tuple[Scope, Sequence[R]]]) -> list[Mapping[int, bool]]:
        """Send rows in one transaction (`insist`), each part on behalf of its tenant.

        Returns for each part what became of its rows by number: a missing one lost its lease, False is stale.
        """

    @abstractmethod
    def refusal(self, row: R, *, stale: bool) -> Exception:
        """Return what the submitter of a refused row is told."""

    @abstractmethod
    def refused_by_database(self, error: Exception) -> Exception:
        """Return what the submitter of a row is told that the database does not take; `error` is what it said."""

    @abstractmethod
    def before(self) -> None:
        """Say that a batch is about to be sent."""

    @abstractmethod
    def after(self) -> None:
        """Say that a batch is durable."""

    @abstractmethod
    def lost(self, error: str) -> None:
        """Say that the connection broke."""

    async def open(self, *, connect: bool = True) -> None:
        """Start the writer; it connects now, or when there is something to write."""
        if connect:
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

    async def submit(self, row: R) -> None:
        """Return once the row is durable, stored on behalf of the context's tenant.

        Raises LeaseLost when the row's run has another owner, what the kind of row may be refused with, InvalidInput
        when PostgreSQL cannot store it, DatabaseUnavailable when the server did not come back in time. If the caller
        is cancelled the row may or may not have been written.
        """
        if self._closing:
            raise DatabaseUnavailable(self.closed)
        await self._queued(row)

    def submit_soon(self, row: R) -> None:
        """Write the row without anybody waiting for it: for who is being cancelled. What is refused is dropped."""
        if self._closing:
            return
        self._queued(row).add_done_callback(_heard)

    def _queued(self, row: R) -> "asyncio.Future[None]":
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append(_Pending(row, Scope.now(self._schema), done))
        self._wake.set()
        return done

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

    def _next_batch(self) -> list[_Pending[R]]:
        """Take rows in order, at most one of each key: the next one may need the first to be there."""
        batch: list[_Pending[R]] = []
        later: list[_Pending[R]] = []
        keys: set[object] = set()
        size = 0
        for pending in self._queue:
            key = self.key(pending.row)
            size += self.size(pending.row)
            if batch and (key in keys or len(batch) >= _MAX_ROWS or size > _MAX_BYTES):
                later.append(pending)
            else:
                batch.append(pending)
            # Whatever follows on this key must not overtake.
            keys.add(key)
        self._queue = later
        return batch

    async def _write(self, batch: Sequence[_Pending[R]]) -> None:
        try:
            await self._commit(batch)
        except DatabaseUnavailable as error:
            _fail(batch, error)
        # Whatever it is, it is told to those whose rows these are.
        except Exception as error:  # noqa: BLE001 - see above
            if len(batch) == 1:
                _fail(batch, self.refused_by_database(error))
            else:
                await self._one_by_one(batch)

    async def _one_by_one(self, batch: Sequence[_Pending[R]]) -> None:
        """Write each row alone, which finds the one that is at fault."""
        for pending in batch:
            if not pending.done.done():
                await self._write([pending])

    async def _commit(self, batch: Sequence[_Pending[R]]) -> None:
        by_scope: dict[Scope, list[_Pending[R]]] = {}
        for pending in batch:
            by_scope.setdefault(pending.scope, []).append(pending)
        stored = await self.store([(scope, [one.row for one in part]) for scope, part in by_scope.items()])
        for part, accepted in zip(by_scope.values(), stored, strict=True):
            self._tell(part, accepted)

    def _tell(self, part: Sequence[_Pending[R]], accepted: Mapping[int, bool]) -> None:
        for number, pending in enumerate(part):
            if pending.done.done():
                continue
            if accepted.get(number):
                pending.done.set_result(None)
            else:
                pending.done.set_exception(self.refusal(pending.row, stale=number in accepted))

    async def insist(self, parts: Sequence[Scoped]) -> list[Answer]:
        """Execute, on a new connection when the one at hand breaks; raises DatabaseUnavailable in the end."""
        give_up_at = asyncio.get_running_loop().time() + self._give_up_after
        delay = 0.05
        while True:
            try:
                return await self._send(parts)
            except (*CONNECTION_ERRORS, psycopg.InternalError, DatabaseUnavailable) as error:
                if not is_transient(error):
                    raise
                self.lost(type(error).__name__)
                await self._line.close()
                if asyncio.get_running_loop().time() + delay > give_up_at:
                    raise unavailable(error) from error
                await asyncio.sleep(delay)
                delay = min(delay * 2, 1.0)

    async def _send(self, parts: Sequence[Scoped]) -> list[Answer]:
        if self._line.broken:
            # It ended while nothing was under way; nothing is lost but the time to connect.
            self.lost("closed")
        await self._line.open()
        self.before()
        answers = await self._line.execute(parts)
        self.after()
        return answers


def _heard(done: "asyncio.Future[None]") -> None:
    if not done.cancelled():
        done.exception()


def _fail(batch: Sequence[_Pending[R]], error: Exception) -> None:
    for pending in batch:
        if not pending.done.done():
            pending.done.set_exception(error)
