"""Several statements in one round trip, as one transaction.

For the decisions that every run passes: how it is taken in and how it ends. psycopg's pipeline waits seven times for
what is sent and answered at once; with its BEGIN and COMMIT that took a worker 2.5 ms of CPU for each run. Here the
statements go out in libpq's own pipeline mode, where what stands before a sync is one transaction: each statement has a
snapshot of its own, an error undoes all of them (https://www.postgresql.org/docs/current/libpq-pipeline-mode.html).
"""

import asyncio
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from itertools import count
from typing import Any, ClassVar, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, errors
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from outlast.storage.postgres.queries import numbered

Rows = list[tuple[Any, ...]]
# A text and the types of its parameters, which in psycopg depend on their values.
_Key = tuple[bytes, tuple[int, ...]]

_FAILED = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE, ExecStatus.PIPELINE_ABORTED})


class Step(NamedTuple):
    """A statement of `sql/<concept>.sql` with its parameters, which may be more than it takes."""

    concept: str
    name: str
    parameters: Mapping[str, Any]


async def together(
    connection: AsyncConnection[Any], steps: Sequence[Step], *, before_commit: Callable[[], None]
) -> list[Rows]:
    """Execute all of them or none, on a connection in autocommit mode; return the rows of each.

    `before_commit` is called when everything is on its way but the end of the transaction; if it raises, nothing is
    stored. Raises what the first statement that failed raised. A connection whose answers were not read to their end,
    as after a cancellation, is closed.
    """
    try:
        return await _once(connection, steps, before_commit)
    except errors.InvalidSqlStatementName:
        # psycopg drops everything that is prepared on its connection after a rollback.
        _Pipeline.forget(connection)
        return await _once(connection, steps, before_commit)


async def _once(
    connection: AsyncConnection[Any], steps: Sequence[Step], before_commit: Callable[[], None]
) -> list[Rows]:
    pipeline = _Pipeline(connection)
    with pipeline.whole_or_closed():
        for step in steps:
            pipeline.send(step)
        before_commit()
        results = await pipeline.sync()
    for result in results:
        if result.status in _FAILED:
            raise errors.error_from_result(result)
    return [pipeline.rows(result) for result in results]


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

    @classmethod
    def forget(cls, connection: AsyncConnection[Any]) -> None:
        """Prepare everything anew on this connection."""
        cls._prepared.pop(connection, None)

    @contextmanager
    def whole_or_closed(self) -> Generator[None]:
        whole = False
        try:
            self._pgconn.enter_pipeline_mode()
            yield
            self._pgconn.exit_pipeline_mode()
            whole = True
        finally:
            if not whole:
                # Without its end, nothing of the transaction is committed.
                self._pgconn.finish()

    def send(self, step: Step) -> None:
        """Put a statement on its way; what is not known to the server yet is prepared first."""
        statement = numbered(step.concept, step.name)
        arguments = statement.arguments(step.parameters)
        values = self._transformer.dump_sequence(arguments, [PyFormat.AUTO] * len(arguments))
        types, formats = tuple(self._transformer.types or ()), self._transformer.formats
        if self._connection.prepare_threshold is None:
            # A transaction pooler is between: what is prepared here is not there the next time.
            self._pgconn.send_query_params(statement.text, values, types, formats, Format.BINARY)
        else:
            name = self._name_of((statement.text, types))
            self._pgconn.send_query_prepared(name, values, formats, Format.BINARY)
        self._expected.append(None)

    def _name_of(self, key: _Key) -> bytes:
        name = self._names.get(key)
        if name is None:
            name = b"together_%d" % next(self._numbers)
            self._pgconn.send_prepare(name, *key)
            self._expected.append(_Prepared(key, name))
        return name

    async def sync(self) -> list[PGresult]:
        """End the transaction and return the result of each statement."""
        self._pgconn.pipeline_sync()
        while self._pgconn.flush():
            await self._ready(writing=True)
        results: list[PGresult] = []
        for prepared in self._expected:
            result = await self._result()
            if prepared is None or result.status in _FAILED:
                results.append(result)
            else:
                self._names[prepared.key] = prepared.name
            # What ends the answer to one statement.
            await self._next()
        await self._result()
        return results

    async def _result(self) -> PGresult:
        result = await self._next()
        if result is None:
            msg = "the server ended the connection"
            raise psycopg.OperationalError(msg)
        return result

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
