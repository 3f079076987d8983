"""libpq's pipeline mode: statements go out one behind the other, before any of them is answered."""

import asyncio
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from typing import Any, ClassVar, Final, NamedTuple
from weakref import WeakKeyDictionary

import psycopg
from psycopg import AsyncConnection, abc
from psycopg.adapt import PyFormat, Transformer
from psycopg.pq import ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from outlast.storage.postgres.queries import Numbered
from outlast.storage.postgres.scoping import SCOPE, Scope

Rows = list[tuple[Any, ...]]
# A text and the types of its parameters, which in psycopg depend on their values.
_Key = tuple[bytes, tuple[int, ...]]

FAILED: Final = frozenset({ExecStatus.FATAL_ERROR, ExecStatus.BAD_RESPONSE, ExecStatus.PIPELINE_ABORTED})
_TEXT_OID: Final = 25
# For an answer that nobody waits for any more.
_PATIENCE_SECONDS: Final = 0.5


class Sending(NamedTuple):
    """A statement with its parameters, which may be more than it takes."""

    statement: Numbered
    parameters: Mapping[str, Any]
    result_format: Format


class Encoded(NamedTuple):
    """A statement whose parameters are as libpq wants them; what is sent again and again is encoded once."""

    text: bytes
    values: Sequence[Any]
    types: tuple[int, ...]
    formats: Sequence[Format] | None
    result_format: Format = Format.BINARY

    @classmethod
    def of_text(cls, text: bytes, value: str) -> "Encoded":
        """Return a statement with one text."""
        return cls(text, (value.encode(),), (_TEXT_OID,), None)


def encode(sending: Sending, transformer: abc.Transformer) -> Encoded:
    """Encode the parameters of a statement."""
    arguments = sending.statement.arguments(sending.parameters)
    values = transformer.dump_sequence(arguments, [PyFormat.AUTO] * len(arguments))
    types, formats = tuple(transformer.types or ()), transformer.formats
    return Encoded(sending.statement.text, values, types, formats, sending.result_format)


class _Prepared(NamedTuple):
    key: _Key
    name: bytes


class _Commit:
    """The end of a transaction between two."""


_COMMIT: Final = _Commit()


class Pipeline:
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
        #: What answers are still to come, in order: to a statement (None), the preparation of one, or a commit.
        self._expected: list[_Prepared | _Commit | None] = []
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
            if len(self._received) == self._awaited() and self._received[-1] is not None:
                self._pgconn.exit_pipeline_mode()
            else:
                self._pgconn.finish()

    def act(self, scope: Scope) -> None:
        """Say first on whose behalf; it is said in every transaction, so nothing about it is worked out anew."""
        self._put(SCOPE.text, scope.texts(), (_TEXT_OID, _TEXT_OID), None, Format.BINARY)

    def commit(self) -> None:
        """End the transaction; what follows is another one, which does not wait for the answers to this one."""
        self._pgconn.pipeline_sync()
        self._expected.append(_COMMIT)

    def send(self, sending: "Sending | Encoded") -> None:
        """Put a statement on its way; what is not known to the server yet is prepared first."""
        encoded = sending if isinstance(sending, Encoded) else encode(sending, self._transformer)
        self._put(encoded.text, encoded.values, encoded.types, encoded.formats, encoded.result_format)

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
        """Read what is not read yet: of each statement its result and the end of it, of each commit one answer."""
        while self._pgconn.flush():
            await self._ready(writing=True)
        awaited = self._awaited()
        while len(self._received) < awaited:
            self._received.append(await self._next())

    def _awaited(self) -> int:
        return 1 + sum(1 if expected is _COMMIT else 2 for expected in self._expected)

    def _results(self) -> list[PGresult]:
        results: list[PGresult] = []
        at = 0
        for expected in self._expected:
            result = self._received[at]
            if result is None:
                msg = "the server ended the connection"
                raise psycopg.OperationalError(msg)
            at += 1 if expected is _COMMIT else 2
            if isinstance(expected, _Prepared) and result.status not in FAILED:
                self._names[expected.key] = expected.name
            elif expected is not _COMMIT:
                results.append(result)
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
