"""Statements in one round trip, as one transaction that says first on whose behalf it acts.

For every statement that stands alone, and for the decisions that every run passes: how it is taken in and how it ends.
psycopg's pipeline waits seven times for what is sent and answered at once; with its BEGIN and COMMIT that took a worker
2.5 ms of CPU for each run. Here the statements go out in libpq's own pipeline mode, where what stands before a sync is
one transaction: each statement has a snapshot of its own, an error undoes all of them
(https://www.postgresql.org/docs/current/libpq-pipeline-mode.html).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeAlias

from psycopg import AsyncConnection, errors
from psycopg.pq import Format
from psycopg.pq.abc import PGresult

from outlast.storage.postgres.pipelining import FAILED, Encoded, Pipeline, Rows, Sending
from outlast.storage.postgres.queries import Numbered, numbered, numbered_text
from outlast.storage.postgres.scoping import Scope
from outlast.telemetry.spans import span


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
        sending = Sending(statement, parameters, Format.BINARY if binary else Format.TEXT)
        with span("database", statement=statement.text):
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
    replies = await _all_or_none(connection, scope, [_sent(step) for step in steps], before_commit)
    return [await reply.fetchall() for reply in replies]


async def provided(
    connection: AsyncConnection[Any],
    first: Encoded,
    provides: str,
    steps: Sequence[Step],
    *,
    scope: Scope | None,
    before_commit: Callable[[], None],
) -> tuple[Rows, list[Rows] | None]:
    """Execute `first`, committed by itself, and in the same round trip all of `steps` or none, as `together` does.

    They are executed if `first` has set `outlast.provided` of the session to `provides`, which is a name of its own for
    each call, and said so in its last column; else None stands for their rows. What `first` locks is free before they
    begin. Raises as `together`.
    """
    every = [_sent(step) for step in steps]
    try:
        rows, replies = await _provided_once(
            connection, first, provides, every, scope=scope, before_commit=before_commit
        )
    except _StepsUnknown as error:
        # psycopg drops everything that is prepared on its connection after a rollback. The first one is done.
        Pipeline.forget(connection)
        rows, replies = error.rows, await _once(connection, scope, every, before_commit)
    except errors.InvalidSqlStatementName:
        Pipeline.forget(connection)
        rows, replies = await _provided_once(
            connection, first, provides, every, scope=scope, before_commit=before_commit
        )
    return rows, None if replies is None else [await reply.fetchall() for reply in replies]


def _sent(step: Step) -> Sending:
    return Sending(numbered(step.concept, step.name), step.parameters, Format.BINARY)


class _StepsUnknown(Exception):
    """What was provided is taken, and the statements behind it were not prepared any more."""

    def __init__(self, rows: Rows) -> None:
        super().__init__()
        self.rows = rows


# An error ends the transaction, and with it what stands behind.
_GUARD: Final = b"SELECT 1 / (current_setting('outlast.provided', true) IS NOT DISTINCT FROM $1)::int"


async def _provided_once(
    connection: AsyncConnection[Any],
    first: Encoded,
    provides: str,
    sendings: Sequence[Sending],
    *,
    scope: Scope | None,
    before_commit: Callable[[], None],
) -> tuple[Rows, list[Reply] | None]:
    pipeline = Pipeline(connection)
    with pipeline.whole_or_closed():
        if scope is not None:
            pipeline.act(scope)
        pipeline.send(first)
        pipeline.commit()
        pipeline.send(Encoded.of_text(_GUARD, provides))
        if scope is not None:
            pipeline.act(scope)
        for sending in sendings:
            pipeline.send(sending)
        before_commit()
        results = await pipeline.sync()
    scopes = 0 if scope is None else 1
    _raise_first(results[: scopes + 1])
    rows = pipeline.rows(results[scopes])
    if rows[0][-1] != provides:
        return rows, None
    said = results[scopes + 1 :]
    try:
        _raise_first(said)
    except errors.InvalidSqlStatementName as error:
        raise _StepsUnknown(rows) from error
    # Behind the guard and the scope.
    return rows, [Reply(pipeline.rows(result), result.command_tuples or 0) for result in said[scopes + 1 :]]


def _raise_first(results: Sequence[PGresult]) -> None:
    for result in results:
        if result.status in FAILED:
            raise errors.error_from_result(result)


def _nothing() -> None:
    """Have nothing to do before the commit."""


async def _all_or_none(
    connection: AsyncConnection[Any],
    scope: Scope | None,
    sendings: Sequence[Sending],
    before_commit: Callable[[], None],
) -> list[Reply]:
    try:
        return await _once(connection, scope, sendings, before_commit)
    except errors.InvalidSqlStatementName:
        # psycopg drops everything that is prepared on its connection after a rollback.
        Pipeline.forget(connection)
        return await _once(connection, scope, sendings, before_commit)


async def _once(
    connection: AsyncConnection[Any],
    scope: Scope | None,
    sendings: Sequence[Sending],
    before_commit: Callable[[], None],
) -> list[Reply]:
    pipeline = Pipeline(connection)
    with pipeline.whole_or_closed():
        if scope is not None:
            pipeline.act(scope)
        for sending in sendings:
            pipeline.send(sending)
        before_commit()
        results = await pipeline.sync()
    _raise_first(results)
    said = results if scope is None else results[1:]
    return [Reply(pipeline.rows(result), result.command_tuples or 0) for result in said]
