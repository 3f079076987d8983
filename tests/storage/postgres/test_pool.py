"""Connections for short statements: a server that went away and came back is nobody's problem."""

import psycopg
import pytest

from outlast.errors import DatabaseUnavailable
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool, is_transient

APPLICATION = "pool-under-test"


async def terminate(database: DatabaseSettings) -> int:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        cursor = await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = %s", [APPLICATION]
        )
        return len(await cursor.fetchall())


async def test_connections_that_the_server_ended_while_they_were_idle_are_replaced(database: DatabaseSettings) -> None:
    pool = Pool(database, application_name=APPLICATION)
    await pool.open()
    try:
        for _ in range(3):
            async with pool.connection() as one, pool.connection() as other:
                await one.execute("SELECT 1")
                await other.execute("SELECT 1")
            assert await terminate(database) == 2
            async with pool.connection() as connection:
                await connection.execute("SELECT 1")
    finally:
        await pool.close()


async def use_while_it_is_terminated(pool: Pool, database: DatabaseSettings) -> None:
    async with pool.connection() as connection:
        await terminate(database)
        await connection.execute("SELECT 1")


async def test_a_connection_lost_in_the_middle_is_said_as_such(database: DatabaseSettings) -> None:
    pool = Pool(database, application_name=APPLICATION)
    await pool.open()
    try:
        with pytest.raises(DatabaseUnavailable):
            await use_while_it_is_terminated(pool, database)
    finally:
        await pool.close()


@pytest.mark.parametrize(
    ("error", "transient"),
    [
        (psycopg.errors.AdminShutdown, True),
        (psycopg.errors.DeadlockDetected, True),
        (psycopg.errors.TooManyConnections, True),
        (psycopg.errors.ReadOnlySqlTransaction, True),
        (psycopg.OperationalError, True),
        (psycopg.errors.ProgramLimitExceeded, False),
        (psycopg.errors.StatementTooComplex, False),
    ],
)
def test_what_may_succeed_later_is_told_from_what_never_will(error: type[psycopg.Error], *, transient: bool) -> None:
    assert is_transient(error()) is transient
