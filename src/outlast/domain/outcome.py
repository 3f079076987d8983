"""How an attempt of a run ended, and what that makes of the run and of its thread."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import UUID

from outlast.domain.options import Protocol
from outlast.domain.run import RunStatus
from outlast.domain.thread import Questions, ThreadMark, ThreadState


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The graph ended."""

    output: Any
    #: The whole state as JSON, and the checkpoint it is of; None when nobody asked for it.
    values: bytes | None = None
    stands_at: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The graph asked a person; `checkpoint_id` is where it stands."""

    interrupts: Sequence[Mapping[str, Any]]
    checkpoint_id: UUID | None
    output: Any
    values: bytes | None = None
    #: The same questions by task; a breakpoint asks none.
    tasks: Questions = field(default_factory=dict[str, Sequence[Mapping[str, Any]]])
    #: The checkpoint that `values` are of, where that is not the one that asked.
    stands_at: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt ended in an error."""

    code: str
    message: str
    retryable: bool
    #: Sooner, another attempt would fail the same way; the backoff comes on top.
    wait: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A person cancelled the run, and it has really stopped."""

    #: The graph was called; what it did before it stopped is in the thread.
    begun: bool = True


@dataclass(frozen=True, slots=True)
class Drained:
    """The worker is shutting down; the run stopped at a step boundary and is handed back."""


Outcome = Succeeded | Waiting | Failed | Cancelled | Drained


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What is stored for an outcome."""

    status: RunStatus
    #: Added to the run's count of errors.
    errors: int = 0
    delay: timedelta = timedelta(0)
    output: Any = None
    #: The output as JSON already; it goes before `output`.
    encoded: bytes | None = None
    interrupts: Sequence[Mapping[str, Any]] | None = None
    waiting_at: UUID | None = None
    error_code: str | None = None
    error_message: str | None = None
    #: Of the attempt's last record in the stream; None when it kept none.
    last_pos: int | None = None
    #: Counts when the run has ended or waits; None: the thread is as it was.
    thread: ThreadMark | None = None


def settle(
    outcome: Outcome,
    *,
    errors: int,
    max_attempts: int,
    backoff: timedelta,
    protocol: Protocol = "plain",
    last_pos: int | None = None,
) -> Settlement:
    """Decide what an outcome makes of a run that had `errors` failed attempts before.

    An error counts as an attempt, a drain does not; crashes are counted where they are found, in recovery. A question
    ends a run of the Agent Server API, whose output is the whole state; a plain run waits for the answer.
    """
    plain = protocol == "plain"
    thread = mark_of_outcome(outcome)
    match outcome:
        case Succeeded(output=output, values=values):
            encoded = None if plain else values
            return Settlement(
                status=RunStatus.SUCCEEDED, output=output, encoded=encoded, last_pos=last_pos, thread=thread
            )
        case Waiting():
            return Settlement(
                status=RunStatus.WAITING if plain else RunStatus.INTERRUPTED,
                interrupts=outcome.interrupts,
                waiting_at=outcome.checkpoint_id,
                output=outcome.output,
                encoded=None if plain else outcome.values,
                last_pos=last_pos,
                thread=thread,
            )
        case Cancelled():
            return Settlement(status=RunStatus.CANCELLED, last_pos=last_pos, thread=thread)
        case Drained():
            return Settlement(status=RunStatus.QUEUED, last_pos=last_pos, thread=thread)
        case Failed(code=code, message=message, retryable=retryable, wait=wait):
            again = retryable and errors + 1 < max_attempts
            return Settlement(
                status=RunStatus.QUEUED if again else RunStatus.FAILED,
                errors=1,
                delay=wait + backoff if again else timedelta(0),
                error_code=code,
                error_message=message,
                last_pos=last_pos,
                thread=thread if not again else _STOPPED,
            )


# Also for what goes back to the queue: a run that was cancelled meanwhile ends there, and the thread with it.
_STOPPED = ThreadMark(state=ThreadState.INTERRUPTED)


def mark_of_outcome(outcome: Outcome) -> ThreadMark | None:
    """Return what an outcome leaves of its thread.

    What a failed or stopped attempt did up to its end is in the checkpoints alone, so the values are not known here;
    and whether a question is still open is told by where the thread stands.
    """
    match outcome:
        case Succeeded(values=values, stands_at=stands_at):
            return ThreadMark(state=ThreadState.IDLE, values=values, interrupts={}, stands_at=stands_at)
        case Waiting():
            return ThreadMark(
                state=ThreadState.INTERRUPTED,
                values=outcome.values,
                interrupts=outcome.tasks,
                waiting_at=outcome.checkpoint_id,
                stands_at=outcome.stands_at or outcome.checkpoint_id,
            )
        case Failed(code=code, message=message):
            return ThreadMark(state=ThreadState.ERROR, error={"error": code, "message": message})
        case Cancelled(begun=begun):
            return _STOPPED if begun else None
        case Drained():
            return _STOPPED
