"""A run that has failed, and how it came to that.

A failed run is a dead letter: its input, what it saved and the errors of all its attempts are kept, and a person may
replay it (it goes on from its last checkpoint, under the same id and with the same effects), run its input again as a
new run, or discard it.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

#: How an attempt ended: it raised or was too slow, its worker died, or recovery took it from an owner that hung.
AttemptKind = Literal["error", "crash", "taken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that ended badly."""

    #: Under which the run was owned; rises with each attempt.
    epoch: int
    kind: AttemptKind
    code: str
    #: None: the code says it all.
    message: str | None
    #: Where it ran; None when that worker is known no more.
    worker: str | None
    began_at: datetime | None
    ended_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """A failed run, as it stands in the list."""

    run_id: UUID
    thread_id: str
    agent: str
    code: str
    message: str | None
    #: Attempts that ended badly, those before a replay included.
    attempts: int
    created_at: datetime
    failed_at: datetime
    user: str | None
    #: How often recovery has replayed it by itself since a person last did.
    replays: int = 0
    discarded_at: datetime | None = None
    discarded_by: str | None = None
    discard_reason: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetterQuery:
    """Which dead letters are wanted; None does not filter."""

    agent: str | None = None
    #: An error's code: `timed_out`, `crashed`, `KeyError`.
    code: str | None = None
    #: Not with one of these.
    without: tuple[str, ...] = ()
    thread_id: str | None = None
    #: Failed at or after, and before.
    since: datetime | None = None
    until: datetime | None = None
    #: Those that were discarded, in the place of the others.
    discarded: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class LastCheckpoint:
    """Where a replay goes on."""

    checkpoint_id: UUID
    #: LangGraph's number of the step that ended there; -1 is the input.
    step: int | None
    #: Whether the run itself saved it; else it failed before its first step had ended.
    of_run: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunUsage:
    """What model calls of the run took."""

    calls: int
    tokens: int
    #: US dollars x 1,000,000.
    cost_micros: int
