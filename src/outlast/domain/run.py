"""A run and its states.

    blocked --> queued --> running --> succeeded
       |          |  ^        |  |---> waiting --> queued     (a person answered)
       |          |  |        |  |---> failed ---> queued     (a person replayed it)
       |          |  |        |  |---> interrupted            (it asked, and the answer will be another run)
       |          |  +--------+                               (retry later, lease lost, drained)
       +----------+------ any but the ended ones --> cancelled

    queued --> blocked          (it is due later, and another one is due)
    blocked --> waiting         (its turn has come, and a person has to say yes before it begins)
    waiting --> interrupted     (another run takes its place)

At most one run of a thread is at its front: queued, running or waiting. The others are blocked behind it, in order of
priority and age, and the transaction that ends the one in front makes the next one queued. A waiting run keeps its
place: what comes after an open question waits for the answer. A run of the Agent Server API does not wait: there a
question ends the run as interrupted, and the answer is a run of its own.

A failed run is a dead letter: nothing of it is lost, and a person may replay it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from outlast.domain.acting import DEFAULT_TENANT
from outlast.domain.decision import Decision
from outlast.domain.limits import Takes
from outlast.domain.options import PLAIN, CancelAction, Multitask, RunOptions


class RunStatus(StrEnum):
    """Where a run stands."""

    BLOCKED = "blocked"  # behind another run of its thread
    QUEUED = "queued"  # ready once available_at has passed
    RUNNING = "running"  # a worker owns it
    WAITING = "waiting"  # a person owes an answer
    SUCCEEDED = "succeeded"
    FAILED = "failed"  # no attempt left, or no attempt can help
    CANCELLED = "cancelled"
    INTERRUPTED = "interrupted"  # the graph asked a person; the answer will be another run


TRANSITIONS: Final[Mapping[RunStatus, frozenset[RunStatus]]] = {
    RunStatus.BLOCKED: frozenset({RunStatus.QUEUED, RunStatus.WAITING, RunStatus.CANCELLED}),
    RunStatus.QUEUED: frozenset({RunStatus.RUNNING, RunStatus.BLOCKED, RunStatus.FAILED, RunStatus.CANCELLED}),
    RunStatus.RUNNING: frozenset(RunStatus) - {RunStatus.BLOCKED, RunStatus.RUNNING},
    RunStatus.WAITING: frozenset({RunStatus.QUEUED, RunStatus.INTERRUPTED, RunStatus.CANCELLED}),
    RunStatus.SUCCEEDED: frozenset(),
    RunStatus.FAILED: frozenset({RunStatus.QUEUED, RunStatus.BLOCKED}),
    RunStatus.CANCELLED: frozenset(),
    RunStatus.INTERRUPTED: frozenset(),
}

ENDED: Final = frozenset({RunStatus.SUCCEEDED, RunStatus.FAILED, RunStatus.CANCELLED, RunStatus.INTERRUPTED})
FRONT: Final = frozenset({RunStatus.QUEUED, RunStatus.RUNNING, RunStatus.WAITING})


def may_become(before: RunStatus, after: RunStatus) -> bool:
    """Whether the table of transitions allows it."""
    return after in TRANSITIONS[before]


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What is asked for; everything else is decided when it is stored."""

    id: UUID
    thread_id: str
    agent: str
    input: Any
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    priority: int = 0
    delay_seconds: float = 0.0
    max_attempts: int = 3
    timeout_seconds: int | None = None
    options: RunOptions = PLAIN
    assistant_id: UUID | None = None
    #: The thread was made for this run, and goes with it.
    temporary: bool = False
    #: Where its end is told.
    webhook: str | None = None
    multitask: Multitask = "enqueue"
    #: Nothing has happened on its thread before.
    makes_thread: bool = False
    #: What admission decided, kept with the run; None: it was never asked.
    decision: Decision | None = None
    #: What it takes of limits in the moment in which it is stored; None: nothing (any more).
    takes: Takes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimedRun:
    """A run that a worker owns under `epoch`, with what it needs to execute it."""

    id: UUID
    epoch: int
    thread_id: str
    thread_key: bytes
    agent: str
    input: Any
    config: Mapping[str, Any]
    metadata: Mapping[str, Any]
    #: Attempts that ended in an error, and attempts whose worker died.
    errors: int
    crashes: int
    max_attempts: int
    timeout_seconds: int | None
    #: Whether the thread has any checkpoint.
    has_state: bool
    #: The answer of a person, and the checkpoint that asked.
    answer: Any
    answered: bool
    waiting_at: UUID | None
    #: The ids of the questions that it was given for.
    asked: tuple[str, ...] = ()
    #: By the database's clock.
    claimed_at: datetime
    options: RunOptions = PLAIN
    assistant_id: UUID | None = None
    temporary: bool = False
    #: The last position in the line of the thread's stream.
    thread_last_pos: int = 0
    #: Somebody follows the thread from another process.
    watched: bool = False
    #: The run that began what this one goes on with: the run itself, or the one whose question it answers.
    lineage: UUID
    #: How long it was going on when it was claimed: since its first claim, or since a person answered or replayed it.
    seconds_before: float = 0.0
    #: How long it was ready before it was claimed, and how long it had existed by then.
    queued_seconds: float = 0.0
    age_seconds: float = 0.0
    #: On whose behalf it runs.
    tenant: str = DEFAULT_TENANT
    user_id: str | None = None
    key_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run as people and clients see it."""

    id: UUID
    thread_id: str
    agent: str
    status: RunStatus
    priority: int
    epoch: int
    errors: int
    crashes: int
    max_attempts: int
    created_at: datetime
    available_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    cancel_requested_at: datetime | None
    metadata: Mapping[str, Any]
    output: Any
    interrupts: list[dict[str, Any]] | None
    error_code: str | None
    error_message: str | None
    completed: int | None
    total: int | None
    progress_at: datetime | None
    worker_id: UUID | None
    worker_pid: int | None
    claimed_at: datetime | None
    options: RunOptions
    assistant_id: UUID | None
    multitask: Multitask
    cancel_action: CancelAction | None
    cancel_reason: str | None
    temporary: bool
    webhook: str | None
    #: Of its last record in the stream; None when nothing was kept.
    last_pos: int | None
    #: What it was started with; left out (None, empty) where runs are listed for people.
    input: Any = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to it by itself."""
        return self.status in ENDED

    @property
    def updated_at(self) -> datetime:
        """When something happened to it last."""
        moments = (self.started_at, self.claimed_at, self.cancel_requested_at, self.ended_at)
        return max((moment for moment in moments if moment is not None), default=self.created_at)
