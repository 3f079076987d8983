"""Statements in one round trip, as one transaction that says first on whose behalf it acts.

For every statement that stands alone, and for the decisions that every run passes: how it is taken in and how it ends.
psycopg's pipeline waits seven times for what is sent and answered at once; with its BEGIN and COMMIT that took a worker
2.5 ms of CPU for each run. Here the statements go out in libpq's own pipeline mode, where what stands before a sync is
one transaction: each statement has a snapshot of its own, an error undoes all of them
(https://www.postgresql.org/docs/current/libpq-pipeline-mode.html).
"""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, ClassVar, NamedTuple, TypeAlias
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from outlast.storage.postgres.queries import Numbered, numbered, numbered_text
from outlast.storage.postgres.scoping import SCOPE, Scope

Rows = list[tuple[Any, ...]]
# A text and the types of its parameters, which in psycopg depend on their values.
_Key = tuple[bytes, tuple[int, ...]]

_TEXT_OID = 25
# For an answer that nobody waits for any more.
_PATIENCE_SECONDS = 0.5
_FAILED = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE, ExecStatus.PIPELINE_ABORTED})


class Step(NamedTuple):
    """A statement of `sql/<concept>.sql` with its parameters, which may be more than it takes."""

    concept: str
    name: str
    parameters: Mapping[str, Any]


class Reply:
    """The rows of one statement, read like a cursor."""

    __slots__ = ("_read", "_rows", "rowcount")

    def __init__(self, rows: Rows, rowcount: int) -> None:
        self._rows = rows
        self._read = 0
        #: How many rows it has returned, or changed.
        self.rowcount = rowcount

    async def fetchone(self) -> tuple[Any, ...] | None:
        """Return the next row, None behind the last one."""
        if self._read == len(self._rows):
            return None
        self._read += 1
        return self._rows[self._read - 1]

    async def fetchall(self) -> Rows:
        """Return the rows that were not read yet."""
        rows, self._read = self._rows[self._read :], len(self._rows)
        return rows


class Alone:
    """A connection whose statements are each a transaction of their own: one round trip, under one scope."""

    def __init__(self, connection: AsyncConnection[Any], scope: Scope | None) -> None:
        self._connection = connection
        self._scope = scope

    async def execute(
        self,
        query: bytes | str | Numbered,
        parameters: Mapping[str, Any] | Sequence[Any] = (),
        *,
        binary: bool = False,
    ) -> Reply:
        """Execute a statement, committed when it returns; raises psycopg's errors."""
        statement = query if isinstance(query, Numbered) else numbered_text(query)
        if not isinstance(parameters, Mapping):
            parameters = {str(place): value for place, value in enumerate(parameters)}
        sending = _Sending(statement, parameters, Format.BINARY if binary else Format.TEXT)
        (reply,) = await _all_or_none(self._connection, self._scope, (sending,), _nothing)
        return reply


#: What a statement with named parameters can be executed on.
Executes: TypeAlias = "Alone | AsyncConnection[Any]"


async def together(
    connection: AsyncConnection[Any],
    steps: Sequence[Step],
    *,
    scope: Scope | None = None,
    before_commit: Callable[[], None],
) -> list[Rows]:
    """Execute all of them or none, on a connection in autocommit mode; return the rows of each.

    `before_commit` is called when everything is on its way but the end of the transaction; if it raises, nothing is
    stored. Raises what the first statement that failed raised. A connection whose answers were not read to their end,
    as after a cancellation, is closed.
    """
    sendings = [_Sending(numbered(step.concept, step.name), step.parameters, Format.BINARY) for step in steps]
    replies = await _all_or_none(connection, scope, sendings, before_commit)
    return [await reply.fetchall() for reply in replies]


class _Sending(NamedTuple):
    statement: Numbered
    parameters: Mapping[str, Any]
    result_format: Format


def _nothing() -> None:
    """Have nothing to do before the commit."""


async def _all_or_none(
    connection: AsyncConnection[Any],
    scope: Scope | None,
    sendings: Sequence[_Sending],
    before_commit: Callable[[], None],
) -> list[Reply]:
    try:
        return await _once(connection, scope, sendings, before_commit)
    except errors.InvalidSqlStatementName:
        # psycopg drops everything that is prepared on its connection after a rollback.
        _Pipeline.forget(connection)
        return await _once(connection, scope, sendings, before_commit)


async def _once(
    connection: AsyncConnection[Any],
    scope: Scope | None,
    sendings: Sequence[_Sending],
    before_commit: Callable[[], None],
) -> list[Reply]:
    pipeline = _Pipeline(connection)
    with pipeline.whole_or_closed():
        if scope is not None:
            pipeline.act(scope)
        for sending in sendings:
            pipeline.send(sending)
        before_commit()
        results = await pipeline.sync()
    for result in results:
        if result.status in _FAILED:
            raise errors.error_from_result(result)
    said = results if scope is None else results[1:]
    return [Reply(pipeline.rows(result), result.command_tuples or 0) for result in said]


class _Prepared(NamedTuple):
    key: _Key
    name: bytes


class _Pipeline:
    """What is on its way on one connection."""

    #: The names of what was prepared, for as long as the connection lives.
    _prepared: ClassVar[WeakKeyDictionary[AsyncConnection[Any], dict[_Key, bytes]]] = WeakKeyDictionary()

    # What was forgotten may still be there, so no name is used twice.
    _numbers: "ClassVar[count[int]]" = count()

    def __init__(self, connection: AsyncConnection[Any]) -> None:
        self._connection = connection
        self._pgconn: PGconn = connection.pgconn
        self._transformer = Transformer(connection)
        self._names = self._prepared.setdefault(connection, {})
        #: What answers are still to come, in order: to a statement (None), or to the preparation of one.
        self._expected: list[_Prepared | None] = []
        self._received: list[PGresult | None] = []

    @classmethod
    def forget(cls, connection: AsyncConnection[Any]) -> None:
        """Prepare everything anew on this connection."""
        cls._prepared.pop(connection, None)

    @contextmanager
    def whole_or_closed(self) -> Generator[None]:
        """Leave a connection that can be used again, or none: without its end, no transaction is committed."""
        try:
            self._pgconn.enter_pipeline_mode()
            yield
        finally:
            if len(self._received) > 2 * len(self._expected) and self._received[-1] is not None:
                self._pgconn.exit_pipeline_mode()
            else:
                self._pgconn.finish()

    def act(self, scope: Scope) -> None:
        """Say first on whose behalf; it is said in every transaction, so nothing about it is worked out anew."""
        self._put(SCOPE.text, scope.texts(), (_TEXT_OID, _TEXT_OID), None, Format.BINARY)

    def send(self, sending: _Sending) -> None:
        """Put a statement on its way; what is not known to the server yet is prepared first."""
        statement = sending.statement
        arguments = statement.arguments(sending.parameters)
        values = self._transformer.dump_sequence(arguments, [PyFormat.AUTO] * len(arguments))
        types, formats = tuple(self._transformer.types or ()), self._transformer.formats
        self._put(statement.text, values, types, formats, sending.result_format)

    def _put(
        self,
        text: bytes,
        values: Sequence[Any],
        types: tuple[int, ...],
        formats: Sequence[Format] | None,
        result_format: Format,
    ) -> None:
        if self._connection.prepare_threshold is None:
            # A transaction pooler is between: what is prepared here is not there the next time.
            self._pgconn.send_query_params(text, values, types, formats, result_format)
        else:
            self._pgconn.send_query_prepared(self._name_of((text, types)), values, formats, result_format)
        self._expected.append(None)

    def _name_of(self, key: _Key) -> bytes:
        name = self._names.get(key)
        if name is None:
            name = b"together_%d" % next(self._numbers)
            self._pgconn.send_prepare(name, *key)
            self._expected.append(_Prepared(key, name))
        return name

    async def sync(self) -> list[PGresult]:
        """End the transaction and return the result of each statement.

        A cancellation waits for the answer, which is nearly there: a connection that is given up has to be made anew.
        """
        self._pgconn.pipeline_sync()
        try:
            await self._receive()
        except asyncio.CancelledError:
            with suppress(TimeoutError):
                async with asyncio.timeout(_PATIENCE_SECONDS):
                    await self._receive()
            raise
        return self._results()

    async def _receive(self) -> None:
        """Read what is not read yet: of each statement its result and the end of it, then the sync."""
        while self._pgconn.flush():
            await self._ready(writing=True)
        while len(self._received) <= 2 * len(self._expected):
            self._received.append(await self._next())

    def _results(self) -> list[PGresult]:
        results: list[PGresult] = []
        for prepared, result in zip(self._expected, self._received[::2], strict=False):
            if result is None:
                msg = "the server ended the connection"
                raise psycopg.OperationalError(msg)
            if prepared is None or result.status in _FAILED:
                results.append(result)
            else:
                self._names[prepared.key] = prepared.name
        return results

    async def _next(self) -> PGresult | None:
        while self._pgconn.is_busy():
            await self._ready(writing=False)
            self._pgconn.consume_input()
        return self._pgconn.get_result()

    async def _ready(self, *, writing: bool) -> None:
        """Wait until the socket has something for us, or also room for what we send."""
        loop = asyncio.get_running_loop()
        ready: asyncio.Future[None] = loop.create_future()

        def wake() -> None:
            if not ready.done():
                ready.set_result(None)

        socket = self._pgconn.socket
        loop.add_reader(socket, wake)
        if writing:
            loop.add_writer(socket, wake)
        try:
            await ready
        finally:
            loop.remove_reader(socket)
            if writing:
                loop.remove_writer(socket)

    def rows(self, result: PGresult) -> Rows:
        """Return the rows of a result as Python values; a statement that returns none has none."""
        if result.status != ExecStatus.TUPLES_OK:
            return []
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, tuple)
