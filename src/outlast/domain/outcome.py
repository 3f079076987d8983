"""How an attempt of a run ended, and what that makes of the run."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from outlast.domain.run import RunStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class Succeeded:
    """The graph ended."""

    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiting:
    """The graph asked a person; `checkpoint_id` is where it stands."""

    interrupts: Sequence[Mapping[str, Any]]
    checkpoint_id: UUID | None
    output: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """The attempt ended in an error."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True, slots=True)
class Cancelled:
    """A person cancelled the run, and it has really stopped."""


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
    interrupts: Sequence[Mapping[str, Any]] | None = None
    waiting_at: UUID | None = None
    error_code: str | None = None
    error_message: str | None = None


def settle(outcome: Outcome, *, errors: int, max_attempts: int, backoff: timedelta) -> Settlement:
    """Decide what an outcome makes of a run that had `errors` failed attempts before.

    An error counts as an attempt, a drain does not; crashes are counted where they are found, in recovery.
    """
    match outcome:
        case Succeeded(output=output):
            return Settlement(status=RunStatus.SUCCEEDED, output=output)
        case Waiting(interrupts=interrupts, checkpoint_id=checkpoint_id, output=output):
            return Settlement(status=RunStatus.WAITING, interrupts=interrupts, waiting_at=checkpoint_id, output=output)
        case Cancelled():
            return Settlement(status=RunStatus.CANCELLED)
        case Drained():
            return Settlement(status=RunStatus.QUEUED)
        case Failed(code=code, message=message, retryable=retryable):
            again = retryable and errors + 1 < max_attempts
            return Settlement(
                status=RunStatus.QUEUED if again else RunStatus.FAILED,
                errors=1,
                delay=backoff if again else timedelta(0),
                error_code=code,
                error_message=message,
            )
