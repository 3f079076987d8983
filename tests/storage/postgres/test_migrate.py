"""Migrations: applied once by whoever comes first, and never silently different from what is shipped."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from secrets import token_hex

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from outlast.errors import DatabaseSetupError
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import migrate as module
from outlast.storage.postgres.migrate import Migration, migrate, migrations, status
from outlast.storage.postgres.snapshot import SNAPSHOT, snapshot
from outlast.testing.postgres import Databases

MIGRATE = """
import asyncio, sys
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.migrate import migrate
print(len(asyncio.run(migrate(DatabaseSettings(url=sys.argv[1])))))
"""


@pytest.fixture
async def empty(databases: Databases) -> AsyncIterator[DatabaseSettings]:
    url = await databases.create_empty()
    yield DatabaseSettings(url=url)
    await databases.leave(url)


def ship(monkeypatch: pytest.MonkeyPatch, *shipped: Migration) -> None:
    monkeypatch.setattr(module, "migrations", lambda: shipped)


async def test_processes_that_start_at_once_apply_each_migration_once(empty: DatabaseSettings) -> None:
    command = [sys.executable, "-c", MIGRATE, empty.url]
    started = [await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE) for _ in range(4)]
    outputs = [(await process.communicate())[0] for process in started]

    assert [process.returncode for process in started] == [0] * 4
    assert sorted(int(output) for output in outputs) == [0, 0, 0, len(migrations())]


async def test_migrating_again_does_nothing_and_the_status_says_what_is_applied(empty: DatabaseSettings) -> None:
    assert [entry.applied_at for entry in await status(empty)] == [None] * len(migrations())

    assert await migrate(empty) == list(migrations())

    assert await migrate(empty) == []
    applied = await status(empty)
    assert [entry.migration for entry in applied] == list(migrations())
    assert all(entry.applied_at is not None for entry in applied)


async def test_a_file_that_was_edited_after_it_was_applied_is_refused(
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, *others = migrations()
    edited = Migration(version=first.version, name=first.name, text=f"{first.text}\n-- edited")
    ship(monkeypatch, edited, *others)

    with pytest.raises(DatabaseSetupError, match="never edited"):
        await migrate(database)


async def test_a_database_that_is_newer_is_refused(database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    newer = Migration(version=9000, name="newer", text="CREATE TABLE newer ()")
    ship(monkeypatch, *migrations(), newer)
    await migrate(database)
    monkeypatch.undo()

    with pytest.raises(DatabaseSetupError, match="upgrade Outlast"):
        await migrate(database)


async def test_a_migration_that_fails_leaves_nothing_and_can_be_repeated(
    database: DatabaseSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = Migration(version=9000, name="broken", text="CREATE TABLE half (); SELECT 1 / 0")
    ship(monkeypatch, *migrations(), broken)
    with pytest.raises(psycopg.errors.DivisionByZero):
        await migrate(database)

    repaired = Migration(version=9000, name="broken", text="CREATE TABLE half ()")
    ship(monkeypatch, *module.migrations()[:-1], repaired)
    assert await migrate(database) == [repaired]


async def test_waiting_for_another_process_is_not_limited_by_the_statement_timeout(database: DatabaseSettings) -> None:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as other:
        await other.execute("SELECT pg_advisory_lock(%s)", [module._LOCK_KEY])
        waiting = asyncio.create_task(migrate(database.model_copy(update={"statement_timeout_ms": 100})))
        query = "SELECT now() - query_start > interval '0.3 s' FROM pg_stat_activity WHERE wait_event = 'advisory'"
        while (await (await other.execute(query)).fetchone()) != (True,):
            assert not waiting.done(), waiting.exception()
            await asyncio.sleep(0.01)
        await other.execute("SELECT pg_advisory_unlock(%s)", [module._LOCK_KEY])
        assert await waiting == []


async def test_a_role_that_may_not_create_anything_can_use_a_current_schema(database: DatabaseSettings) -> None:
    role = f"outlast_plain_{token_hex(4)}"
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as owner:
        await owner.execute(f"CREATE ROLE {role} NOLOGIN")
        try:
            await owner.execute(f"GRANT {role} TO current_user")
            await owner.execute(f"GRANT outlast_app, outlast_claim TO {role}")
            plain = make_conninfo(database.url, options=f"-c role={role}")
            assert await migrate(database.model_copy(update={"url": plain})) == []
        finally:
            await owner.execute(f"DROP OWNED BY {role}")
            await owner.execute(f"DROP ROLE {role}")


async def test_the_schema_file_is_what_the_migrations_make(database: DatabaseSettings) -> None:
    current = await snapshot(database)

    assert SNAPSHOT.read_text(encoding="utf-8") == current, f"{SNAPSHOT.name} is stale: run `make schema`"


async def test_the_schema_file_does_not_depend_on_the_schemas_name(empty: DatabaseSettings) -> None:
    other = empty.model_copy(update={"schema_name": "agents"})
    await migrate(other)

    assert await snapshot(other) == SNAPSHOT.read_text(encoding="utf-8")
