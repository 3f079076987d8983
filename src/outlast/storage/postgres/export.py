"""Hands out what belongs to a user, a thread or a tenant: the rows of every table that `erasure_rules` names."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Final, NamedTuple

from psycopg import AsyncConnection
from psycopg.rows import dict_row

from outlast.domain.erasure import Scope, Subject
from outlast.storage.postgres.erasure import condition_of, parameters_of
from outlast.storage.postgres.erasure_rules import RULES, Rule
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.resealing import opened_in
from outlast.storage.postgres.sealed_columns import TABLES, TRANSIENT
from outlast.storage.postgres.sealing import Sealing

_SEALED: Final = {table.table: table for table in TABLES}
_PAGE: Final = 200


class ExportedRow(NamedTuple):
    """A row of a table, decrypted; bytes are as the program stores them."""

    table: str
    values: dict[str, Any]


async def exported_rows(pool: Pool, subject: Subject) -> AsyncGenerator[ExportedRow]:
    """Yield every row in the order of the rules, each table as it is at one moment.

    Read on without long pauses: a transaction that idles for 10 seconds is ended by the server.
    """
    given = await parameters_of(pool, subject)
    async with pool.transaction() as connection:
        await connection.execute("SET TRANSACTION READ ONLY")
        for rule in RULES:
            if rule.exported and (rule.found or subject.scope is Scope.TENANT):
                async for values in _rows(connection, subject, rule, given):
                    yield ExportedRow(rule.table, await _opened(pool.sealing, rule.table, values))


async def _rows(
    connection: AsyncConnection[Any], subject: Subject, rule: Rule, given: Mapping[str, Any]
) -> AsyncGenerator[dict[str, Any]]:
    async with connection.cursor(name="export", row_factory=dict_row) as cursor:
        # Everything here is from the list of rules.
        statement = f"SELECT * FROM {rule.table} WHERE {condition_of(subject, rule)}"  # noqa: S608 - all of it is from the list of rules
        await cursor.execute(statement.encode(), given)
        while page := await cursor.fetchmany(_PAGE):
            for row in page:
                yield {column: value for column, value in row.items() if column not in rule.hidden}


async def _opened(sealing: Sealing, name: str, row: dict[str, Any]) -> dict[str, Any]:
    if not sealing.on:
        return row
    opened = dict(row)
    if (table := _SEALED.get(name)) is not None:
        identity = [row[column] for column in table.identity]
        for column, (place, form) in table.columns.items():
            opened[column] = await opened_in(sealing, form, place, row[column], identity)
    for column, place in TRANSIENT.get(name, {}).items():
        opened[column] = await sealing.open(place, row[column], *_event(row))
    return opened


def _event(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return what a record of a stream is sealed by; one from outside of a run has no position when it is."""
    return (row["thread_key"], row["pos"]) if row["run_id"] is not None else (row["thread_key"], "outside", row["mode"])
