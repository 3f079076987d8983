"""The story of a thread: everything that happened to it, in order of time, one line each.

It is told from the database alone, so it is there without any log platform, also for what happened while nobody looked.
What it says is names and figures; content (inputs, outputs, arguments, answers, messages of errors) stands apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

#: What happens, in the order in which it is told when it happened at the same moment.
KINDS: Final = (
    "run.created", "admission", "attempt.claimed", "call", "effect", "budget.stopped", "task", "step", "review",
    "question.asked", "question.vote", "question.comment", "question.answered", "question.expired",
    "question.withdrawn", "attempt.waited", "attempt.handed_back", "attempt.lost", "attempt.taken", "attempt.failed",
    "run.cancel_requested", "run.ended", "notification", "webhook", "run.discarded", "run.replayed", "run.revived",
    "feedback", "audit",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One thing that a row of the database tells."""

    what: str
    #: By the database's clock; None: it has none of its own.
    at: datetime | None
    run_id: UUID | None
    epoch: int | None
    #: Which row: with `what` it is the same whenever the story is told.
    source: str
    facts: Mapping[str, Any]
    #: By name; None where it was not asked for.
    content: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a story."""

    at: datetime
    kind: str
    run_id: UUID | None
    #: 1 is the first time that a worker had the run; None: outside of attempts.
    attempt: int | None
    #: Under which the attempt wrote; rises with each owner.
    epoch: int | None
    #: In plain words, without content; no control characters.
    text: str
    facts: Mapping[str, Any]
    content: Mapping[str, Any] | None
    #: What it is told from; an entry whose text changes (an effect that ends) keeps it.
    source: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RunStanding:
    """Where a run of the thread stands."""

    run_id: UUID
    agent: str
    status: str
    #: How often a worker had it.
    attempts: int
    error_code: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Story:
    """A thread's story as it was at one moment."""

    thread_id: str
    runs: Sequence[RunStanding] = ()
    entries: Sequence[Entry] = field(default=())
