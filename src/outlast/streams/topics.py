"""One thread as this process follows it: what was said last, who listens, which runs have not ended.

Records of a run that is executed here arrive directly, all others are read from the database. The two must not overtake
each other: what arrives directly is held back until a reading that began after the claim has brought what came before.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol
from uuid import UUID

from outlast.storage.postgres.event_reader import SLACK_SECONDS, Birth, Ended, News
from outlast.streams.emitting import ThreadEmitter
from outlast.streams.records import RUN, Record, RunEnd
from outlast.streams.ring import Ring

# Runs whose end was told already, so that it is not told twice.
_REMEMBERED_ENDS: Final = 4096


class Listener(Protocol):
    """Who follows the thread, or one run of it."""

    @property
    def run_id(self) -> UUID | None:
        """The run; None for all of the thread."""
        ...

    def ended(self, end: RunEnd) -> None:
        """Hear that the run has ended; everything it said before is in the ring or in the database."""
        ...


class Topic:
    """The state of one followed thread. Nothing here waits; `changed` is set, and replaced, when something is new."""

    def __init__(
        self, thread: bytes, *, on_run: Callable[["Topic", UUID], None], ring_bytes: Callable[[], int]
    ) -> None:
        self.thread = thread
        #: Somebody wants to hear runs that would say nothing by themselves.
        self.watched = False
        #: Runs that are known to be of this thread.
        self.runs: set[UUID] = set()
        self.followers: set[Listener] = set()
        self.changed = asyncio.Event()
        self.born = asyncio.Event()
        self.ring = Ring(0)
        #: How often records had to be held back; a reading that began at this count may let them go.
        self.holds = 1
        self._held: list[Record] | None = []
        self._emitter: ThreadEmitter | None = None
        self._on_run = on_run
        self._ring_bytes = ring_bytes
        self._ends_since = datetime.min.replace(tzinfo=UTC)
        #: Runs that spoke and have not ended, with their last position.
        self._open: dict[UUID, int] = {}
        self._ended: dict[UUID, None] = {}

    # what arrives

    def attach(self, emitter: ThreadEmitter, *, hold: bool = True) -> None:
        """Listen to a run of this process; `hold` what it says until a reading has brought what came before."""
        self._emitter = emitter
        if not hold:
            return
        self.holds += 1
        if self._held is None:
            self._held = []
        self._held.extend(emitter.unstored)

    def said(self, record: Record) -> None:
        """Take what a run of this process said."""
        if self._held is not None:
            self._held.append(record)
            return
        self._take(record)
        self.trim()
        self.wake()

    def born_empty(self) -> None:
        """Begin at the beginning, without a reading: the thread is as new as its only run."""
        self.born.set()
        self._release(self.holds)

    def birth(self, birth: Birth, holds: int) -> None:
        """Begin at the last position that the database had."""
        self.ring = Ring(birth.head)
        self._ends_since = birth.born_at - timedelta(seconds=SLACK_SECONDS)
        self._ended = dict.fromkeys(birth.ended)
        self.born.set()
        self._release(holds)
        self.wake()

    def needs_ends(self, news: News | None) -> bool:
        """Whether these records have to wait for the end of a run before them, which nobody has looked for yet."""
        speakers = {record.run_id for record in news.records} if news is not None else set[UUID | None]()
        return len(speakers) > 1 or bool(speakers and not self._open.keys() <= speakers)

    def arrived(self, news: News | None, asked: Mapping[UUID, Ended], holds: int) -> None:
        """Take what the database had behind `cursor`, in the order of the line; then what was held back meanwhile."""
        news = news or News()
        ends = self._new_ends(news, asked)
        for record in news.records:
            self._settle(end for end in list(ends) if end.end.pos <= record.pos and end.placed)
            ends = [end for end in ends if end.end.run_id not in self._ended]
            self._take(record)
        if not news.more:
            self._settle(sorted(ends, key=lambda end: (not end.placed, end.end.pos)))
            self._tell_run_followers(asked)
            self._release(holds)
        self.trim()
        self.wake()

    @property
    def cursor(self) -> int:
        """The position that the next reading begins behind."""
        return self.ring.head

    @property
    def ends_since(self) -> datetime:
        """The time from which on ends may be new."""
        return self._ends_since

    @property
    def asked(self) -> set[UUID]:
        """Runs whose end matters here."""
        return {*self._open, *(follower.run_id for follower in self.followers if follower.run_id is not None)}

    def _new_ends(self, news: News, asked: Mapping[UUID, Ended]) -> list[Ended]:
        last = self._open | {record.run_id: record.pos for record in news.records if record.run_id is not None}
        found = {item.end.run_id: item for item in (*news.ends, *asked.values())}
        return [_behind(item, last.get(run_id, 0)) for run_id, item in found.items() if run_id not in self._ended]

    def _settle(self, ends: Iterable[Ended]) -> None:
        for item in ends:
            self.ring.push(item.end._replace(thread=self.thread))
            self._open.pop(item.end.run_id, None)
            self._ended[item.end.run_id] = None
            if item.ended_at is not None:
                self._ends_since = max(self._ends_since, item.ended_at - timedelta(seconds=SLACK_SECONDS))
        while len(self._ended) > _REMEMBERED_ENDS:
            del self._ended[next(iter(self._ended))]

    def _tell_run_followers(self, asked: Mapping[UUID, Ended]) -> None:
        for follower in self.followers:
            if follower.run_id is not None and (item := asked.get(follower.run_id)) is not None:
                follower.ended(item.end._replace(thread=self.thread))

    def _take(self, record: Record) -> None:
        if not self.ring.push(record) or record.run_id is None:
            return
        if record.mode == RUN:
            # A failed run may be replayed: it has not ended any more.
            self._ended.pop(record.run_id, None)
        if record.run_id not in self._ended:
            if record.run_id not in self._open:
                self._on_run(self, record.run_id)
            self._open[record.run_id] = record.pos

    def _release(self, holds: int) -> None:
        if holds != self.holds or self._held is None:
            return
        held, self._held = self._held, None
        for record in held:
            self._take(record)

    # who listens

    def wake(self) -> None:
        """Let every listener look."""
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()

    def trim(self) -> None:
        """Forget the oldest of what can be read from the database."""
        emitter = self._emitter
        stored = emitter.stored_pos if emitter is not None and emitter.unstored else None
        self.ring.trim(self._ring_bytes(), stored=stored)


def _behind(item: Ended, last: int) -> Ended:
    """Move an end behind the last record of its run: an owner that died did not say where it stood."""
    if not item.placed or item.end.pos > last:
        return item
    end: RunEnd = item.end._replace(pos=last + 1 + len(item.end.interrupts))
    return Ended(end, ended_at=item.ended_at, placed=True)
