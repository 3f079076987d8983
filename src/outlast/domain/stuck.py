"""A thread that does not go on: where it stands, why, and what would help."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID


class Why(StrEnum):
    """What holds a thread up."""

    FAILED = "failed"  # its run is a dead letter
    DISCARDED = "discarded"  # so it is, and nobody wants it replayed
    OWNER_DEAD = "owner_dead"  # the worker of its run is gone
    SILENT = "silent"  # its run is said to run, and nothing was saved for long
    NO_WORKER = "no_worker"  # its run is due, and no live worker runs this agent
    SWITCHED_OFF = "switched_off"  # its run is due, and a kill switch holds it back
    OVERDUE = "overdue"  # its run is due for long, and all workers are busy
    STRANDED = "stranded"  # its run is blocked behind nothing
    WAITING = "waiting"  # a person owes an answer
    CANCELLED = "cancelled"  # a person stopped it between two steps
    ABANDONED = "abandoned"  # it stands between two steps, and no run is there to go on
    QUARANTINED = "quarantined"  # a value of its state cannot be restored


#: What recovery can do about it by itself; the rest is a person's to decide, or to repair.
RECOVERABLE: Final = frozenset({Why.FAILED, Why.OWNER_DEAD, Why.STRANDED})
#: Errors that come again however often a run is replayed, until somebody has changed something: what to change.
HOPELESS: Final[Mapping[str, str]] = {
    "version_mismatch": "deploy the version of the agent that the run was started with, or cancel it",
    "undecipherable": "give back the key that it was encrypted with",
    "state_unreadable": "bring back the type that its state names, or import it",
    "rejected": "a person has rejected its output; run its input again as a new run",
    "not_found": "what it was started with is there no more; run its input again as a new run",
}
_ADVICE: Final[Mapping[Why, str]] = {
    Why.FAILED: "repair the cause, then `outlast dlq replay {run}`",
    Why.DISCARDED: "it was discarded; `outlast dlq replay {run}` brings it back",
    Why.OWNER_DEAD: "a live worker takes it within seconds; start one if there is none",
    Why.SILENT: "its worker lives: look there, give it a time limit, or `outlast runs cancel {run}`",
    Why.NO_WORKER: "start `outlast worker` in a project that has agent {agent!r}",
    Why.SWITCHED_OFF: "turn the kill switch on again: `outlast switch list`",
    Why.OVERDUE: "all workers are busy; start more, or raise worker.concurrency",
    Why.STRANDED: "a live worker unblocks it within seconds; start one if there is none",
    Why.WAITING: "answer it: `outlast inbox list`, or `outlast runs show {run}`",
    Why.CANCELLED: "somebody cancelled it; `outlast threads rerun {thread}` goes on from where it stands",
    Why.ABANDONED: "`outlast threads rerun {thread}` goes on from where it stands",
    Why.QUARANTINED: "repair the type that the reason names, then read the state once",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PendingCall:
    """A tool call that a model has asked for, and that has no result yet."""

    id: str | None
    name: str
    arguments: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """The checkpoint at which a thread stands."""

    checkpoint_id: UUID
    #: LangGraph's number of the step that ended there; -1 is the input.
    step: int | None
    saved_at: datetime | None
    #: The nodes that ended there, and those that are to run next; empty where the graph is plain code.
    last: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    pending_calls: tuple[PendingCall, ...] = ()
    #: The errors of the tasks that ran next, as the graph raised them.
    errors: tuple[str, ...] = ()
    #: Ids of questions that are open.
    questions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standstill:
    """A thread that does not go on by itself."""

    thread_id: str
    why: Why
    #: Since when.
    since: datetime | None
    run_id: UUID | None = None
    agent: str | None = None
    error_code: str | None = None
    tenant: str = "default"
    #: More about it: what a quarantine is for, which error.
    detail: str | None = None
    place: Place | None = None

    @property
    def recoverable(self) -> bool:
        """Whether recovery can help without anybody repairing something first."""
        return self.why in RECOVERABLE and self.error_code not in HOPELESS

    @property
    def advice(self) -> str:
        """What to do."""
        hopeless = HOPELESS.get(self.error_code or "") if self.why is Why.FAILED else None
        return hopeless or _ADVICE[self.why].format(run=self.run_id, thread=self.thread_id, agent=self.agent)
