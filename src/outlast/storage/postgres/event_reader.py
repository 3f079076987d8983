"""The reading side of streams: short statements on pooled connections, for one listener or for all of a process."""

from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson

from outlast.domain.acting import across_tenants
from outlast.domain.options import RunOptions
from outlast.domain.positions import base_of, moment_of
from outlast.domain.records import Record, RunEnd
from outlast.domain.run import RunStatus
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries
from outlast.storage.postgres.run_sealing import opened_end
from outlast.storage.postgres.sealed_columns import EVENT
from outlast.storage.postgres.together import Alone

_SQL = Queries("events")
_PAGE_RECORDS: Final = 256
_PAGE_BYTES: Final = 1 << 20
_MOST_ENDS: Final = 256
#: Modes of a stream in which checkpoints are told.
CHECKPOINT_MODES: Final = frozenset({"checkpoints", "debug"})
#: A settlement is seen later than the end that it gives; by this much at most, unless its run is asked for by name.
SLACK_SECONDS: Final = 5.0


class Birth(NamedTuple):
    """Where following a thread begins."""

    head: int
    born_at: datetime
    ended: frozenset[UUID]


@dataclass(frozen=True, slots=True)
class Ended:
    """A run's end. `placed` says whether its position has a meaning: a run that never began has none in the line."""

    end: RunEnd
    ended_at: datetime | None
    placed: bool


@dataclass(frozen=True, slots=True)
class News:
    """What happened on one thread: ends, and the records behind a position; `more` when there are others."""

    records: Sequence[Record] = ()
    ends: Sequence[Ended] = ()
    more: bool = False


class EventReader:
    """Reads what `EventLog` wrote, and the ends of runs from their rows."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        #: Connections that are borrowed at this moment.
        self.borrowed = 0

    @asynccontextmanager
    async def _connection(self) -> AsyncGenerator[Alone]:
        async with self._pool.connection() as connection:
            self.borrowed += 1
            try:
                yield connection
            finally:
                self.borrowed -= 1

    @asynccontextmanager
    async def _of_all_tenants(self) -> AsyncGenerator[Alone]:
        # One look serves followers of all tenants: whose thread it is was asked when they began to follow.
        with across_tenants():
            async with self._connection() as connection:
                yield connection

    async def births(self, threads: Sequence[bytes]) -> dict[bytes, Birth]:
        """Return where following each of the threads begins; also for one that does not exist yet."""
        parameters = {"threads": _uuids(threads), "slack": SLACK_SECONDS}
        async with self._of_all_tenants() as connection:
            rows = await _rows(connection, _SQL.births, parameters)
        return {row[0].bytes: Birth(head=row[1], born_at=row[2], ended=frozenset(row[3])) for row in rows}

    async def news(
        self, cursors: Mapping[bytes, int], since: Mapping[bytes, datetime], runs: Sequence[UUID]
    ) -> tuple[dict[bytes, News], dict[UUID, Ended]]:
        """Return records behind a position on each of the threads, ends since a time on some, which of the runs ended.

        Whatever has ended in this answer said nothing that is not in it, or in a later page of it.
        """
        wanted = _record_parameters(cursors, [None] * len(cursors))
        if not since and not runs:
            return _by_thread(cursors, _records(await self._said(_SQL.records, wanted)), []), {}
        rows = await self._said(_SQL.news, {**wanted, **_end_parameters(since), "asked": list(runs)})
        said, ended, asked = _split(rows)
        return _by_thread(cursors, said, ended), {item.end.run_id: item for item in asked}

    async def page(self, thread: bytes, after: int, *, run_id: UUID | None = None) -> News:
        """Return what is kept behind a position, of one run or of the whole thread with its ends."""
        wanted = _record_parameters({thread: after}, [run_id])
        if run_id is not None:
            return _news(_records(await self._said(_SQL.records, wanted)), [])
        ends = _end_parameters({thread: moment_of(after)})
        rows = await self._said(_SQL.news, {**wanted, **ends, "asked": []})
        said, ended, _ = _split(rows)
        return _news(said, [item for item in ended if not item.placed or item.end.pos > after])

    async def head(self, thread: bytes) -> int:
        """Return the last position of a thread; 0 when it has none."""
        return (await self.births([thread]))[thread].head

    async def checkpoint(self, thread: bytes, run_id: UUID, checkpoint_id: str) -> int:
        """Return the position at which a run streamed one of its checkpoints; 0 when it did not."""
        parameters = {"thread_key": UUID(bytes=thread), "run_id": run_id, "checkpoint_id": checkpoint_id}
        if self._pool.sealing.on:
            return await self._sealed_checkpoint(thread, run_id, checkpoint_id)
        async with self._of_all_tenants() as connection:
            rows = await _rows(connection, _SQL.checkpoint_record, parameters)
        return rows[0][0] if rows else 0

    async def _sealed_checkpoint(self, thread: bytes, run_id: UUID, checkpoint_id: str) -> int:
        """Look through what was said, which the database cannot do where it is encrypted."""
        after = 0
        while True:
            page = await self.page(thread, after, run_id=run_id)
            for record in page.records:
                if record.mode in CHECKPOINT_MODES and _checkpoint_of(record.data) == checkpoint_id:
                    return record.pos
            if not page.more:
                return 0
            after = page.records[-1].pos

    async def _said(self, statement: bytes, parameters: dict[str, Any]) -> list[Any]:
        async with self._of_all_tenants() as connection:
            rows = await _rows(connection, statement, parameters)
        sealing = self._pool.sealing
        return [await opened_end(sealing, row) for row in rows] if sealing.on else rows

    async def watch(self, threads: Iterable[bytes], *, seconds: float) -> None:
        """Let the runs of these threads say what they do, for some seconds from now."""
        # Sorted, so that two processes lock the rows in one order.
        parameters = {"threads": _uuids(sorted(threads)), "seconds": seconds}
        async with self._of_all_tenants() as connection:
            await connection.execute(_SQL.watch, parameters)

    async def watched(self, threads: Sequence[bytes]) -> list[bytes]:
        """Return which of the threads are followed by anybody."""
        async with self._of_all_tenants() as connection:
            rows = await _rows(connection, _SQL.watched, {"threads": _uuids(threads)})
        return [row[0].bytes for row in rows]

    async def forget_watches(self) -> None:
        """Delete what nobody renewed."""
        async with self._of_all_tenants() as connection:
            await connection.execute(_SQL.forget_watches)

    async def add_outside(self, thread: bytes, mode: str, data: bytes, *, channel: str) -> None:
        """Store something that was not said by a run, if anybody follows the thread. No run of it may be unfinished."""
        sealed = await self._pool.sealing.seal(EVENT, data, thread, "outside", mode)
        parameters = {"thread_key": UUID(bytes=thread), "mode": mode, "data": sealed, "channel": channel}
        async with self._connection() as connection:
            await connection.execute(_SQL.add_outside, parameters)


def _checkpoint_of(data: bytes) -> str | None:
    said: dict[str, Any] = orjson.loads(data)
    payload: dict[str, Any] = said.get("payload") or {}
    config: dict[str, Any] = said.get("config") or payload.get("config") or {}
    configurable: dict[str, Any] = config.get("configurable") or {}
    return configurable.get("checkpoint_id")


async def _rows(connection: Alone, statement: bytes, parameters: dict[str, Any]) -> list[Any]:
    cursor = await connection.execute(statement, parameters)
    return await cursor.fetchall()


def _uuids(threads: Iterable[bytes]) -> list[UUID]:
    return [UUID(bytes=thread) for thread in threads]


def _record_parameters(cursors: Mapping[bytes, int], runs: Sequence[UUID | None]) -> dict[str, Any]:
    return {
        "threads": _uuids(cursors),
        "after": list(cursors.values()),
        "runs": list(runs),
        "limit": _PAGE_RECORDS,
        "bytes": _PAGE_BYTES,
    }


def _end_parameters(since: Mapping[bytes, datetime]) -> dict[str, Any]:
    return {"ended_threads": _uuids(since), "since": list(since.values()), "most_ends": _MOST_ENDS}


def _records(rows: Iterable[tuple[Any, ...]]) -> list[Record]:
    return [Record(thread.bytes, pos, run_id, mode, ns, data) for thread, run_id, pos, mode, ns, data, *_ in rows]


def _split(rows: list[tuple[Any, ...]]) -> tuple[list[Record], list[Ended], list[Ended]]:
    """Return records, in order, the ends of threads, and those of runs that were asked for."""
    said = sorted(_records(row for row in rows if row[2] is not None), key=lambda record: record.pos)
    ended = [(row[15], _ended(row)) for row in rows if row[2] is None]
    return said, [item for asked, item in ended if not asked], [item for asked, item in ended if asked]


def _by_thread(threads: Iterable[bytes], said: list[Record], ended: list[Ended]) -> dict[bytes, News]:
    grouped: dict[bytes, tuple[list[Record], list[Ended]]] = {}
    for record in said:
        grouped.setdefault(record.thread, ([], []))[0].append(record)
    for item in ended:
        grouped.setdefault(item.end.thread, ([], []))[1].append(item)
    return {thread: _news(*grouped[thread]) for thread in threads if thread in grouped}


def _news(records: list[Record], ends: list[Ended]) -> News:
    size = sum(len(record.data) for record in records)
    return News(records, ends, more=len(records) >= _PAGE_RECORDS or size >= _PAGE_BYTES)


def _ended(row: tuple[Any, ...]) -> Ended:
    thread, run_id, *_ = row
    status, agent, claimed_at, ended_at, last_pos, code, message, interrupts, options = row[6:15]
    if status is None:
        gone = RunEnd(thread=b"", pos=0, run_id=run_id, status=RunStatus.CANCELLED, deleted=True)
        return Ended(gone, ended_at=None, placed=False)
    asks = status in {RunStatus.INTERRUPTED, RunStatus.WAITING}
    questions = [question for question in interrupts or () if question.get("id")] if asks else []
    pos = _position(claimed_at, ended_at, last_pos, len(questions))
    end = RunEnd(
        thread=thread.bytes,
        pos=pos,
        run_id=run_id,
        status=RunStatus(status),
        error_code=code,
        error_message=message,
        interrupts=questions,
        graph_id=agent,
        protocol=RunOptions.of_json(options).protocol,
    )
    return Ended(end, ended_at=ended_at, placed=pos > 0)


def _position(claimed_at: datetime | None, ended_at: datetime | None, last_pos: int | None, questions: int) -> int:
    """Return the last position of an end; 0 for a run that never began, beside which another one may be running."""
    if claimed_at is None:
        return 0
    if last_pos is not None and (ended_at is None or last_pos >= base_of(claimed_at, after=0)):
        return last_pos + 1 + questions
    if ended_at is None:
        return 0
    # The last claim kept nothing, or its owner died before it could say where it stood.
    return base_of(ended_at, after=(last_pos or 0) + questions)
