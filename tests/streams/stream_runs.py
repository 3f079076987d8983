"""Runs that say things, without graphs; and what listeners have heard."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from outlast.agents.checkpoints import erasing
from outlast.domain.options import RunOptions
from outlast.domain.outcome import Outcome, Succeeded, settle
from outlast.domain.records import RUN, Item, Record, RunEnd
from outlast.domain.run import ClaimedRun, NewRun
from outlast.queues.queue import RunQueue
from outlast.queues.wakeup import Wakeup
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.runs import RunStore
from outlast.streams.following import Follower
from outlast.streams.hub import EventHub

LIVE = RunOptions(protocol="v1", live=True)
WAIT_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Process:
    """What one process has: a hub, a queue, connections of its own."""

    pool: Pool
    wakeup: Wakeup
    queue: RunQueue
    hub: EventHub

    async def start(self, thread_id: str, options: RunOptions = LIVE, **given: Any) -> UUID:
        """Store a run."""
        run = NewRun(
            id=uuid4(), thread_id=thread_id, agent="a", input={}, config={}, metadata={}, options=options, **given
        )  # fmt: skip
        return await self.queue.enqueue(run)

    async def claim(self) -> ClaimedRun:
        """Own the run that is due."""
        worker_id = uuid4()
        async with self.pool.connection() as connection:
            await connection.execute(
                "INSERT INTO workers (id, host, pid, concurrency, agents) VALUES (%s, 'here', 1, 8, '{a}')", [worker_id]
            )
        (claimed,) = await self.queue.claim(worker_id, ("a",), limit=1, max_crashes=3)
        return claimed

    async def begin(self, thread_id: str, options: RunOptions = LIVE) -> "Speaker":
        """Store a run and own it."""
        await self.start(thread_id, options)
        return self.speaker(await self.claim())

    def speaker(self, run: ClaimedRun) -> "Speaker":
        return Speaker(self, run, self.hub.emitter(run))

    async def rows(self, statement: str, *parameters: Any) -> list[tuple[Any, ...]]:
        async with self.pool.unscoped() as connection:
            cursor = await connection.execute(statement.encode(), parameters)
            return await cursor.fetchall()


@dataclass(slots=True)
class Speaker:
    """A claimed run that says numbers."""

    process: Process
    run: ClaimedRun
    emitter: Any
    said: int = 0

    def say(self, count: int = 1, *, size: int = 0) -> list[int]:
        numbers = list(range(self.said, self.said + count))
        for number in numbers:
            self.emitter.emit("custom", "", b"%d" % number + b" " * size)
        self.said += count
        return numbers

    async def end(self, outcome: Outcome | None = None) -> None:
        last_pos = await self.emitter.flush()
        settlement = settle(
            outcome or Succeeded(output=None), errors=0, max_attempts=1, backoff=timedelta(0), protocol="v1",
            last_pos=last_pos,
        )  # fmt: skip
        await self.process.queue.settle(self.run, settlement)


OpenProcess = Callable[..., AbstractAsyncContextManager[Process]]


async def opened(database: DatabaseSettings, *, deaf: bool = False) -> AsyncIterator[Process]:
    """Open what a process has; a deaf one hears no hints."""
    pool = Pool(database, application_name="test-streams")
    await pool.open()
    wakeup = Wakeup(database)
    queue = RunQueue(RunStore(pool, erase=erasing.delete_runs_in), wakeup)
    try:
        if deaf:
            async with EventHub(database, pool, wakeup).running() as hub:
                yield Process(pool, wakeup, queue, hub)
        else:
            async with wakeup.running(), EventHub(database, pool, wakeup).running() as hub:
                yield Process(pool, wakeup, queue, hub)
    finally:
        await pool.close()


def numbers(items: list[Item]) -> list[int]:
    """What was said, without what a claim says first and without ends."""
    return [int(item.data) for item in items if isinstance(item, Record) and item.mode != RUN]


def ends(items: list[Item]) -> list[RunEnd]:
    return [item for item in items if isinstance(item, RunEnd)]


async def heard(follower: Follower, until: Callable[[list[Item]], object] | None = None) -> list[Item]:
    """Listen until the stream ends or enough was heard."""
    items: list[Item] = []
    async with asyncio.timeout(WAIT_SECONDS):
        async for item in follower:
            items.append(item)
            if until is not None and until(items):
                break
    await follower.aclose()
    positions = [item.pos for item in items if isinstance(item, Record)]
    assert positions == sorted(set(positions)), "each once, in order"
    return items


def said(count: int) -> Callable[[list[Item]], bool]:
    return lambda items: len(numbers(items)) >= count


def ended(count: int = 1) -> Callable[[list[Item]], bool]:
    return lambda items: len(ends(items)) >= count


def key(thread_id: str) -> bytes:
    return thread_key(thread_id)
