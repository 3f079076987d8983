"""A listener: a cursor in the line of a thread and nothing else, however slow it is."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Sequence
from typing import TYPE_CHECKING, Final
from uuid import UUID

from outlast.errors import DatabaseUnavailable
from outlast.streams.records import RUN, Item, RunEnd
from outlast.streams.topics import Topic

if TYPE_CHECKING:
    from outlast.streams.hub import EventHub

_AT_ONCE: Final = 256
_RETRY_SECONDS: Final = 1.0


class Follower(AsyncIterator[Item]):
    """Yields each item once, in order. Of one run: ends behind its end; of a thread: when the hub is closed.

    It listens from the moment that it is made. While the database is away it waits. Call `aclose` when done.
    """

    def __init__(
        self, hub: "EventHub", topic: Topic, *, run_id: UUID | None, after: int | None, fresh: bool, watch: bool
    ) -> None:
        self.run_id = run_id
        self._hub = hub
        self._topic = topic
        self._cursor = after
        # Had it ended a moment ago, or does somebody have to look?
        self._asked = fresh
        self._watch = watch
        self._ordinal: int | None = None
        self._buffer: deque[Item] = deque()
        self._told: set[UUID] = set()
        self._end: RunEnd | None = None
        self._done = False

    @property
    def cursor(self) -> int | None:
        """The position behind which the next item lies; None until it is known where `now` is."""
        return self._cursor

    async def ready(self) -> None:
        """Wait until everything that happens from here on will be yielded.

        Raises DatabaseUnavailable when there is no database to say where the thread stands.
        """
        if self._watch or not self._topic.born.is_set():
            await self._hub.begin(self._topic, watch=self._watch)
            self._watch = False
        if self._cursor is None:
            self._cursor = self._topic.ring.head

    async def __anext__(self) -> Item:
        """Return what comes next."""
        await self._more()
        return self._pop()

    async def batches(self) -> AsyncGenerator[list[Item], None]:
        """Yield what is there, as often as there is something: at most 256 items at once."""
        while True:
            try:
                await self._more()
            except StopAsyncIteration:
                return
            yield [self._pop() for _ in range(len(self._buffer))]

    async def _more(self) -> None:
        while not self._buffer:
            if self._done or self._hub.closed:
                raise StopAsyncIteration
            try:
                await self._fill()
            except DatabaseUnavailable:
                # Clients that wait are worth more than clients that all come back at once.
                await self._hub.pause(_RETRY_SECONDS)

    def _pop(self) -> Item:
        item = self._buffer.popleft()
        if isinstance(item, RunEnd) and item.run_id == self.run_id:
            self._done = True
        return item

    async def aclose(self) -> None:
        """Stop listening."""
        self._done = True
        self._hub.leave(self._topic, self)

    def ended(self, end: RunEnd) -> None:
        """Note that the followed run has ended; what it said before is in the ring or in the database."""
        self._end = end

    async def _fill(self) -> None:
        # Taken before looking: what comes later sets it.
        changed = self._topic.changed
        await self.ready()
        items = self._from_ring()
        if items is None:
            await self._read_page()
        elif items:
            self._take(items)
        else:
            await self._idle(changed)

    def _from_ring(self) -> Sequence[Item] | None:
        """Return what the ring has that is new; None when it does not reach back to the cursor."""
        ring = self._topic.ring
        if self._ordinal is None:
            self._ordinal = ring.start(self._cursor or 0)
        items = None if self._ordinal is None else ring.since(self._ordinal, limit=_AT_ONCE)
        self._ordinal = None if items is None or self._ordinal is None else self._ordinal + len(items)
        return items

    async def _read_page(self) -> None:
        # What the ring has lost by now is in the database by now.
        floor, after = self._topic.ring.floor, self._cursor or 0
        page = await self._hub.reader.page(self._topic.thread, after, run_id=self.run_id)
        # With further pages to come, ends behind this one are theirs to bring.
        reach = page.records[-1].pos if page.more else None
        ends = [item for item in page.ends if reach is None or (item.placed and item.end.pos <= reach)]
        placed = [item.end for item in ends if item.placed]
        items: list[Item] = sorted([*page.records, *placed], key=lambda item: item.pos)
        unplaced = [item.end for item in ends if not item.placed]
        self._take([*items, *unplaced])
        if not page.more:
            self._cursor = max(self._cursor or 0, floor)

    def _take(self, items: Iterable[Item]) -> None:
        """Buffer what is for us, once: the database may have brought already what comes to the ring."""
        cursor, run_id = self._cursor or 0, self.run_id
        for item in items:
            if isinstance(item, RunEnd):
                self._take_end(item, cursor)
            elif item.pos > cursor and (run_id is None or run_id == item.run_id):
                if item.mode == RUN and item.run_id is not None:
                    # Replayed: it will end again.
                    self._told.discard(item.run_id)
                self._buffer.append(item)
            cursor = max(cursor, item.pos)
        self._cursor = cursor

    def _take_end(self, end: RunEnd, cursor: int) -> None:
        if (self.run_id is None or self.run_id == end.run_id) and end.run_id not in self._told:
            self._told.add(end.run_id)
            self._buffer.append(end._replace(pos=max(end.pos, cursor)))

    async def _idle(self, changed: asyncio.Event) -> None:
        if self._end is not None:
            self._done = self._end.run_id in self._told
            self._take_end(self._end, self._cursor or 0)
            return
        if not self._asked and self.run_id is not None:
            self._asked = True
            self._hub.catch_up(self._topic.thread)
        await changed.wait()
