"""Statements that go out together: all of them or none, whatever happens on the way."""

import asyncio
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import psycopg
import pytest

from outlast.errors import DatabaseUnavailable
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.together import Step
from waiting import until


@pytest.fixture(params=[False, True], ids=["direct", "pooler"])
async def pool(request: pytest.FixtureRequest, database: DatabaseSettings) -> AsyncIterator[Pool]:
    pool = Pool(database.model_copy(update={"pooler": request.param}), application_name="test", size=1)
    await pool.open()
    yield pool
    await pool.close()


def nothing() -> None:
    pass


def opening(key: UUID) -> Step:
    return Step("run_intake", "open_thread", {"thread_key": key, "thread_id": str(key)})


def locking(key: UUID) -> Step:
    return Step("run_ends", "lock_thread", {"thread_key": key})


def failing() -> Step:
    return Step("run_ends", "status_of", {"id": "no uuid"})


async def test_each_statement_sees_what_those_before_it_did(pool: Pool) -> None:
    key = uuid4()

    opened, locked = await pool.together([opening(key), locking(key)], before_commit=nothing)

    assert len(opened) == 1
    assert locked == [(key,)]


async def test_one_that_fails_undoes_all(pool: Pool) -> None:
    key = uuid4()

    with pytest.raises(psycopg.DataError, match="no uuid"):
        await pool.together([opening(key), failing(), locking(key)], before_commit=nothing)

    assert await pool.together([locking(key)], before_commit=nothing) == [[]]


async def test_what_stops_the_commit_stores_nothing(pool: Pool) -> None:
    key = uuid4()

    def stop() -> None:
        raise ConnectionError

    with pytest.raises(DatabaseUnavailable):
        await pool.together([opening(key)], before_commit=stop)

    assert await pool.together([locking(key)], before_commit=nothing) == [[]]


async def test_statements_survive_that_psycopg_forgets_what_was_prepared(pool: Pool) -> None:
    key = uuid4()
    await pool.together([opening(key)], before_commit=nothing)
    async with pool.connection() as connection:
        await connection.execute("DEALLOCATE ALL")

    (locked,) = await pool.together([locking(key)], before_commit=nothing)
    (again,) = await pool.together([opening(key)], before_commit=nothing)

    assert locked == [(key,)]
    assert len(again) == 1


async def test_a_caller_who_leaves_takes_no_answer_of_the_next_one(pool: Pool, database: DatabaseSettings) -> None:
    key = uuid4()
    await pool.together([opening(key)], before_commit=nothing)
    other = Pool(database, application_name="other", size=1)
    await other.open()
    async with other.transaction() as holding:
        await holding.execute("SELECT FROM threads WHERE key = %s FOR UPDATE", [key])
        waiting = asyncio.create_task(pool.together([locking(key)], before_commit=nothing))
        await until(lambda: _blocks_somebody(holding))
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    await other.close()

    assert await pool.together([locking(uuid4()), locking(key)], before_commit=nothing) == [[], [(key,)]]


async def _blocks_somebody(connection: psycopg.AsyncConnection[tuple[int]]) -> bool:
    cursor = await connection.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
    return (await cursor.fetchall())[0][0] > 0
