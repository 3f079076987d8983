"""Where what runs say meets who listens; one for each process.

A listener is a cursor in the line of its thread. What was said last is kept once for all listeners of a thread; who is
slower than that reads the database. No listener holds a connection while it waits.
"""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, Final
from uuid import UUID
from weakref import WeakValueDictionary

import orjson

from outlast.domain.run import ClaimedRun
from outlast.errors import DatabaseUnavailable
from outlast.queues.wakeup import EVENTS, SETTLED, WATCH, Wakeup
from outlast.settings import DatabaseSettings
from outlast.storage.postgres.event_log import EventLog
from outlast.storage.postgres.event_reader import EventReader
from outlast.storage.postgres.pool import Pool
from outlast.streams.catching_up import CatchUp
from outlast.streams.emitting import ThreadEmitter
from outlast.streams.following import Follower
from outlast.streams.records import STATE_UPDATE, Emitter, Record
from outlast.streams.topics import Topic
from outlast.streams.watching import Watcher
from outlast.telemetry import emit

_RING_BYTES: Final = 256 * 1024
_SMALLEST_RING_BYTES: Final = 16 * 1024
# Of all rings together, as long as none is below the smallest.
_RINGS_BYTES: Final = 24 * 1024 * 1024
_BIRTH_SECONDS: Final = 5.0
_FAST_SECONDS: Final = 0.03
# Runs that were settled before anybody knew to which thread they belong.
_REMEMBERED_RUNS: Final = 2048


class EventHub:
    """What the runs of this process say, and what listeners of this process hear."""

    def __init__(self, settings: DatabaseSettings, pool: Pool, wakeup: Wakeup) -> None:
        self.reader = EventReader(pool)
        self.closed = False
        self._wakeup = wakeup
        self._log = EventLog(settings, channel=wakeup.channel, sealing=pool.sealing)
        self._topics: dict[bytes, Topic] = {}
        self._runs: dict[UUID, bytes] = {}
        self._settled: dict[UUID, None] = {}
        self._emitters: WeakValueDictionary[bytes, ThreadEmitter] = WeakValueDictionary()
        self._catching_up = CatchUp(self.reader, self._topics)
        self._watcher = Watcher(self.reader, wakeup, topics=self._topics, on_watch=self._watched)
        self._looking: set[asyncio.Task[None]] = set()
        self._stopping = asyncio.Event()
        # What this process writes, its listeners have already.
        wakeup.ignore(EVENTS, lambda: self._log.backend_pid)

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["EventHub"]:
        """Write and read for the length of the block; listeners end with it."""
        unsubscribe = self._wakeup.subscribe(self._heard)
        tasks = [
            asyncio.create_task(self._log.run(), name="outlast-event-log"),
            asyncio.create_task(self._catching_up.run(), name="outlast-catching-up"),
            asyncio.create_task(self._watcher.run(), name="outlast-watches"),
        ]
        try:
            yield self
        finally:
            self.close()
            unsubscribe()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        """End every listener where it stands; runs go on saying things to other processes."""
        self.closed = True
        self._stopping.set()
        for topic in self._topics.values():
            topic.born.set()
            topic.wake()

    # who speaks

    def emitter(self, run: ClaimedRun) -> Emitter:
        """Return what a claimed run says things to. The first is said by itself: the run runs, on which attempt."""
        emitter = ThreadEmitter(run, self._log, self._said, self._stored)
        self._emitters[run.thread_key] = emitter
        topic = self._topics.get(run.thread_key)
        if topic is not None:
            # Only what the database had before this claim may come before it; a thread made for the run has nothing.
            hold = not (run.temporary and run.epoch == 1 and topic.born.is_set())
            topic.attach(emitter, hold=hold)
            if hold:
                self._catching_up.mark_ends(run.thread_key)
        options = run.options
        if topic is not None or run.watched or options.live or options.resumable or options.protocol == "v3":
            emitter.turn_on()
        return emitter

    async def state_updated(self, thread: bytes, data: Mapping[str, Any]) -> None:
        """Tell who follows the thread that its state was changed from outside of any run.

        No run of the thread may be unfinished. Raises DatabaseUnavailable.
        """
        await self.reader.add_outside(thread, STATE_UPDATE, orjson.dumps(data), channel=self._wakeup.channel)

    # who listens

    def follow_run(
        self,
        thread: bytes,
        run_id: UUID,
        *,
        after: int | None,
        fresh: bool = False,
        alone: bool = False,
        watch: bool = True,
    ) -> Follower:
        """Listen to one run from behind a position, `None` from now on; its end comes last, however long ago it was.

        `fresh`: it is known that the run had not ended a moment ago. `alone`: it is new and the only one that its
        thread will ever have. `watch`: false when it is sure to say what it does,
        whoever listens.
        """
        follower = self._follow(thread, run_id, after=after, fresh=fresh, watch=watch, alone=alone)
        self._spoke(self._topics[thread], run_id)
        return follower

    def follow_thread(self, thread: bytes, *, after: int | None) -> Follower:
        """Listen to all runs of a thread, which need not exist yet, from behind a position, `None` from now on."""
        return self._follow(thread, None, after=after, fresh=False, watch=True, alone=False)

    async def head(self, thread: bytes) -> int:
        """Return the last position of a thread: behind it lies what happens from now on."""
        stored = await self.reader.head(thread)
        emitter = self._emitters.get(thread)
        return stored if emitter is None else max(stored, emitter.last)

    @property
    def gauges(self) -> Mapping[str, int]:
        """What listening takes: listeners, threads, bytes kept, connections borrowed at this moment."""
        topics = self._topics.values()
        return {
            "followers": sum(len(topic.followers) for topic in topics),
            "threads": len(topics),
            "ring_bytes": sum(topic.ring.bytes for topic in topics),
            "connections": self.reader.borrowed,
        }

    # for followers

    async def begin(self, topic: Topic, *, watch: bool) -> None:
        """Return when the topic knows where its thread stands and, to watch, when runs from now on are to be heard."""
        if watch:
            topic.watched = True
            await self._watcher.watch(topic.thread)
        try:
            async with asyncio.timeout(_BIRTH_SECONDS):
                await topic.born.wait()
        except TimeoutError as error:
            msg = "PostgreSQL does not say where the thread stands; try again"
            raise DatabaseUnavailable(msg) from error

    def leave(self, topic: Topic, follower: Follower) -> None:
        """Forget a follower, and the topic with its last one."""
        topic.followers.discard(follower)
        if not topic.followers and self._topics.get(topic.thread) is topic:
            del self._topics[topic.thread]
            for run_id in topic.runs:
                self._runs.pop(run_id, None)

    def catch_up(self, thread: bytes) -> None:
        """Look soon for what happened on a thread."""
        self._catching_up.mark_ends(thread)

    async def pause(self, seconds: float) -> None:
        """Wait, unless the hub is closed."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    # inside

    def _follow(
        self, thread: bytes, run_id: UUID | None, *, after: int | None, fresh: bool, watch: bool, alone: bool
    ) -> Follower:
        topic = self._topics.get(thread) or self._new_topic(thread, alone=alone)
        follower = Follower(self, topic, run_id=run_id, after=after, fresh=fresh, watch=watch)
        topic.followers.add(follower)
        return follower

    def _new_topic(self, thread: bytes, *, alone: bool) -> Topic:
        topic = self._topics[thread] = Topic(thread, on_run=self._spoke, ring_bytes=self._ring_bytes)
        emitter = self._emitters.get(thread)
        if emitter is not None:
            topic.attach(emitter)
            emitter.turn_on()
        if alone and emitter is None:
            topic.born_empty()
            # A very fast worker may have written before anybody listened; that is not worth the time of all others.
            asyncio.get_running_loop().call_later(_FAST_SECONDS, self._catching_up.mark, thread)
        else:
            self._catching_up.mark(thread)
        if self.closed:
            # Nobody waits for what does not come any more.
            topic.born.set()
        return topic

    def _ring_bytes(self) -> int:
        return max(_SMALLEST_RING_BYTES, min(_RING_BYTES, _RINGS_BYTES // max(1, len(self._topics))))

    def _said(self, emitter: ThreadEmitter, record: Record) -> None:
        topic = self._topics.get(record.thread)
        if topic is not None and self._emitters.get(record.thread) is emitter:
            topic.said(record)

    def _stored(self, emitter: ThreadEmitter) -> None:
        topic = self._topics.get(emitter.thread)
        if topic is not None:
            topic.trim()

    def _spoke(self, topic: Topic, run_id: UUID) -> None:
        """Note whose run it is; it may have been settled before its first record was read."""
        self._runs[run_id] = topic.thread
        topic.runs.add(run_id)
        if run_id in self._settled:
            self._catching_up.mark_ends(topic.thread)

    def _heard(self, hint: str, ids: list[UUID]) -> None:
        if hint == WATCH:
            self._heard_watch(ids)
        elif hint in {EVENTS, SETTLED} and not ids:
            self._catching_up.mark_all()
        elif hint == EVENTS:
            for key in ids:
                if key.bytes in self._topics:
                    self._catching_up.mark(key.bytes)
        elif hint == SETTLED:
            self._heard_settled(ids)

    def _heard_settled(self, runs: list[UUID]) -> None:
        for run_id in runs:
            self._settled[run_id] = None
            if (thread := self._runs.get(run_id)) is not None:
                self._catching_up.mark_ends(thread)
        while len(self._settled) > _REMEMBERED_RUNS:
            del self._settled[next(iter(self._settled))]

    def _heard_watch(self, keys: list[UUID]) -> None:
        for key in keys:
            self._watched(key.bytes)
        unheard = [thread for thread, emitter in self._emitters.items() if not emitter.wanted]
        if not keys and unheard:
            # The hint names nobody: too many are followed, or hints were lost.
            task = asyncio.create_task(self._look_for_watches(unheard))
            self._looking.add(task)
            task.add_done_callback(self._looking.discard)

    async def _look_for_watches(self, threads: list[bytes]) -> None:
        try:
            for thread in await self.reader.watched(threads):
                self._watched(thread)
        except DatabaseUnavailable as error:
            emit("loop.failed", loop="watches", error=type(error).__name__)

    def _watched(self, thread: bytes) -> None:
        emitter = self._emitters.get(thread)
        if emitter is not None:
            emitter.turn_on()
