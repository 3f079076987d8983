"""Where a record of a stream stands in the line of its thread: one number, `base + n`.

`base` is the time of the claim, `n` = 1, 2, 3 ... is counted in the memory of the run's owner. So positions need no
round trip, have no gaps within a claim, and rise over claims, attempts and runs of a thread: a claim raises the epoch,
and its base lies behind everything that was written under the one before. Positions stay below 2**53, which JavaScript
can count to, until the year 2059.

The time is the database's. Should its clock step back, as a failover may make it, `after` keeps the line of a thread
rising; only a run that dies unsettled in just that moment can see a position used twice, under another epoch.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

#: Records a claim may write per millisecond, on average, before its positions run ahead of the time.
EVENTS_PER_MS: Final = 8192
_ORIGIN: Final = datetime(2025, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)


def base_of(claimed_at: datetime, *, after: int) -> int:
    """Return what the positions of a claim are counted from; `after` is the thread's last position, and lies below."""
    return max((claimed_at - _ORIGIN) // _MILLISECOND * EVENTS_PER_MS, after + 1)


def moment_of(pos: int) -> datetime:
    """Return the time that a position stands for, to the millisecond: records of before it have lower positions."""
    return _ORIGIN + timedelta(milliseconds=pos // EVENTS_PER_MS)


def end_of(last_pos: int | None, ended_at: datetime) -> int:
    """Return the position of a run's end: behind its last record, or, when it kept none, at the time it ended."""
    return base_of(ended_at, after=0) if last_pos is None else last_pos + 1


def behind_end(last_pos: int | None, *, questions: int) -> int | None:
    """Return the last position that the end of a run takes, one for each question included; None without records."""
    return None if last_pos is None else last_pos + 1 + questions
