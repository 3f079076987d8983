"""The statements of every step, sent through libpq itself.

For the checkpointer only. psycopg's cursor adapts 45 parameters, looks its statement up and waits in steps meant for
any statement: 220 us of a commit of one row, all of it in the event loop's thread. Here the parameters are bytes
already, the statement is prepared once, and waiting is one reader on the socket. `psycopg.pq` is psycopg's documented
interface to libpq (https://www.psycopg.org/psycopg3/docs/api/pq.html).
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from itertools import count
from typing import Any, Final, NamedTuple

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGresult

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import CONNECTION_ERRORS, as_unavailable, connect
from outlast.storage.postgres.scoping import SCOPE, Scope

Answer = list[list[bytes | None]]
_FINE: Final = frozenset({ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK})
#: Of two texts.
_SCOPE_OIDS: Final = (25, 25)


class Statement(NamedTuple):
    """A text with `$1` parameters, their types, and their values in binary. A text always has the same types."""

    text: bytes
    oids: Sequence[int]
    values: Sequence[bytes | None]


class Scoped(NamedTuple):
    """A statement, and on whose behalf it is executed."""

    scope: Scope
    statement: Statement


# On top of the server's own limit for a statement, which answers first if the server is there.
_REPLY_MARGIN = timedelta(seconds=5)
# The planner believes that knowing the arrays' lengths is worth a new plan each time: 2 ms for nothing. A plan that is
# made once is made while the tables are small, and must not read all of them once they are not.
_PLAN_ONCE = """
SELECT set_config('plan_cache_mode', 'force_generic_plan', false),
    set_config('enable_seqscan', 'off', false), set_config('enable_bitmapscan', 'off', false)
"""


class Line:
    """One connection for one kind of work: opened when needed, and cut when no answer comes."""

    def __init__(
        self, settings: DatabaseSettings, *, application_name: str, reply_within: timedelta | None = None
    ) -> None:
        self._settings = settings
        self._application_name = application_name
        statement_limit = timedelta(milliseconds=settings.statement_timeout_ms or 15_000)
        self._reply_within = (reply_within or statement_limit + _REPLY_MARGIN).total_seconds()
        self._prepared: PreparedConnection | None = None
        self._answer_by: float | None = None
        self._watch: asyncio.TimerHandle | None = None

    @property
    def broken(self) -> bool:
        """Whether it was connected and is not any more."""
        return self._prepared is not None and self._prepared.connection.closed

    async def open(self) -> "PreparedConnection":
        """Connect, if it is not; raises DatabaseUnavailable."""
        if self._prepared is None or self._prepared.connection.closed:
            self._loop = asyncio.get_running_loop()
            connection = await connect(self._settings, application_name=self._application_name)
            timer = self._loop.call_later(self._reply_within, _cut, connection)
            try:
                await connection.execute(_PLAN_ONCE)
            # A cancellation too: nobody else knows of the connection.
            except BaseException:
                await connection.close()
                raise
            finally:
                timer.cancel()
            self._prepared = PreparedConnection(connection, prepare=not self._settings.pooler)
        return self._prepared

    async def execute(self, parts: Sequence[Scoped]) -> list[Answer]:
        """Execute in one transaction; return the rows of each. One at a time.

        Raises psycopg's errors, after which nothing of it is stored, and a broken line has to be closed.
        """
        prepared = await self.open()
        self._answer_by = self._loop.time() + self._reply_within
        if self._watch is None:
            self._watch = self._loop.call_at(self._answer_by, self._look)
        try:
            return await prepared.execute(parts)
        finally:
            self._answer_by = None

    def _look(self) -> None:
        """Cut the connection when an answer is overdue; one timer serves many executions, each moves the deadline."""
        self._watch = None
        if self._answer_by is None or self._prepared is None:
            return
        if self._loop.time() >= self._answer_by:
            _cut(self._prepared.connection)
        else:
            self._watch = self._loop.call_at(self._answer_by, self._look)

    async def close(self) -> None:
        """Disconnect; the next execution connects anew."""
        if self._watch is not None:
            self._watch.cancel()
            self._watch = None
        prepared, self._prepared = self._prepared, None
        if prepared is not None:
            await prepared.close()


class ReadLine:
    """A line that several callers share, for short reads; what breaks under a read is asked again once."""

    def __init__(self, line: Line, *, schema: str) -> None:
        self._line = line
        self._schema = schema
        self._turn = asyncio.Lock()

    async def open(self) -> None:
        """Connect; raises DatabaseUnavailable."""
        await self._line.open()

    async def fetch(self, statement: Statement) -> Answer:
        """Return the rows that there are for the context's tenant; raises DatabaseUnavailable."""
        part = Scoped(Scope.now(self._schema), statement)
        async with self._turn:
            with suppress(*CONNECTION_ERRORS):
                return await self._execute(part)
            with as_unavailable():
                return await self._execute(part)

    async def _execute(self, part: Scoped) -> Answer:
        whole = False
        try:
            (answer,) = await self._line.execute((part,))
            whole = True
        finally:
            if not whole:
                # Also when the caller was cancelled: the answer is still to come, and nobody's.
                await self._line.close()
        return answer

    async def close(self) -> None:
        """Disconnect."""
        await self._line.close()


def _cut(connection: AsyncConnection[Any]) -> None:
    # Not a cancellation: psycopg would first try to cancel the query over a second connection into the same hole.
    with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
        end.shutdown(socket.SHUT_RDWR)


class PreparedConnection:
    """A connection on which a few statements are prepared; one execution at a time, everything in binary format.

    It is in libpq's pipeline mode from its beginning to its end: what stands before a sync is one transaction, and its
    scope costs no round trip.
    """

    def __init__(self, connection: AsyncConnection[Any], *, prepare: bool) -> None:
        self.connection = connection
        self._prepare = prepare
        self._names: dict[bytes, bytes] = {}
        self._numbers = count()
        #: What results are still to come, in order: rows that somebody waits for (True) or nobody, or the preparation
        #: of a text.
        self._expected: list[bool | bytes] = []
        self._socket = connection.pgconn.socket
        self._reading = False
        self._waiter: asyncio.Future[None] | None = None
        connection.pgconn.enter_pipeline_mode()

    async def execute(self, parts: Sequence[Scoped]) -> list[Answer]:
        """Execute all of them or none; return the rows of each. Raises psycopg's errors."""
        self._expected = []
        scope: Scope | None = None
        for part in parts:
            if part.scope != scope:
                scope = part.scope
                self._send(SCOPE.text, _SCOPE_OIDS, scope.texts(), asked=False)
            self._send(*part.statement, asked=True)
        self.connection.pgconn.pipeline_sync()
        results = await self._results()
        return [_rows(result) for result, expected in zip(results, self._expected, strict=True) if expected is True]

    def _send(self, text: bytes, oids: Sequence[int], values: Sequence[bytes | None], *, asked: bool) -> None:
        pgconn = self.connection.pgconn
        formats = [Format.BINARY] * len(values)
        if not self._prepare:
            pgconn.send_query_params(text, values, oids, formats, Format.BINARY)
        else:
            name = self._names.get(text)
            if name is None:
                name = self._names[text] = b"outlast_%d" % next(self._numbers)
                pgconn.send_prepare(name, text, oids)
                self._expected.append(text)
            pgconn.send_query_prepared(name, values, formats, Format.BINARY)
        self._expected.append(asked)

    async def _results(self) -> list[PGresult]:
        """Send what is buffered, then read the answers to their end; raises what the first failed statement raised."""
        pgconn = self.connection.pgconn
        while pgconn.flush():
            await self._ready(writing=True)
        results: list[PGresult] = []
        for expected in self._expected:
            result = await self._result()
            results.append(result)
            if isinstance(expected, bytes) and result.status not in _FINE:
                # It outlives its transaction, unless it was refused itself.
                del self._names[expected]
            # What ends the answer to one statement.
            await self._next()
        # The sync itself.
        await self._result()
        for result in results:
            if result.status not in _FINE:
                raise errors.error_from_result(result)
        return results

    async def _result(self) -> PGresult:
        result = await self._next()
        if result is None:
            msg = "the server ended the connection"
            raise psycopg.OperationalError(msg)
        return result

    async def _next(self) -> PGresult | None:
        pgconn = self.connection.pgconn
        while pgconn.is_busy():
            await self._ready(writing=False)
            if not self._reading:
                # The error that ended the reading, once more, for the one who waits.
                pgconn.consume_input()
        return pgconn.get_result()

    async def _ready(self, *, writing: bool) -> None:
        """Wait until the socket had something for us, or also room for what we send."""
        loop = asyncio.get_running_loop()
        if not self._reading:
            # For good: to start and stop watching a socket costs more than to read it.
            loop.add_reader(self._socket, self._read)
            self._reading = True
        self._waiter = loop.create_future()
        if writing:
            loop.add_writer(self._socket, self._wake)
        try:
            await self._waiter
        finally:
            if writing:
                loop.remove_writer(self._socket)

    def _read(self) -> None:
        """Take what came, also when nobody waits: a notice, the end of the connection."""
        try:
            self.connection.pgconn.consume_input()
        except psycopg.Error:
            # Whoever executes next, or waits now, meets the same error; until then the loop would turn for nothing.
            self._stop_reading()
        self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _stop_reading(self) -> None:
        if self._reading:
            self._reading = False
            asyncio.get_running_loop().remove_reader(self._socket)

    async def close(self) -> None:
        """End the connection."""
        self._stop_reading()
        await self.connection.close()


def _rows(result: PGresult) -> Answer:
    columns = range(result.nfields)
    return [[result.get_value(row, column) for column in columns] for row in range(result.ntuples)]
