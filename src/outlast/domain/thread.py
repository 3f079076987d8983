"""A thread as the Agent Server API shows it: what its last run left behind."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal
from uuid import UUID


class ThreadState(StrEnum):
    """How the last run left the thread."""

    IDLE = "idle"
    INTERRUPTED = "interrupted"  # it asked, stands at a breakpoint, or was stopped
    ERROR = "error"


class ThreadStatus(StrEnum):
    """What a client sees: `busy` while a run of the thread has still to run, else how the last one left it."""

    IDLE = "idle"
    BUSY = "busy"
    INTERRUPTED = "interrupted"
    ERROR = "error"


TtlStrategy = Literal["delete", "keep_latest"]
#: Task id -> what it asks: `[{"id": ..., "value": ...}]`.
Questions = Mapping[str, Sequence[Mapping[str, Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ttl:
    """How long a thread lives untouched, and what is then deleted."""

    minutes: float
    strategy: TtlStrategy = "delete"


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadMark:
    """What is written down of a thread when its state has changed."""

    state: ThreadState
    #: The graph's state as JSON; None when it is not known, so that the next reader takes it from the checkpoint.
    values: bytes | None = None
    #: None leaves the questions as they are: they are open for as long as the thread stands at `waiting_at`.
    interrupts: Questions | None = None
    #: The checkpoint that asked.
    waiting_at: UUID | None = None
    #: The checkpoint that `values` are of.
    stands_at: UUID | None = None
    #: `{"error": <code>, "message": <text>}` of a run that failed.
    error: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadView:
    """A thread as people and clients see it."""

    id: str
    key: bytes
    status: ThreadStatus
    created_at: datetime
    updated_at: datetime
    state_updated_at: datetime
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: None when there are none, or when they have to be read from the checkpoint; `stands_at` is None then, too.
    values: Any = None
    interrupts: Questions = field(default_factory=dict[str, Sequence[Mapping[str, Any]]])
    waiting_at: UUID | None = None
    stands_at: UUID | None = None
    error: Mapping[str, Any] | None = None
    temporary: bool = False
    ttl: Ttl | None = None
    expires_at: datetime | None = None
    #: The thread's checkpoint is another one than `stands_at`, and nothing runs: what is here is not its present state.
    stale: bool = False
