"""Telling workers that somebody listens: runs that nobody follows do not encode and store what they do."""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final
from uuid import UUID

from outlast.queues.wakeup import WATCH, Wakeup
from outlast.storage.postgres.event_reader import EventReader
from outlast.streams.topics import Topic
from outlast.telemetry import emit

_LIFE_SECONDS: Final = 30.0
_RENEW_SECONDS: Final = 10.0


class Watcher:
    """Keeps the database told of the threads that are to be heard."""

    def __init__(
        self,
        reader: EventReader,
        wakeup: Wakeup,
        *,
        topics: Mapping[bytes, Topic],
        on_watch: Callable[[bytes], None],
    ) -> None:
        self._reader = reader
        self._wakeup = wakeup
        self._topics = topics
        self._on_watch = on_watch
        # By thread: the first listener's telling is everyone's.
        self._told: dict[bytes, asyncio.Task[None]] = {}

    async def watch(self, thread: bytes) -> None:
        """Return when runs of the thread that are claimed from now on will say what they do.

        Raises DatabaseUnavailable.
        """
        telling = self._told.get(thread)
        if telling is None or (telling.done() and (telling.cancelled() or telling.exception() is not None)):
            telling = self._told[thread] = asyncio.create_task(self._tell([thread]))
        await asyncio.shield(telling)

    async def run(self) -> None:
        """Renew until cancelled."""
        while True:
            await asyncio.sleep(_RENEW_SECONDS)
            watched = [thread for thread, topic in self._topics.items() if topic.watched]
            # Who comes back to another thread after this tells again.
            self._told = {thread: self._told[thread] for thread in watched if thread in self._told}
            try:
                if watched:
                    await self._tell(watched)
                await self._reader.forget_watches()
            # The next round comes before what was told lapses.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="watches", error=type(error).__name__)

    async def _tell(self, threads: list[bytes]) -> None:
        await self._reader.watch(threads, seconds=_LIFE_SECONDS)
        for thread in threads:
            self._on_watch(thread)
        self._wakeup.tell(WATCH, map(_key, threads))


def _key(thread: bytes) -> UUID:
    return UUID(bytes=thread)
