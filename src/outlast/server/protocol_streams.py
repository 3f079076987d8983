"""Who follows which thread by the thread-centred protocol in this process, and what each of them is shown.

A client follows a thread by several streams at once: the content that it asked for, and beside it, by itself, how the
run goes. Three rules keep them together:

- A stream that names no position begins with the latest run of the thread, since a run may begin before its stream is
  open. But not with a run whose end has been seen by everybody: once the last stream of a thread is closed behind an
  end, a new stream begins there (the floor). A question stays open, so its run is shown again.
- On a stream that only watches how a run goes, a question is held back until the content that came before it has been
  sent: the SDK ends all its projections when it sees one. Not for long, since nobody may be reading: for 2 s while
  there is a stream of content that is behind, for 250 ms where there is none (it may be about to open).
- A stream never ends in order: a client would take that for the end of the run. It is cut, and the client comes back.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from starlette.requests import HTTPConnection

from outlast.domain.positions import moment_of
from outlast.domain.records import Item, RunEnd
from outlast.domain.run import RunStatus
from outlast.errors import DatabaseUnavailable
from outlast.runtime import Runtime
from outlast.server.protocol_frames import Event, Subscription
from outlast.server.protocol_line import Line
from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.protocol import ProtocolStore
from outlast.streams.following import Follower

_HOLD_SECONDS: Final = 0.25
# An overloaded server sends late.
_BEHIND_SECONDS: Final = 2.0
# What the client needs to decode what it has.
_DECODE_SECONDS: Final = 0.02
_REMEMBERED_FLOORS: Final = 10_000
_ASKS: Final = frozenset({RunStatus.INTERRUPTED, RunStatus.WAITING})


@dataclass(slots=True, eq=False)
class _Thread:
    """A thread that is followed here."""

    open: int = 0
    #: The highest end that a stream has shown.
    shown_end: int = 0
    #: For each stream of content, up to where it has been sent.
    content: dict[object, int] = field(default_factory=dict[object, int])
    moved: asyncio.Event = field(default_factory=asyncio.Event)

    def sent(self, stream: object, pos: int) -> None:
        self.content[stream] = pos
        self._move()

    def left(self, stream: object) -> None:
        self.content.pop(stream, None)
        self._move()

    async def shown(self, pos: int) -> None:
        """Wait until the streams of content have been sent up to a position, but not for long."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_HOLD_SECONDS):
                while not self.content:
                    await self.moved.wait()
        with suppress(TimeoutError):
            async with asyncio.timeout(_BEHIND_SECONDS):
                while self.content and min(self.content.values()) < pos:
                    await self.moved.wait()
        await asyncio.sleep(_DECODE_SECONDS)

    def _move(self) -> None:
        moved, self.moved = self.moved, asyncio.Event()
        moved.set()


class ProtocolStreams:
    """The streams of one process."""

    def __init__(self, runtime: Runtime) -> None:
        self.store = ProtocolStore(runtime.pool)
        self._hub = runtime.hub
        self._kept = runtime.settings.retention.events
        self._threads: dict[bytes, _Thread] = {}
        self._floors: OrderedDict[bytes, int] = OrderedDict()
        self._notes: set[asyncio.Task[None]] = set()

    async def open(
        self, thread_id: str, subscription: Subscription, since: int | None
    ) -> AsyncGenerator[Sequence[Event], None]:
        """Follow a thread, which need not exist yet; yields what is wanted, and ends when the server stops.

        Everything from here on is seen. Raises DatabaseUnavailable.
        """
        key = thread_key(thread_id)
        first: list[RunEnd] = []
        if since is None:
            since, first = await self._start(key)
        follower = self._hub.follow_thread(key, after=since)
        try:
            await follower.ready()
        # Also when the client leaves meanwhile: it listens from the moment that it is made.
        except BaseException:
            await follower.aclose()
            raise
        return self._events(key, follower, subscription, since, first)

    async def lost(self, thread_id: str, since: int | None) -> str | None:
        """Return what to tell a client that was away for longer than events are kept; None when nothing is lost."""
        if not since or moment_of(since) > datetime.now(UTC) - self._kept:
            return None
        if await self._hub.head(thread_key(thread_id)) <= since:
            return None
        return f"events behind {since} may be gone; they are kept for {self._kept}"

    async def head(self, thread_id: str) -> int:
        """Return the position behind which what happens from now on lies."""
        return await self._hub.head(thread_key(thread_id))

    async def _start(self, key: bytes) -> tuple[int, list[RunEnd]]:
        """Return the position to begin behind, and an end that the line of the thread does not hold any more."""
        # Before the rest: what is said between the two belongs to a run that is to be shown.
        head = await self._hub.head(key)
        standing = await self.store.standing(key)
        floor = max(standing.floor, self._floors.get(key, 0))
        asks = standing.status in _ASKS
        if standing.run_id is None or (standing.past and not asks):
            return max(floor, head), []
        if standing.first_pos is not None:
            return max(floor, standing.first_pos - 1), []
        # It said nothing, or nothing is kept of it but its row.
        _, ended = await self._hub.reader.news({}, {}, [standing.run_id])
        if standing.run_id not in ended:
            return max(floor, head), []
        end = ended[standing.run_id].end
        return max(floor, end.pos), [end] if end.pos > floor else []

    async def _events(
        self, key: bytes, follower: Follower, subscription: Subscription, since: int, first: Sequence[Item]
    ) -> AsyncGenerator[Sequence[Event], None]:
        thread = self._threads.setdefault(key, _Thread())
        thread.open += 1
        stream, line = object(), Line()
        if not subscription.only_watches:
            thread.sent(stream, since)
        try:
            if first:
                yield [event for item in first for event in line.events(item) if subscription.wants(event)]
                thread.shown_end = max(thread.shown_end, _last_end(first))
            async for items in follower.batches():
                async for events in self._shown(thread, line, subscription, items, since):
                    yield events
                if not subscription.only_watches:
                    thread.sent(stream, items[-1].pos)
                if "lifecycle" in subscription.channels:
                    thread.shown_end = max(thread.shown_end, _last_end(items))
        finally:
            thread.left(stream)
            thread.open -= 1
            if not thread.open:
                self._all_gone(key, thread)
            await follower.aclose()

    async def _shown(
        self, thread: _Thread, line: Line, subscription: Subscription, items: Sequence[Item], since: int
    ) -> AsyncGenerator[Sequence[Event], None]:
        gathered: list[Event] = []
        for item in items:
            # A client may have been cut off between two events of one end.
            events = [event for event in line.events(item) if event.seq > since and subscription.wants(event)]
            if subscription.only_watches and any(event.method == "input.requested" for event in events):
                if gathered:
                    yield gathered
                    gathered = []
                await thread.shown(events[0].seq)
            gathered += events
        if gathered:
            yield gathered

    def _all_gone(self, key: bytes, thread: _Thread) -> None:
        self._threads.pop(key, None)
        if thread.shown_end <= self._floors.get(key, 0):
            return
        self._floors[key] = thread.shown_end
        self._floors.move_to_end(key)
        if len(self._floors) > _REMEMBERED_FLOORS:
            self._floors.popitem(last=False)
        if not self._hub.closed:
            # Beside it: nobody waits for this, and the next client may come to another process.
            task = asyncio.create_task(self._note(key, thread.shown_end))
            self._notes.add(task)
            task.add_done_callback(self._notes.discard)

    async def _note(self, key: bytes, floor: int) -> None:
        # Not noted, a client at another process may be shown an end that was seen.
        with suppress(DatabaseUnavailable):
            await self.store.raise_floor(key, floor)


def streams_of(connection: HTTPConnection) -> ProtocolStreams:
    """Return the streams of the process that serves this connection."""
    state = connection.app.state
    if getattr(state, "protocol_streams", None) is None:
        state.protocol_streams = ProtocolStreams(state.runtime)
    return state.protocol_streams


def _last_end(items: Sequence[Item]) -> int:
    """Return the position of the last end that leaves nothing open; 0 when there is none."""
    return max((item.pos for item in items if isinstance(item, RunEnd) and item.status not in _ASKS), default=0)
