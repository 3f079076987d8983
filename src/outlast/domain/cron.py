"""A cron: a run that a clock starts, again and again."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import UUID, uuid5

from outlast.domain.schedule import next_tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When a cron is due. Times are aware."""

    schedule: str
    #: A name of the IANA database; None is UTC.
    timezone: str | None = None
    end_at: datetime | None = None
    enabled: bool = True

    def next_after(self, moment: datetime) -> datetime | None:
        """Return the next tick; None when there is none any more, or none for now. Raises InvalidInput."""
        tick = next_tick(self.schedule, self.timezone, moment)
        if not self.enabled or (tick is not None and self.end_at is not None and tick > self.end_at):
            return None
        return tick


@dataclass(frozen=True, slots=True, kw_only=True)
class Cron:
    """A cron as clients see it."""

    id: UUID
    assistant_id: UUID
    #: None: each tick gets a thread of its own.
    thread_id: str | None
    user_id: str | None
    timing: Timing
    next_run_at: datetime | None
    #: The body of the run that each tick creates, as it was sent.
    payload: Mapping[str, Any]
    metadata: Mapping[str, Any]
    #: What becomes of a tick's own thread.
    on_run_completed: Literal["delete", "keep"] | None
    created_at: datetime
    updated_at: datetime


def run_id_of_tick(cron_id: UUID, due_at: datetime) -> UUID:
    """Return the id of the run that a tick creates: the same one whoever computes it, so that no tick has two runs."""
    return uuid5(cron_id, due_at.astimezone(UTC).isoformat())
