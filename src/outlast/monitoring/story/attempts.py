"""Which attempt of a run a thing belongs to, and when that attempt was under way."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from outlast.domain.story import Row

_ENDS: Final = frozenset({
    "attempt.waited", "attempt.handed_back", "attempt.lost", "attempt.taken", "attempt.failed", "run.ended",
})  # fmt: skip


@dataclass(slots=True)
class Attempts:
    """The attempts of one run, in order. An attempt is what a worker did under one epoch."""

    #: Under which they were claimed, rising; the epoch also rises where an owner loses the run.
    epochs: list[int] = field(default_factory=list[int])
    began_at: list[datetime] = field(default_factory=list[datetime])
    ended_at: list[datetime | None] = field(default_factory=list[datetime | None])

    def of_epoch(self, epoch: int) -> int | None:
        """Return the number of the attempt under this epoch, 1 the first; None before there was one."""
        return bisect_right(self.epochs, epoch) or None

    def at(self, moment: datetime) -> int | None:
        """Return the number of the attempt that was the last to begin by then."""
        return bisect_right(self.began_at, moment) or None

    def within(self, number: int, moment: datetime) -> datetime:
        """Return the moment, moved into the attempt: it is another machine's, whose clock may be wrong."""
        begin, end = self.began_at[number - 1], self.ended_at[number - 1]
        moment = max(moment, begin)
        # What an attempt saved, it saved before it ended.
        return moment if end is None else min(moment, end - timedelta(microseconds=1)) if end > begin else begin


def attempts_of(rows: Iterable[Row]) -> Mapping[UUID, Attempts]:
    """Return the attempts of each run that has any."""
    rows = list(rows)
    found: dict[UUID, Attempts] = {}
    claims = [row for row in rows if row.what == "attempt.claimed" and row.at is not None]
    for row in sorted(claims, key=lambda row: row.epoch or 0):
        if row.run_id is not None and row.at is not None:
            attempts = found.setdefault(row.run_id, Attempts())
            attempts.epochs.append(row.epoch or 0)
            attempts.began_at.append(row.at)
            attempts.ended_at.append(None)
    for row in rows:
        if row.what in _ENDS and row.run_id is not None and row.run_id in found and row.at is not None:
            _end(found[row.run_id], row.epoch or 0, row.at)
    return found


def _end(attempts: Attempts, epoch: int, at: datetime) -> None:
    number = attempts.of_epoch(epoch)
    if number is not None:
        known = attempts.ended_at[number - 1]
        attempts.ended_at[number - 1] = at if known is None else min(known, at)
