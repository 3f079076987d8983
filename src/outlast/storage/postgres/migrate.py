"""Bring the schema to what this version needs, and say where it stands.

Migrations are numbered SQL files in the package. Each is applied once, in its own transaction,
under one advisory lock, so that any number of processes may start at the same time. A file that
was applied is never edited: its checksum is kept and compared.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime
from functools import cache
from importlib.resources import files
from typing import Any

from psycopg import AsyncConnection, sql

from outlast.errors import DatabaseSetupError
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import roles
from outlast.storage.postgres.pool import Pool, connect
from outlast.storage.postgres.together import Executes

_FILE = re.compile(r"^(\d{4})_(\w+)\.sql$")
# Any fixed number; it only has to differ from other programs' advisory locks.
_LOCK_KEY = 0x6F75746C617374


@dataclass(frozen=True, slots=True, kw_only=True)
class Migration:
    """One numbered file."""

    version: int
    name: str
    text: str

    @property
    def checksum(self) -> str:
        """SHA-256 of the text, in hex."""
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class MigrationStatus:
    """A migration and when this database applied it, if it did."""

    migration: Migration
    applied_at: datetime | None


@cache
def migrations() -> tuple[Migration, ...]:
    """Return the migrations shipped with this version, in order."""
    found = (
        Migration(version=int(match[1]), name=match[2], text=entry.read_text(encoding="utf-8"))
        for entry in files("outlast.storage.postgres").joinpath("migrations").iterdir()
        if (match := _FILE.match(entry.name))
    )
    return tuple(sorted(found, key=lambda migration: migration.version))


async def migrate(settings: DatabaseSettings) -> list[Migration]:
    """Apply what is missing and return it; safe to call from many processes at once.

    Raises DatabaseSetupError when an applied file was edited afterwards or the database is
    newer than this program.
    """
    connection = await connect(settings, application_name="outlast-migrate")
    async with connection:
        # Another process may be at a migration that takes long.
        await connection.execute("SET statement_timeout = 0")
        await connection.execute("SELECT pg_advisory_lock(%s)", [_LOCK_KEY])
        try:
            await _prepare(connection, settings.schema_name)
            made = await roles.ensure(connection, settings.schema_name)
            applied = await _applied(connection)
            missing = _missing(applied)
            for migration in missing:
                await _apply(connection, migration)
            # For new tables, and for roles that a restored database does not bring along.
            if missing or made:
                await roles.grant(connection, settings.schema_name)
        finally:
            await connection.execute("SELECT pg_advisory_unlock(%s)", [_LOCK_KEY])
    return missing


async def status(settings: DatabaseSettings) -> list[MigrationStatus]:
    """Return every migration this version ships, with when it was applied here."""
    connection = await connect(settings, application_name="outlast-migrate")
    async with connection:
        applied = await _applied_if_any(connection)
    return [
        MigrationStatus(migration=migration, applied_at=applied[migration.version][1])
        if migration.version in applied
        else MigrationStatus(migration=migration, applied_at=None)
        for migration in migrations()
    ]


async def lacking(pool: Pool) -> list[Migration]:
    """Return what the database lacks, asked on a pooled connection: cheap enough for a health check.

    A database that is newer is no reason to stop: during a deployment it is, and the old program works on it.
    """
    async with pool.connection() as connection:
        applied = await _applied_if_any(connection)
    return [migration for migration in migrations() if migration.version not in applied]


async def _applied_if_any(connection: Executes) -> dict[int, tuple[str, datetime]]:
    cursor = await connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
    row = await cursor.fetchone()
    return await _applied(connection) if row and row[0] else {}


async def _prepare(connection: AsyncConnection[Any], schema: str) -> None:
    cursor = await connection.execute("SELECT to_regclass('schema_migrations') IS NOT NULL")
    if await cursor.fetchone() == (True,):
        # IF NOT EXISTS asks for the right to create all the same, and a production role may not have it.
        return
    await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    await connection.execute(
        "CREATE TABLE IF NOT EXISTS schema_migrations ("
        "version integer PRIMARY KEY, name text NOT NULL, checksum text NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT clock_timestamp())"
    )


async def _applied(connection: Executes) -> dict[int, tuple[str, datetime]]:
    cursor = await connection.execute("SELECT version, checksum, applied_at FROM schema_migrations")
    return {version: (checksum, applied_at) for version, checksum, applied_at in await cursor.fetchall()}


def _missing(applied: dict[int, tuple[str, datetime]]) -> list[Migration]:
    known = {migration.version for migration in migrations()}
    if newer := sorted(set(applied) - known):
        msg = (
            f"the database has migration {newer[-1]:04d}, which this version of Outlast does not know; upgrade Outlast"
        )
        raise DatabaseSetupError(msg)
    missing: list[Migration] = []
    for migration in migrations():
        if migration.version not in applied:
            missing.append(migration)
        elif applied[migration.version][0] != migration.checksum:
            msg = (
                f"migration {migration.version:04d}_{migration.name} was applied here with another text; "
                "restore the file: a migration that was applied is never edited, add a new one"
            )
            raise DatabaseSetupError(msg)
    return missing


async def _apply(connection: AsyncConnection[Any], migration: Migration) -> None:
    async with connection.transaction():
        # A migration waits briefly for its locks rather than queueing all traffic behind it.
        await connection.execute("SET LOCAL lock_timeout = '3s'")
        await connection.execute("SET LOCAL statement_timeout = 0")
        # Several statements in one text, so not a prepared one.
        await connection.execute(migration.text.encode(), prepare=False)
        await connection.execute(
            "INSERT INTO schema_migrations (version, name, checksum) VALUES (%s, %s, %s)",
            [migration.version, migration.name, migration.checksum],
        )
