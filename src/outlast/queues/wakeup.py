"""Notifications between processes, as hints.

What gathers between two turns goes out together (see `pace`). The listener has a connection of its own; each time it
has to connect again it wakes everyone, since what was sent meanwhile is lost.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, sql

from outlast.settings import DatabaseSettings
from outlast.storage.postgres.pace import MOST_IDS, Pace
from outlast.storage.postgres.pool import connect
from outlast.telemetry import emit

QUEUED = "queued"
SETTLED = "settled"
CANCEL = "cancel"
#: Of threads, by key: there are records that were not there before; somebody follows.
EVENTS = "events"
WATCH = "watch"
#: Something was switched off or on.
SWITCHED = "switched"
TOPICS = (QUEUED, SETTLED, CANCEL, EVENTS, WATCH, SWITCHED)

Handler = Callable[[str, list[UUID]], None]


class Wakeup:
    """One process's notifications: `tell` others, `subscribe` to what others tell."""

    def __init__(self, settings: DatabaseSettings) -> None:
        self._settings = settings
        self._pending: dict[str, set[UUID]] = {}
        self._dirty = asyncio.Event()
        # For handlers of this process: they need not wait for the way through the server.
        self._local: dict[str, set[UUID]] = {}
        self._sender_pid: int | None = None
        self._handlers: list[Handler] = []
        self._ignored: dict[str, Callable[[], int | None]] = {}
        self._tasks: list[asyncio.Task[None]] = []
        # None while hints of other processes are heard.
        self._deaf_since: float | None = time.monotonic()

    @asynccontextmanager
    async def running(self) -> AsyncGenerator["Wakeup"]:
        """Send and listen for the length of the block."""
        self._tasks = [
            asyncio.create_task(self._forever(self._send), name="outlast-notify"),
            asyncio.create_task(self._forever(self._listen), name="outlast-listen"),
        ]
        try:
            yield self
        finally:
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def tell(self, topic: str, ids: Iterable[UUID] = ()) -> None:
        """Hint at something; other processes hear it, soon and at least once, or never; this one at its next turn."""
        told = list(ids)
        self._pending.setdefault(topic, set()).update(told)
        self._dirty.set()
        if not self._local:
            asyncio.get_running_loop().call_soon(self._call_local)
        self._local.setdefault(topic, set()).update(told)

    def subscribe(self, handler: Handler) -> Callable[[], None]:
        """Call `handler(topic, ids)` on every hint; an empty list of ids means that any may be concerned."""
        self._handlers.append(handler)
        return lambda: self._handlers.remove(handler)

    def ignore(self, topic: str, backend_pid: Callable[[], int | None]) -> None:
        """Do not hear hints of a topic that this server process sends: they say what is known here."""
        self._ignored[topic] = backend_pid

    @property
    def deaf_seconds(self) -> float:
        """For how long hints of other processes have not been heard; 0 while they are."""
        return 0.0 if self._deaf_since is None else time.monotonic() - self._deaf_since

    @property
    def channel(self) -> str:
        """The name under which the processes of one schema tell each other."""
        return f"{self._settings.schema_name}_hints"

    async def _forever(self, round_: Callable[[AsyncConnection[Any]], Any]) -> None:
        delay = 0.1
        while True:
            try:
                async with await connect(self._settings, application_name="outlast-hints") as connection:
                    delay = 0.1
                    await round_(connection)
            # A hint that nobody can read, a handler that fails: the loop must outlive them.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="hints", error=type(error).__name__)
                await asyncio.sleep(delay)
                delay = min(delay * 2, 2.0)

    async def _send(self, connection: AsyncConnection[Any]) -> None:
        self._sender_pid = connection.info.backend_pid
        pace = Pace()
        while True:
            await self._dirty.wait()
            await pace.turn()
            self._dirty.clear()
            pending, self._pending = self._pending, {}
            for topic, ids in pending.items():
                listed = ",".join(run_id.hex for run_id in ids) if len(ids) <= MOST_IDS else ""
                await connection.execute("SELECT pg_notify(%s, %s)", [self.channel, f"{topic}:{listed}"])

    async def _listen(self, connection: AsyncConnection[Any]) -> None:
        await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(self.channel)))
        self._deaf_since = None
        try:
            await self._hear(connection)
        finally:
            self._deaf_since = time.monotonic()

    async def _hear(self, connection: AsyncConnection[Any]) -> None:
        for topic in TOPICS:
            self._call(topic, [])
        async for notification in connection.notifies():
            topic, _, listed = notification.payload.partition(":")
            if notification.pid == self._sender_pid:
                # Heard already.
                continue
            if topic in self._ignored and self._ignored[topic]() == notification.pid:
                continue
            self._call(topic, [UUID(hex=text) for text in listed.split(",") if text])

    def _call_local(self) -> None:
        local, self._local = self._local, {}
        for topic, ids in local.items():
            try:
                self._call(topic, list(ids) if len(ids) <= MOST_IDS else [])
            # A handler that fails is heard of, and must not keep the others from hearing.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="hints", error=type(error).__name__)

    def _call(self, topic: str, ids: list[UUID]) -> None:
        for handler in list(self._handlers):
            handler(topic, ids)
