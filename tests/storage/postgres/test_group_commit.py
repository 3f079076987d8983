"""One writer for all runs of a process: what is shared, and what must not be."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from outlast import telemetry
from outlast.errors import DatabaseUnavailable, OutlastError
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoint_rows import CheckpointRow, WritesRow
from outlast.storage.postgres.group_commit import GroupCommit, Refused
from socket_proxy import SocketProxy

APPLICATION = "group-commit-under-test"


def first(**changes: Any) -> CheckpointRow:
    """The first checkpoint of a thread of its own."""
    row = CheckpointRow(
        thread_key=os.urandom(16), thread_id=str(uuid4()), ns="", checkpoint_id=uuid4(), parent_id=None, fork=False,
        opens=True, generation=None, run_id=None, metadata=b"{}", body=b"body",
    )  # fmt: skip
    return row._replace(**changes)


def child(of: CheckpointRow, **changes: Any) -> CheckpointRow:
    return of._replace(checkpoint_id=uuid4(), parent_id=of.checkpoint_id, **changes)


def output(of: CheckpointRow) -> WritesRow:
    return WritesRow(
        thread_key=of.thread_key, ns=of.ns, checkpoint_id=of.checkpoint_id, task_id=os.urandom(16), idx=0, writes=1,
        task_path="", body=b"body",
    )  # fmt: skip


@asynccontextmanager
async def opened(database: DatabaseSettings, **options: Any) -> AsyncIterator[GroupCommit]:
    writer = GroupCommit(database, application_name=APPLICATION, **options)
    try:
        await writer.open()
        yield writer
    finally:
        await writer.close()


@pytest.fixture
async def writer(database: DatabaseSettings) -> AsyncIterator[GroupCommit]:
    async with opened(database) as writer:
        yield writer


@pytest.fixture
def statements() -> Iterator[Callable[[], int]]:
    """How many batches have been committed since the test began."""
    seen: list[str] = []
    unsubscribe = telemetry.subscribe(lambda point, _: seen.append(point))
    yield lambda: seen.count("checkpoint.after_commit")
    unsubscribe()


@pytest.fixture
def arm() -> Iterator[Callable[[str], None]]:
    yield telemetry.arm
    telemetry.arm("")


async def select(database: DatabaseSettings, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
    async with await psycopg.AsyncConnection.connect(database.url, autocommit=True) as connection:
        await connection.execute("SET search_path = outlast")
        cursor = await connection.execute(statement.encode(), parameters or None)
        return await cursor.fetchall()


async def stored(database: DatabaseSettings) -> list[UUID]:
    return [row[0] for row in await select(database, "SELECT checkpoint_id FROM checkpoints ORDER BY seq")]


# --- batches ---------------------------------------------------------------------------------------------------------


async def test_concurrent_rows_share_statements(
    writer: GroupCommit, database: DatabaseSettings, statements: Callable[[], int]
) -> None:
    rows = [first() for _ in range(200)]

    await asyncio.gather(*(writer.submit(row) for row in rows))

    assert statements() <= 3
    assert sorted(await stored(database)) == sorted(row.checkpoint_id for row in rows)


async def test_rows_of_one_namespace_are_stored_in_the_order_of_submission(
    writer: GroupCommit, database: DatabaseSettings
) -> None:
    line = [first()]
    for _ in range(20):
        line.append(child(line[-1]))

    await asyncio.gather(*(writer.submit(row) for row in line))

    assert await stored(database) == [row.checkpoint_id for row in line]
    assert await select(database, "SELECT checkpoint_id FROM checkpoint_heads") == [(line[-1].checkpoint_id,)]


async def test_a_row_whose_parent_is_not_the_head_is_refused_alone(
    writer: GroupCommit, database: DatabaseSettings
) -> None:
    root = first()
    await writer.submit(root)
    good = [child(root), first(), first()]

    outcomes = await asyncio.gather(
        *(writer.submit(row) for row in [*good, child(root), child(first())]), return_exceptions=True
    )

    assert [type(outcome) for outcome in outcomes] == [type(None)] * 3 + [Refused] * 2
    assert set(await stored(database)) == {root.checkpoint_id, *(row.checkpoint_id for row in good)}


BAD = {
    "metadata that is no JSON": {"metadata": b"{"},
    "metadata with NUL": {"metadata": rb'{"a": "\u0000"}'},
    "a thread id with NUL": {"thread_id": "a\0b"},
    "a namespace too long for its index": {"ns": os.urandom(20_000).hex()},
    "a namespace with a lone surrogate": {"ns": "\ud800"},
    "a run id with a lone surrogate": {"run_id": "\ud800"},
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD.keys())
async def test_a_row_that_cannot_be_stored_fails_alone_and_at_once(
    writer: GroupCommit, database: DatabaseSettings, bad: dict[str, Any]
) -> None:
    rows = [first(), first(), first(**bad), first(), first()]

    async with asyncio.timeout(5):
        outcomes = await asyncio.gather(*(writer.submit(row) for row in rows), return_exceptions=True)
        await writer.submit(last := first())

    assert [outcome is None for outcome in outcomes] == [True, True, False, True, True]
    assert not isinstance(outcomes[2], DatabaseUnavailable)
    good = [row.checkpoint_id for row in rows if row is not rows[2]]
    assert set(await stored(database)) == {*good, last.checkpoint_id}


async def test_a_cancelled_submitter_hurts_no_other(writer: GroupCommit, database: DatabaseSettings) -> None:
    rows = [first() for _ in range(50)]
    tasks = [asyncio.create_task(writer.submit(row)) for row in rows]
    await asyncio.sleep(0)
    for task in tasks[::2]:
        task.cancel()

    outcomes = await asyncio.gather(*tasks, return_exceptions=True)

    assert outcomes[1::2] == [None] * 25
    assert {row.checkpoint_id for row in rows[1::2]} <= set(await stored(database))
    await writer.submit(first())


async def test_close_writes_what_was_submitted_and_refuses_what_comes_later(database: DatabaseSettings) -> None:
    async with opened(database) as writer:
        tasks = [asyncio.create_task(writer.submit(first())) for _ in range(20)]
        await asyncio.sleep(0)

    assert await asyncio.gather(*tasks) == [None] * 20
    assert len(await stored(database)) == 20
    with pytest.raises(DatabaseUnavailable, match="closed"):
        await writer.submit(first())


# --- broken connections ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("point", ["checkpoint.after_commit", "checkpoint.before_commit"])
async def test_a_lost_answer_to_a_commit_is_no_failure_and_no_duplicate(
    database: DatabaseSettings, arm: Callable[[str], None], point: str
) -> None:
    async with opened(database) as writer:
        await writer.submit(root := first())
        arm(f"{point}:lost:1:1")
        rows = [child(root), output(root), first()]

        assert await asyncio.gather(*(writer.submit(row) for row in rows)) == [None] * 3

    assert sorted(await stored(database)) == sorted([root.checkpoint_id, rows[0].checkpoint_id, rows[2].checkpoint_id])
    assert await select(database, "SELECT count(*) FROM checkpoint_writes") == [(1,)]


async def test_an_error_that_nobody_expects_fails_the_batch_and_not_the_writer(
    database: DatabaseSettings, arm: Callable[[str], None]
) -> None:
    async with opened(database) as writer:
        arm("checkpoint.before_commit:raise:1:1")
        async with asyncio.timeout(5):
            outcome = await asyncio.gather(writer.submit(first()), return_exceptions=True)
            await writer.submit(after := first())

    assert outcome == [None] or isinstance(outcome[0], Exception)
    assert after.checkpoint_id in await stored(database)


async def test_nothing_is_lost_or_doubled_when_connections_are_killed_under_load(database: DatabaseSettings) -> None:
    accepted: list[UUID] = []
    kills = 0

    async def work(writer: GroupCommit) -> None:
        row = first()
        for _ in range(30):
            await writer.submit(row)
            accepted.append(row.checkpoint_id)
            row = child(row)

    async def kill() -> None:
        nonlocal kills
        statement = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = %s"
        while kills < 8:
            kills += len(await select(database, statement, APPLICATION))

    async with opened(database) as writer:
        killer = asyncio.create_task(kill())
        await asyncio.gather(*(work(writer) for _ in range(20)))
        await killer

    assert kills >= 8
    assert sorted(await stored(database)) == sorted(accepted)
    assert len(accepted) == 600
    assert await select(
        database,
        "SELECT count(*) FROM checkpoints c WHERE parent_id IS NOT NULL AND NOT EXISTS "
        "(SELECT FROM checkpoints p WHERE p.thread_key = c.thread_key AND p.checkpoint_id = c.parent_id)",
    ) == [(0,)]


async def test_a_database_away_for_too_long_is_said_and_work_goes_on_when_it_is_back(
    database: DatabaseSettings,
) -> None:
    async with SocketProxy.before(database.url) as proxy:
        settings = database.model_copy(update={"url": proxy.url})
        async with opened(settings, give_up_after=timedelta(seconds=0.3)) as writer:
            await writer.submit(first())
            proxy.refuse = True
            proxy.cut()
            async with asyncio.timeout(10):
                outcomes = await asyncio.gather(*(writer.submit(first()) for _ in range(3)), return_exceptions=True)
                assert [type(outcome) for outcome in outcomes] == [DatabaseUnavailable] * 3
                with pytest.raises(DatabaseUnavailable):
                    await writer.submit(first())

                proxy.refuse = False
                await writer.submit(first())

    assert len(await stored(database)) == 2


async def test_a_reply_lost_on_the_wire_is_neither_a_failure_nor_a_duplicate(database: DatabaseSettings) -> None:
    async with (
        SocketProxy.before(database.url) as proxy,
        opened(database.model_copy(update={"url": proxy.url})) as writer,
    ):
        await writer.submit(root := first())
        proxy.lose_next_reply()
        await writer.submit(after := child(root))
        assert proxy.connections == 2
        await writer.submit(last := child(after))

    assert await stored(database) == [root.checkpoint_id, after.checkpoint_id, last.checkpoint_id]


async def test_a_connection_that_goes_silent_is_given_up(database: DatabaseSettings) -> None:
    async with SocketProxy.before(database.url) as proxy:
        settings = database.model_copy(update={"url": proxy.url})
        async with opened(settings, reply_within=timedelta(seconds=0.3)) as writer:
            await writer.submit(root := first())
            proxy.passing.clear()
            waiting = asyncio.create_task(writer.submit(child(root)))
            async with asyncio.timeout(10):
                while proxy.connections < 2:
                    assert not waiting.done()
                    await asyncio.sleep(0.01)
                proxy.passing.set()
                await waiting

    assert len(await stored(database)) == 2


async def test_errors_of_the_database_reach_callers_as_our_own(writer: GroupCommit) -> None:
    with pytest.raises(OutlastError):
        await writer.submit(first(metadata=b"{"))
