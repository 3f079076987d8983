"""An effect (a write to the outside) as it is written down.

    intent -> done | failed (certainly not applied) | unknown        unknown -> done | failed
    failed -> intent   called again with the same key                unknown -> intent   the same, where declared

An intent whose owner is gone is an unknown outcome.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, NamedTuple, TypeAlias
from uuid import UUID

from outlast.domain.budget import Question

State: TypeAlias = Literal["intent", "done", "failed", "unknown"]


class EffectRow(NamedTuple):
    """An effect as its owner needs it, in the order of `part: columns`."""

    key: str
    lineage: UUID
    task: UUID
    name: str
    ordinal: int | None
    args_hash: UUID
    #: As people see them, JSON.
    arguments: bytes
    state: State
    doubtful: bool
    body: bytes | None
    error: str | None
    calls: int
    run_id: UUID
    epoch: int
    errors: int
    execution: int
    answer: bytes | None
    begun_at: datetime
    ended_at: datetime | None
    #: The receiver may have forgotten the key.
    expired: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class EffectView:
    """An effect as people see it."""

    key: str
    name: str
    #: An intent whose owner is gone is shown as unknown.
    state: State
    agent: str
    thread_id: str | None
    run_id: UUID
    lineage: UUID
    run_status: str | None
    business_key: str | None
    arguments: bytes
    error: str | None
    calls: int
    answer: bytes | None
    answered_at: datetime | None
    begun_at: datetime
    ended_at: datetime | None
    key_expires_at: datetime | None


class Asked(NamedTuple):
    """A question to a person about the first so many calls with a key."""

    key: str
    calls: int
    #: It is about a budget, and `key` stands for the model call that met its limit.
    budget: Question | None = None


class Owner(NamedTuple):
    """The attempt that writes."""

    run_id: UUID
    epoch: int
    errors: int
    execution: int


class Intent(NamedTuple):
    """An effect that is about to be called, for the first time or again."""

    key: str
    lineage: UUID
    task: UUID
    name: str
    ordinal: int | None
    business_key: str | None
    tenant: str
    agent: str
    thread_key: bytes
    args_hash: bytes
    arguments: bytes
    #: With this call.
    calls: int
    key_ttl: timedelta | None
