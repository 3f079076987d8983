"""One task that reads for everybody: what other processes' runs said, and which runs ended.

Hints say where to look; a look at everything once a second finds what a lost hint would have told.
"""

import asyncio
from collections.abc import Mapping
from typing import Final
from uuid import UUID

from outlast.errors import DatabaseUnavailable
from outlast.storage.postgres.event_reader import EventReader
from outlast.streams.topics import Topic
from outlast.telemetry import emit

_POLL_SECONDS: Final = 1.0


class CatchUp:
    """Brings topics up to date. `mark` says that there may be records, `mark_ends` that runs may have ended."""

    def __init__(self, reader: EventReader, topics: Mapping[bytes, Topic]) -> None:
        self._reader = reader
        self._topics = topics
        #: By thread, whether ends are to be looked for, too.
        self._marked: dict[bytes, bool] = {}
        self._dirty = asyncio.Event()

    def mark(self, thread: bytes) -> None:
        """Look for records of this thread soon."""
        self._marked.setdefault(thread, False)
        self._dirty.set()

    def mark_ends(self, thread: bytes) -> None:
        """Look for records and for ends of runs of this thread soon."""
        self._marked[thread] = True
        self._dirty.set()

    def mark_all(self) -> None:
        """Look at all of the followed threads soon."""
        for thread in self._topics:
            self.mark_ends(thread)

    async def run(self) -> None:
        """Read until cancelled."""
        delay = 0.1
        while True:
            await self._wait()
            marked, self._marked = self._marked, {}
            self._dirty.clear()
            try:
                await self._round(
                    {self._topics[thread]: ends for thread, ends in marked.items() if thread in self._topics}
                )
                delay = 0.1
            # Whatever one round meets, listeners wait for the next one.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="streams", error=type(error).__name__)
                for thread, ends in marked.items():
                    self._marked[thread] = ends or self._marked.get(thread, False)
                self._dirty.set()
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0) if isinstance(error, DatabaseUnavailable) else 2.0

    async def _wait(self) -> None:
        try:
            async with asyncio.timeout(_POLL_SECONDS):
                await self._dirty.wait()
        except TimeoutError:
            self.mark_all()
            await self._dirty.wait()

    async def _round(self, topics: Mapping[Topic, bool]) -> None:
        unborn = [topic for topic in topics if not topic.born.is_set()]
        if unborn:
            holds = {topic.thread: topic.holds for topic in unborn}
            births = await self._reader.births(list(holds))
            for topic in unborn:
                topic.birth(births[topic.thread], holds[topic.thread])
        known = {topic: ends for topic, ends in topics.items() if topic not in unborn}
        if known:
            await self._read(known)

    async def _read(self, topics: Mapping[Topic, bool]) -> None:
        holds = {topic.thread: topic.holds for topic in topics}
        asked: dict[bytes, set[UUID]] = {topic.thread: topic.asked if ends else set() for topic, ends in topics.items()}
        cursors = {topic.thread: topic.cursor for topic in topics}
        since = {topic.thread: topic.ends_since for topic, ends in topics.items() if ends}
        news, ended = await self._reader.news(cursors, since, [run_id for runs in asked.values() for run_id in runs])
        for topic in topics:
            ends = {run_id: ended[run_id] for run_id in asked[topic.thread] if run_id in ended}
            found = news.get(topic.thread)
            if not topics[topic] and topic.needs_ends(found):
                self.mark_ends(topic.thread)
                continue
            topic.arrived(found, ends, holds[topic.thread])
            if found is not None and found.more:
                self._marked[topic.thread] = topics[topic] or self._marked.get(topic.thread, False)
                self._dirty.set()
