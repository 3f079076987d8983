"""A walk through all sealed rows, in small steps: what is sealed with an old key, or not at all, is sealed anew.

One process at a time goes on with the walk; where it stands is in the database, so that any process can take it up. A
row that somebody works on is passed over, and the next walk looks again: nobody ever waits for this one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, cast
from uuid import UUID

import orjson
from psycopg import AsyncConnection, sql

from outlast.domain.acting import across_tenants, acting_for
from outlast.errors import Undecipherable
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.sealed_columns import NOTHING, TABLES, Form, SealedTable
from outlast.storage.postgres.sealing import NOBODY, Place, Sealing, key_of_head, key_of_question, key_of_text
from outlast.telemetry import emit

_SQL = Queries("data_keys")
# When somebody else has the walk in hand, or an old key is still in use.
_TURN_SECONDS: Final = 0.5
# With nothing to do, pauses are so much longer.
_IDLE: Final = 10
Tx = AsyncConnection[Any]
# Of a sealed value, what names its key; a large value is not read for that.
_HEADS: Final[Mapping[Form, str]] = {
    "bytes": "substring({column} from 1 for 128)",
    "text": "left({column}, 128)",
    "json": "left({column}::text, 129)",
    "questions": "{column}::text",
    "questions of tasks": "{column}::text",
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one step has done."""

    #: Rows that were sealed anew.
    resealed: int = 0
    #: There is nothing to do, or somebody else does it.
    idle: bool = False
    #: The walk has come to its end.
    ended: bool = False


class Resealing:
    """Seals rows anew; `pool.sealing` has to be on. `settled`: so long an old key may still be in use elsewhere."""

    def __init__(self, pool: Pool, *, settled: timedelta, batch: int) -> None:
        self._pool = pool
        self._sealing: Sealing = pool.sealing
        self._settled = {"settled": settled.total_seconds()}
        self._batch = batch

    async def step(self) -> Step:
        """Look at the next rows."""
        with across_tenants():
            async with self._pool.transaction() as connection:
                row = await (await connection.execute(_SQL.walk, self._settled)).fetchone()
                if row is None:
                    return Step(idle=True)
                state, number, after, _, walking, wanted = row
                if not walking and state == "on" and not wanted:
                    return Step(idle=True)
                if not walking:
                    await connection.execute(_SQL.walk_begins)
                    number, after = 0, None
                if number >= len(TABLES):
                    await connection.execute(_SQL.walk_ends, self._settled)
                    return Step(ended=True)
                return await self._walk(connection, number, after)

    async def whole(self) -> int:
        """Go on until there is nothing to do (any more); return how many rows were sealed anew.

        While another process has the walk in hand, it waits for that.
        """
        count = 0
        while True:
            step = await self.step()
            count += step.resealed
            if step.idle:
                if not await self._is_wanted():
                    return count
                await asyncio.sleep(_TURN_SECONDS)

    async def _is_wanted(self) -> bool:
        with across_tenants():
            async with self._pool.connection() as connection:
                row = await (await connection.execute(_SQL.wanted, {})).fetchone()
        return row is not None and row[0]

    async def run(self, pause: timedelta) -> None:
        """Take a step now and then, beside a worker, until cancelled."""
        while True:
            step = Step(idle=True)
            try:
                step = await self.step()
            # Whatever happens here, the loop goes on.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="resealing", error=type(error).__name__)
            await asyncio.sleep(pause.total_seconds() * (_IDLE if step.idle else 1))

    async def _walk(self, connection: Tx, number: int, after: list[str] | None) -> Step:
        table = TABLES[number]
        rows = await _page(connection, table, after, self._batch)
        stale = [key for key, tenant, heads in rows if await self._is_stale(table, tenant, heads)]
        resealed, refused = 0, 0
        for key in stale:
            try:
                resealed += await self._reseal(connection, table, key)
            except Undecipherable as error:
                # It stays as it is: whoever reads it is told, and the rest does not wait for it.
                refused += 1
                emit("encryption.row_refused", table=table.table, error=str(error))
        ends = len(rows) < self._batch
        parameters = {
            "column": number + 1 if ends else number,
            "after": None if ends else rows[-1][0],
            "missed": len(stale) - refused,
        }
        await connection.execute(_SQL.walked, parameters)
        emit("encryption.resealed.before_commit", table=table.table, rows=resealed)
        return Step(resealed=resealed)

    async def _is_stale(self, table: SealedTable, tenant: str, heads: Sequence[Any]) -> bool:
        forms: list[Form] = [form for _, form in table.columns.values()]
        found = [key_id for form, head in zip(forms, heads, strict=True) for key_id in _key_ids(form, head)]
        active = await self._sealing.active_ids(tenant, NOBODY) if found else set[UUID]()
        return any(key_id not in active for key_id in found)

    async def _reseal(self, connection: Tx, table: SealedTable, key: list[str]) -> int:
        """Seal a row anew, with the key of the tenant it belongs to; 0 when somebody else works on it."""
        cursor = await connection.execute(_select(table), key, prepare=False)
        row = await cursor.fetchone()
        if row is None:
            return 0
        named, tenant = dict(zip(table.key, row, strict=False)), row[len(table.key)]
        identity = [named[name] for name in table.identity]
        values: list[Any] = []
        with acting_for(tenant):
            for (place, form), value in zip(table.columns.values(), row[len(table.key) + 1 :], strict=True):
                plain = await opened_in(self._sealing, form, place, value, identity)
                values.append(await sealed_in(self._sealing, form, place, plain, identity))
        return (await connection.execute(_update(table), [*values, *key], prepare=False)).rowcount


async def reseal_copy_in(connection: Tx, sealing: Sealing, table_name: str, *, source: bytes, target: bytes) -> None:
    """Seal the rows of a thread for it that were copied from another one, as part of an open transaction."""
    table = next(table for table in TABLES if table.table == table_name)
    keys = sql.SQL("SELECT ARRAY[{}] FROM {} WHERE thread_key = %s").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in table.key),
        sql.Identifier(table.table),
    )
    cursor = await connection.execute(keys, [UUID(bytes=target)], prepare=False)
    for (key,) in await cursor.fetchall():
        row = cast("tuple[Any, ...]", await (await connection.execute(_select(table), key, prepare=False)).fetchone())
        named = dict(zip(table.key, row, strict=False))
        identity = [named[name] for name in table.identity]
        before = [source if name == "thread_key" else named[name] for name in table.identity]
        values: list[Any] = []
        for (place, form), value in zip(table.columns.values(), row[len(table.key) + 1 :], strict=True):
            plain = await opened_in(sealing, form, place, value, before)
            values.append(await sealed_in(sealing, form, place, plain, identity))
        await connection.execute(_update(table), [*values, *key], prepare=False)


async def opened_in(sealing: Sealing, form: Form, place: Place, value: Any, identity: Sequence[Any]) -> Any:
    """Return the content of a column of whatever form."""
    match form:
        case "bytes":
            return value if value in {None, NOTHING} else await sealing.open(place, value, *identity)
        case "text":
            return await sealing.open_text(place, value, *identity)
        case "json":
            return await sealing.open_json(place, value, *identity)
        case "questions":
            return await sealing.open_questions(place, value, *identity)
        case "questions of tasks":
            return await open_by_task(sealing, place, value, *identity)


async def sealed_in(sealing: Sealing, form: Form, place: Place, value: Any, identity: Sequence[Any]) -> Any:
    """Return content as a column of whatever form holds it, as a parameter."""
    match form:
        case "bytes":
            return value if value in {None, NOTHING} else await sealing.seal(place, value, *identity)
        case "text":
            return await sealing.seal_text(place, value, *identity)
        case "json":
            sealed = value if value in (None, {}) else await sealing.seal_json(place, value, *identity)
        case "questions":
            sealed = await sealing.seal_questions(place, value, *identity)
        case "questions of tasks":
            sealed = await seal_by_task(sealing, place, value, *identity)
    return None if sealed is None else jsonb(sealed)


async def seal_by_task(sealing: Sealing, place: Place, asked: Mapping[str, Any] | None, *identity: Any) -> Any:
    """Return the questions of a thread, by task, as they are stored."""
    if asked is None:
        return None
    return {task: await sealing.seal_questions(place, questions, *identity) for task, questions in asked.items()}


async def open_by_task(sealing: Sealing, place: Place, asked: Mapping[str, Any] | None, *identity: Any) -> Any:
    """Return the questions of a thread, by task, as they were."""
    if asked is None:
        return None
    return {task: await sealing.open_questions(place, questions, *identity) for task, questions in asked.items()}


def _key_ids(form: Form, head: Any) -> list[UUID | None]:
    """Return the keys with which the beginning of a value was sealed; None stands for plain content."""
    if head is None or head in {NOTHING, "{}", "null"}:
        return []
    match form:
        case "bytes":
            return [key_of_head(head)]
        case "text" | "json":
            return [key_of_text(head.removeprefix('"'))]
        case "questions":
            asked: list[Any] = orjson.loads(head)
        case "questions of tasks":
            asked = [question for questions in orjson.loads(head).values() for question in questions]
    # An id alone is what an answer was given to.
    return [key_of_question(question) for question in asked if question.keys() != {"id"}]


async def _page(connection: Tx, table: SealedTable, after: list[str] | None, limit: int) -> list[Any]:
    behind = sql.SQL("true")
    if after is not None:
        behind = sql.SQL("({}) > ({})").format(_names(table), _typed(table))
    heads = [
        sql.SQL(cast("Any", _HEADS[form])).format(column=sql.Identifier(column))
        for column, (_, form) in table.columns.items()
    ]
    query = sql.SQL("SELECT ARRAY[{}], {}, {} FROM {} WHERE {} ORDER BY {} LIMIT {}").format(
        sql.SQL(", ").join(sql.SQL("{}::text").format(sql.Identifier(name)) for name in table.key),
        _tenant(table), sql.SQL(", ").join(heads), sql.Identifier(table.table), behind, _names(table), limit,
    )  # fmt: skip
    cursor = await connection.execute(query, after or [], prepare=False)
    return [(row[0], row[1], row[2:]) for row in await cursor.fetchall()]


def _select(table: SealedTable) -> sql.Composed:
    return sql.SQL("SELECT {}, {}, {} FROM {} WHERE ({}) = ({}) FOR NO KEY UPDATE SKIP LOCKED").format(
        _names(table), _tenant(table), sql.SQL(", ").join(map(sql.Identifier, table.columns)),
        sql.Identifier(table.table), _names(table), _typed(table),
    )  # fmt: skip


def _update(table: SealedTable) -> sql.Composed:
    changes = sql.SQL(", ").join(sql.SQL("{} = %s").format(sql.Identifier(column)) for column in table.columns)
    return sql.SQL("UPDATE {} SET {} WHERE ({}) = ({})").format(
        sql.Identifier(table.table), changes, _names(table), _typed(table)
    )


def _names(table: SealedTable) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, table.key))


def _typed(table: SealedTable) -> sql.Composed:
    return sql.SQL(", ").join(sql.SQL(cast("Any", f"%s::{kind}")) for kind in table.key.values())


def _tenant(table: SealedTable) -> sql.Composable:
    # Shared secrets belong to no tenant.
    return sql.Literal(NOBODY) if table.table == "secrets" else sql.Identifier("tenant")
