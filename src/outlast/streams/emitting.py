"""One claim of a run, saying what it does: to listeners of this process directly, to the log beside it."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final
from uuid import UUID

import orjson

from outlast.domain.positions import base_of
from outlast.domain.run import ClaimedRun
from outlast.storage.postgres.event_log import PATIENCE_SECONDS, EventLog
from outlast.streams.records import RUN, Record

# The log has given up by then.
_FLUSH_SECONDS: Final = PATIENCE_SECONDS + 5.0

Listen = Callable[["ThreadEmitter", Record], None]
OnStored = Callable[["ThreadEmitter"], None]


class ThreadEmitter:
    """An `Emitter`, and the log's `Claim`."""

    def __init__(self, run: ClaimedRun, log: EventLog, listen: Listen, on_stored: OnStored) -> None:
        self.run_id: UUID = run.id
        self.epoch = run.epoch
        self.thread = run.thread_key
        self.last = base_of(run.claimed_at, after=run.thread_last_pos)
        #: Everything up to here can be read by others.
        self.stored_pos = self.last
        self._first = self.last
        self._run = run
        self._log = log
        self._listen = listen
        self._on_stored = on_stored
        self._unstored: deque[Record] = deque()
        self._silent = False
        self._wanted = False
        self._quiet = asyncio.Event()
        self._quiet.set()

    @property
    def wanted(self) -> bool:
        """Whether anybody listens, or may come to listen, and the run is still ours."""
        return self._wanted and not self._silent

    @property
    def unstored(self) -> Sequence[Record]:
        """What was said and cannot be read by others yet."""
        return list(self._unstored)

    def turn_on(self) -> None:
        """Begin to say things; the first is which run it is, on which attempt."""
        if self._wanted or self._silent:
            return
        self._wanted = True
        run = self._run
        about = {
            "attempt": run.errors + run.crashes + 1,
            "graph_id": run.agent,
            "protocol": run.options.protocol,
            "modes": run.options.stream_modes,
        }
        # It goes to the database with whatever comes next.
        self._say(RUN, "", orjson.dumps(about), hurry=False)
        asyncio.get_running_loop().call_later(0.01, self._log.hurry)

    def emit(self, mode: str, ns: str, data: bytes) -> None:
        """Say something; see `Emitter.emit`."""
        if self.wanted:
            self._say(mode, ns, data, hurry=True)

    def _say(self, mode: str, ns: str, data: bytes, *, hurry: bool) -> None:
        self.last += 1
        record = Record(self.thread, self.last, self.run_id, mode, ns, data)
        if self._log.add(self, record, hurry=hurry):
            self._unstored.append(record)
            self._quiet.clear()
        self._listen(self, record)

    async def flush(self) -> int | None:
        """Wait until others can read all of it; see `Emitter.flush`."""
        self._log.hurry()
        try:
            async with asyncio.timeout(_FLUSH_SECONDS):
                await self._quiet.wait()
        except TimeoutError:
            # A log that does not even give up; the run goes on without it.
            self.lost()
        self._silent = True
        return self.last if self.last > self._first else None

    def drop(self) -> None:
        """Fall silent at once; see `Emitter.drop`."""
        self.lost()

    def stored(self, pos: int) -> None:
        """Note what others can read; called by the log."""
        self.stored_pos = max(self.stored_pos, pos)
        while self._unstored and self._unstored[0].pos <= pos:
            self._unstored.popleft()
        self._on_stored(self)
        if not self._unstored:
            self._quiet.set()

    def lost(self) -> None:
        """Fall silent: another owner speaks for the run now; called by the log."""
        self._silent = True
        self._unstored.clear()
        self._quiet.set()
