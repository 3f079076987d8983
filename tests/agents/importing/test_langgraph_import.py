"""Threads of a real LangGraph PostgresSaver database, brought over exactly."""

import os
import pickle
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from langchain_core.messages import HumanMessage
from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver
from langgraph.types import Command
from langgraph_graphs import build
from psycopg.conninfo import make_conninfo

from outlast.agents.checkpoints import erasing
from outlast.agents.codec import Codec
from outlast.agents.importing.langgraph import Report, Trial, all_threads, import_threads
from outlast.agents.importing.threads import Result, Saver
from outlast.errors import ConfigurationError, DatabaseUnavailable
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.imports import Imports
from outlast.storage.postgres.langgraph_source import LangGraphTables
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.threads import ThreadStore
from savers import OpenSaver


class World:
    """A LangGraph database and ours, and a saver on each."""

    def __init__(self, url: str, theirs: AsyncPostgresSaver, pool: Pool, ours: Any, source: LangGraphTables) -> None:
        self.url = url
        self.theirs = theirs
        self.ours = ours
        self.pool = pool
        self.threads = ThreadStore(pool, erasing)
        self.source = source

    async def bring(self, *, saver: Saver | None = None, trial: bool = False, agent: str | None = None) -> Report:
        return await import_threads(
            self.source, Imports(self.pool, self.threads), saver or self.ours, all_threads(self.source),
            agent=agent, trial=trial, concurrency=4, done=lambda _thread: None,
        )  # fmt: skip

    async def all_of(self, saver: Any, thread: str) -> list[Any]:
        return [found async for found in saver.alist({"configurable": {"thread_id": thread}})]

    async def assert_same(self, thread: str) -> None:
        """Every checkpoint of the thread, in every namespace, is the same in both databases."""
        theirs, ours = await self.all_of(self.theirs, thread), await self.all_of(self.ours, thread)
        order = [found.config["configurable"]["checkpoint_id"] for found in theirs]
        assert [found.config["configurable"]["checkpoint_id"] for found in ours] == order
        for old, new in zip(theirs, ours, strict=True):
            assert new.config["configurable"] == old.config["configurable"]
            assert new.checkpoint["channel_values"] == old.checkpoint["channel_values"]
            assert new.checkpoint["channel_versions"] == counted(old.checkpoint["channel_versions"])
            assert new.checkpoint["versions_seen"] == {
                node: counted(versions) for node, versions in old.checkpoint["versions_seen"].items()
            }
            assert (new.parent_config or {}).get("configurable") == (old.parent_config or {}).get("configurable")
            assert sorted(new.pending_writes, key=str) == sorted(old.pending_writes, key=str)
            assert new.metadata.items() >= {"source": old.metadata["source"], "step": old.metadata["step"]}.items()

    async def count(self, table: str) -> int:
        async with self.pool.connection() as connection:
            cursor = await connection.execute(f"SELECT count(*) FROM {table}".encode())
            return (await cursor.fetchall())[0][0]


@pytest.fixture
async def world(database: DatabaseSettings, open_saver: OpenSaver) -> AsyncIterator[World]:
    async with AsyncExitStack() as stack:
        # The schema of the role's own name would come first.
        url = make_conninfo(database.url, options="-c search_path=public")
        theirs = await stack.enter_async_context(AsyncPostgresSaver.from_conn_string(url))
        await theirs.setup()
        source = await stack.enter_async_context(LangGraphTables.open(database.url, schema="public", connections=4))
        pool = Pool(database, application_name="outlast-test-import")
        await pool.open()
        stack.push_async_callback(pool.close)
        yield World(url, theirs, pool, await open_saver(), source)


def counted(versions: dict[str, Any]) -> dict[str, int]:
    return {channel: int(version.partition(".")[0]) for channel, version in versions.items()}


def config(thread: str) -> Any:
    return {"configurable": {"thread_id": thread}}


async def talked(saver: Any, thread: str, *, turns: int = 2) -> None:
    graph = build(saver)
    for turn in range(turns):
        await graph.ainvoke({"messages": [HumanMessage(f"turn {turn}")]}, config(thread))
        await graph.ainvoke(Command(resume=f"yes {turn}"), config(thread))
    await graph.ainvoke({"messages": [HumanMessage("last")]}, config(thread))


async def test_every_checkpoint_of_every_namespace_is_the_same(world):
    thread = str(uuid4())
    await talked(world.theirs, thread)

    report = await world.bring()

    assert report.failed == {}
    assert report.results == {Result.IMPORTED: 1}
    assert report.checkpoints == len(await world.all_of(world.theirs, thread)) > 20
    await world.assert_same(thread)


async def test_a_thread_that_waits_goes_on_here(world):
    thread = str(uuid4())
    await talked(world.theirs, thread)
    await world.bring(agent="helper")

    shown = await world.threads.get(thread)
    questions = [question["value"] for asked in shown.interrupts.values() for question in asked]
    result = await build(world.ours).ainvoke(Command(resume="at last"), config(thread))

    assert (shown.status, shown.metadata) == ("interrupted", {"graph_id": "helper"})
    assert questions == [{"question": "go on?"}]
    assert result["log"][-1] == "at last"
    expected = await build(world.theirs).ainvoke(Command(resume="at last"), config(thread))
    assert result == expected


async def test_forks_stay_forks_and_the_newest_state_is_the_head(world):
    thread = str(uuid4())
    graph = build(world.theirs)
    await talked(world.theirs, thread, turns=1)
    history = [state async for state in graph.aget_state_history(config(thread))]
    await graph.aupdate_state(history[-3].config, {"log": ["another way"]})
    await graph.ainvoke(None, history[6].config)

    await world.bring()

    await world.assert_same(thread)
    theirs, ours = await graph.aget_state(config(thread)), await build(world.ours).aget_state(config(thread))
    assert (ours.values, ours.next) == (theirs.values, theirs.next)


async def test_a_thread_is_as_old_as_its_first_checkpoint_and_upper_case_ids_are_found(world):
    thread = str(uuid4()).upper()
    await talked(world.theirs, thread, turns=1)
    oldest = (await world.all_of(world.theirs, thread))[-1].checkpoint["ts"]

    await world.bring()

    shown = await world.threads.get(thread.lower())
    assert shown.created_at.isoformat() == oldest


async def test_a_dry_run_reads_everything_and_writes_nothing(world):
    await talked(world.theirs, "one")

    report = await world.bring(saver=Trial(Codec()), trial=True)

    assert (report.results, report.failed) == ({Result.IMPORTED: 1}, {})
    assert report.checkpoints > 20
    assert [await world.count(table) for table in ("threads", "outlast.checkpoints", "outlast.checkpoint_blobs")] == [
        0,
        0,
        0,
    ]


class Stopping:
    """A saver whose database goes away after some writes."""

    def __init__(self, saver: Any, *, after: int) -> None:
        self._saver = saver
        self._left = after

    def _count(self) -> None:
        self._left -= 1
        if self._left < 0:
            raise DatabaseUnavailable("gone")

    async def aput(self, *arguments: Any) -> Any:
        self._count()
        return await self._saver.aput(*arguments)

    async def aput_writes(self, *arguments: Any) -> None:
        self._count()
        await self._saver.aput_writes(*arguments)


@pytest.mark.parametrize("after", [0, 1, 2, 7, 20, 41])
async def test_an_import_that_was_stopped_anywhere_goes_on_there(world, after):
    thread = str(uuid4())
    await talked(world.theirs, thread)
    with pytest.raises(DatabaseUnavailable):
        await world.bring(saver=Stopping(world.ours, after=after))
    async with world.pool.connection() as connection:
        cursor = await connection.execute(b"SELECT quarantine_reason FROM threads")
        assert "its import has not ended" in (await cursor.fetchall())[0][0]

    again = await world.bring()
    assert again.results.keys() <= {Result.IMPORTED, Result.CONTINUED}
    assert again.failed == {}
    await world.assert_same(thread)
    assert (await world.bring()).results == {Result.UNCHANGED: 1}
    async with world.pool.connection() as connection:
        cursor = await connection.execute(b"SELECT quarantine_reason FROM threads")
        assert await cursor.fetchall() == [(None,)]


async def test_what_came_since_is_brought_by_the_next_import(world):
    thread = str(uuid4())
    await talked(world.theirs, thread, turns=1)
    await world.bring()
    await build(world.theirs).ainvoke(Command(resume="later"), config(thread))

    assert (await world.bring()).results == {Result.CONTINUED: 1}

    await world.assert_same(thread)


async def test_a_thread_that_has_gone_on_here_is_left_as_it_is(world):
    await talked(world.theirs, "one")
    await world.bring()
    await build(world.ours).ainvoke(Command(resume="here"), config("one"))
    before = await build(world.ours).aget_state(config("one"))

    assert (await world.bring()).results == {Result.MOVED_ON: 1}
    await build(world.theirs).ainvoke(Command(resume="there"), config("one"))
    report = await world.bring()

    assert "a state of its own" in report.failed["one"]
    assert await build(world.ours).aget_state(config("one")) == before


async def spoil(world: World, statement: str, *parameters: Any) -> None:
    async with await psycopg.AsyncConnection.connect(world.url, autocommit=True) as connection:
        await connection.execute(statement.encode(), parameters)


@pytest.mark.parametrize(
    ("kind", "data", "reason"),
    [
        ("pickle", pickle.dumps({"a": os.getpid}), "stored with pickle"),
        ("msgpack+aes", b"xxxx", "is encrypted"),
        ("msgpack", b"\xc1", "bytes are damaged"),
        ("yaml", b"", "unknown kind 'yaml'"),
    ],
    ids=["pickle", "encrypted", "damaged", "unknown"],
)
async def test_a_thread_that_cannot_be_read_is_named_and_left_out(world, kind, data, reason):
    await talked(world.theirs, "good", turns=1)
    await talked(world.theirs, "bad", turns=1)
    await spoil(
        world,
        "UPDATE checkpoint_blobs SET type = %s, blob = %s WHERE thread_id = 'bad' AND channel = 'things'",
        kind, data,
    )  # fmt: skip

    report = await world.bring()

    assert report.results == {Result.IMPORTED: 1}
    assert list(report.failed) == ["bad"]
    assert reason in report.failed["bad"]
    assert ", things" in report.failed["bad"]
    await world.assert_same("good")
    assert await world.all_of(world.ours, "bad") == []
    assert not await world.threads.exists("bad")


async def test_a_type_that_is_not_there_any_more_is_an_error_and_never_a_dict(world, monkeypatch):
    await talked(world.theirs, "one", turns=1)
    monkeypatch.delattr("langgraph_graphs.Person")

    report = await world.bring()

    assert "langgraph_graphs has no Person" in report.failed["one"]
    monkeypatch.undo()
    assert (await world.bring()).results == {Result.IMPORTED: 1}
    await world.assert_same("one")


async def test_a_database_that_holds_no_such_tables_is_refused(database_url):
    with pytest.raises(ConfigurationError, match="no tables of LangGraph's PostgresSaver"):
        async with LangGraphTables.open(database_url, schema="outlast", connections=1):
            pass
    with pytest.raises(ConfigurationError, match="cannot be parsed"):
        async with LangGraphTables.open("nonsense", schema="public", connections=1):
            pass


async def test_the_source_cannot_be_written(world):
    with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
        await world.source._rows(b"DELETE FROM checkpoints")
