"""What an attempt of a run remembers: its calls by place and order, and what earlier executions of a task were told.

An entry of the journal is found by its ordinal and the hash of what was asked, or else by the hash alone, since calls
that run side by side may start in another order. Each entry answers once per execution.

What is found is not always to be believed. After an error of the attempt (not a crash, a drain or a lost lease), or
when LangGraph executes a node again by itself, the error may have come from the very answer that the task got last: it
could not be parsed, say. Got again, it would fail for ever. So the last entry of such a task is asked anew. Exempt are
the clock and ids, of which no error comes, and an answer that the task has acted on since: another one might lead to
other arguments for an effect that is applied already.
"""

import asyncio
import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final
from warnings import warn

from uuid_utils import uuid7

from outlast.calls.call import Usage
from outlast.calls.encoding import ValueCodec
from outlast.calls.scope import Place, Scope
from outlast.storage.postgres.call_log import Caller, CallLog, CallRow, Entry, StoredEntry
from outlast.telemetry import emit

#: Calls of models; what is journaled by name is counted for each name.
MODEL: Final = "model"
#: What no error comes from: always given again.
HARMLESS: Final = frozenset({"clock", "uuid", "random"})
# Tasks of one attempt that are remembered at the same time. One that is forgotten begins to count anew, which costs the
# order of its calls and nothing else.
_TASKS: Final = 4096


class JournalMismatch(UserWarning):
    """A step that is executed again asks something else than before; it got a fresh answer."""


@dataclass(slots=True)
class _Turn:
    """One execution of a task."""

    place: Place
    counts: dict[str, Iterator[int]] = field(default_factory=dict[str, Iterator[int]])
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    #: None: not looked for yet.
    entries: Sequence[StoredEntry] | None = None
    used: set[StoredEntry] = field(default_factory=set[StoredEntry])
    #: The one that an error may have come from.
    doubted: StoredEntry | None = None


@dataclass(slots=True)
class Asked:
    """A call at its place: the n-th of its series in this execution of the task."""

    turn: _Turn
    series: str
    ordinal: int
    hash: bytes


class Memory:
    """Belongs to one attempt; `begin` in the caller's own thread, the rest on the run's loop."""

    def __init__(self, scope: Scope, log: CallLog, codec: ValueCodec) -> None:
        self.codec: Final = codec
        self._scope = scope
        self._log = log
        self._turns: OrderedDict[str, _Turn] = OrderedDict()
        self._counting = threading.Lock()
        user = scope.user_id
        self._caller = Caller(
            scope.run_id, scope.epoch, scope.errors, scope.lineage, scope.thread_key, scope.tenant, user, scope.agent
        )

    def begin(self, series: str, asked: bytes) -> Asked | None:
        """Take the call's number, in the order in which calls are begun; None between tasks."""
        place = self._scope.locate()
        if place is None:
            return None
        # A sync node begins its reads in its own thread.
        with self._counting:
            turn = self._turns.get(place.task)
            if turn is None or turn.place != place:
                turn = self._turns[place.task] = _Turn(place)
                if len(self._turns) > _TASKS:
                    self._turns.popitem(last=False)
            count = turn.counts.setdefault(series, itertools.count())
            return Asked(turn, series, next(count), asked)

    async def find(self, asked: Asked) -> bytes | None:
        """Return the stored answer; None when the question has to be asked.

        Then it returns only when the task's checkpoint is durable: an answer stored under the id of a task that is lost
        would be paid again. Raises DatabaseUnavailable.
        """
        turn = asked.turn
        if turn.entries is None:
            await self._look(turn)
        found = _match(turn, asked)
        if found is not None:
            turn.used.add(found)
            emit("call.replayed", run_id=self._scope.run_id, series=asked.series, ordinal=asked.ordinal)
            return found.body
        if _is_mismatch(turn, asked):
            self._warn(asked)
        await self._scope.settled()
        return None

    async def keep(self, asked: Asked | None, body: bytes | None, spent: Sequence[Usage] = ()) -> None:
        """Store an answer, and what it cost; durable when it returns. `body` None: the call failed for good.

        Raises LeaseLost and DatabaseUnavailable, InvalidInput when PostgreSQL cannot store it.
        """
        if asked is not None or spent:
            await self._log.submit(self._row(asked, body, spent))

    def keep_soon(self, spent: Sequence[Usage]) -> None:
        """Store what a call has cost that is being cancelled, without waiting for it."""
        if spent:
            self._log.submit_soon(self._row(None, None, spent))

    def _row(self, asked: Asked | None, body: bytes | None, spent: Sequence[Usage]) -> CallRow:
        entry = None
        if asked is not None:
            place = asked.turn.place
            entry = Entry(place.key, asked.series, asked.ordinal, asked.hash, place.execution, body)
        return CallRow(uuid7().bytes, self._caller, entry, spent)

    async def _look(self, turn: _Turn) -> None:
        """Read what the task has in the journal, once, if it may have anything."""
        place = turn.place
        if place.execution == 1 and (place.new or self._scope.fresh):
            turn.entries = ()
            return
        async with turn.lock:
            if turn.entries is None:
                entries = await self._log.entries(self._scope.lineage, place.key)
                turn.doubted = _doubted(entries, again=place.execution > 1)
                turn.entries = entries

    def _warn(self, asked: Asked) -> None:
        scope, place = self._scope, asked.turn.place
        emit("call.mismatch", run_id=scope.run_id, task=place.task, series=asked.series, ordinal=asked.ordinal)
        what = "model call" if asked.series == MODEL else f"journaled {asked.series.removeprefix('value:')!r}"
        warn(
            f"run {scope.run_id}: {what} number {asked.ordinal + 1} of task {place.task} asks something else than when "
            "the step was executed before, so it was asked again. What a step asks has to be the same each time: use "
            "outlast.journal for clock, ids and reads",
            JournalMismatch,
            stacklevel=3,
        )


def of(scope: Scope | None) -> Memory | None:
    """Return the memory of an attempt; None outside of a run, and where there is no database."""
    if scope is None:
        return None
    if scope.memory is None:
        calls = scope.calls
        if calls.log is None or calls.codec is None:
            return None
        scope.memory = Memory(scope, calls.log, calls.codec)
    return scope.memory


def _doubted(entries: Sequence[StoredEntry], *, again: bool) -> StoredEntry | None:
    last = next((entry for entry in reversed(entries) if entry.series not in HARMLESS), None)
    if last is None or last.acted_on:
        return None
    return last if again or last.tried else None


def _match(turn: _Turn, asked: Asked) -> StoredEntry | None:
    same = [
        entry
        for entry in turn.entries or ()
        if entry.hash == asked.hash
        and entry.series == asked.series
        and entry.body is not None
        and entry is not turn.doubted
        and entry not in turn.used
    ]
    return next((entry for entry in same if entry.ordinal == asked.ordinal), same[0] if same else None)


def _is_mismatch(turn: _Turn, asked: Asked) -> bool:
    there = [
        entry
        for entry in turn.entries or ()
        if entry.ordinal == asked.ordinal and entry.series == asked.series and entry not in turn.used
    ]
    return bool(there) and all(entry.hash != asked.hash for entry in there)
