"""The tables of LangGraph's own PostgresSaver, read as they are: bytes are not decoded here, and nothing is written."""

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Self

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from outlast.errors import ConfigurationError
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool, conninfo
from outlast.storage.postgres.queries import Queries

_SQL = Queries("langgraph_source")
_TABLES: Final = ("checkpoints", "checkpoint_blobs", "checkpoint_writes")
# Somebody else's database, and perhaps one without the indexes that these reads would like.
_TIMEOUT_MS: Final = 10 * 60 * 1000
_PAGE: Final = 500


class Place(NamedTuple):
    """One checkpoint of a thread; sorts as LangGraph sorts."""

    checkpoint_id: str
    ns: str


class SourceCheckpoint(NamedTuple):
    """A row of `checkpoints`; values that are not plain JSON are in the blobs."""

    place: Place
    parent_id: str | None
    checkpoint: dict[str, Any]
    metadata: dict[str, Any]


class Blob(NamedTuple):
    """A value in LangGraph's own encoding."""

    kind: str
    data: bytes


class BlobKey(NamedTuple):
    """Which value: of a channel, at a version."""

    ns: str
    channel: str
    version: str


class SourceWrite(NamedTuple):
    """What a task wrote to one channel, next to the checkpoint that it started from."""

    place: Place
    task_id: str
    task_path: str
    channel: str
    value: Blob


class LangGraphTables:
    """Reads one database; opened by `open`."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    @classmethod
    @asynccontextmanager
    async def open(cls, url: str, *, schema: str, connections: int) -> AsyncGenerator[Self]:
        """Connect, in transactions that cannot write.

        Raises ConfigurationError when the address is wrong or the schema has no such tables, DatabaseUnavailable.
        """
        settings = DatabaseSettings(
            url=_read_only(url), schema_name=schema, pool_size=connections, statement_timeout_ms=_TIMEOUT_MS
        )
        # Raises for what no server could be reached with.
        conninfo(settings, application_name="outlast-import")
        pool = Pool(settings, application_name="outlast-import", foreign=True)
        await pool.open()
        try:
            tables = cls(pool)
            await tables._check(schema)
            yield tables
        finally:
            await pool.close()

    async def count_threads(self) -> int:
        """Return how many threads there are."""
        return (await self._rows(_SQL.count_threads))[0][0]

    async def threads(self, after: str | None) -> list[str]:
        """Return the next page of thread ids; empty behind the last one."""
        return [row[0] for row in await self._rows(_SQL.threads, after=after, limit=_PAGE)]

    async def places(self, thread_id: str) -> list[Place]:
        """Return all checkpoints of a thread, of all its namespaces, oldest first."""
        return [Place(*row) for row in await self._rows(_SQL.ids, thread_id=thread_id)]

    async def checkpoints(self, thread_id: str, places: Sequence[Place]) -> dict[Place, SourceCheckpoint]:
        """Return these checkpoints; one that was deleted meanwhile is left out."""
        rows = await self._rows(_SQL.checkpoints, thread_id=thread_id, **_columns(places))
        # Not orjson, which makes floats of integers beyond 64 bits.
        return {
            Place(checkpoint_id, ns): SourceCheckpoint(
                Place(checkpoint_id, ns), parent_id, json.loads(checkpoint), json.loads(metadata)
            )
            for ns, checkpoint_id, parent_id, checkpoint, metadata in rows
        }

    async def blobs(self, thread_id: str, keys: Sequence[BlobKey]) -> dict[BlobKey, Blob]:
        """Return the values of channels; a channel that was empty at a version has none."""
        namespaces, channels, versions = (list(column) for column in zip(*keys, strict=True)) if keys else ([], [], [])
        rows = await self._rows(
            _SQL.blobs, thread_id=thread_id, namespaces=namespaces, channels=channels, versions=versions
        )
        return {
            BlobKey(ns, channel, version): Blob(kind, bytes(data or b"")) for ns, channel, version, kind, data in rows
        }

    async def writes(self, thread_id: str, places: Sequence[Place]) -> list[SourceWrite]:
        """Return what tasks wrote next to these checkpoints, in LangGraph's order."""
        rows = await self._rows(_SQL.writes, thread_id=thread_id, **_columns(places))
        return [
            SourceWrite(Place(checkpoint_id, ns), task_id, task_path, channel, Blob(kind or "null", bytes(data)))
            for ns, checkpoint_id, task_id, task_path, channel, kind, data in rows
        ]

    async def _check(self, schema: str) -> None:
        found = {row[0] for row in await self._rows(_SQL.tables, names=list(_TABLES))}
        missing = [name for name in _TABLES if name not in found]
        if missing:
            raise ConfigurationError(
                f"schema {schema!r} of the given database has no tables of LangGraph's PostgresSaver "
                f"({', '.join(missing)} missing). Correct the URL after --from, or name the schema with --schema."
            )

    async def _rows(self, statement: bytes, **parameters: Any) -> list[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall()


def _columns(places: Sequence[Place]) -> dict[str, list[str]]:
    return {"namespaces": [place.ns for place in places], "ids": [place.checkpoint_id for place in places]}


def _read_only(url: str) -> str:
    try:
        given = conninfo_to_dict(url)
    except (psycopg.ProgrammingError, UnicodeError) as error:
        msg = "the URL after --from cannot be parsed; expected postgresql://user:password@host:5432/name"
        raise ConfigurationError(msg) from error
    options = f"{given.get('options') or ''} -c default_transaction_read_only=on"
    return make_conninfo("", **{**given, "options": options.strip()})
