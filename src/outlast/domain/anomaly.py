"""What a run was like, in figures, and what was found not to be as usual about an agent."""

from dataclasses import dataclass
from datetime import datetime
from typing import Final, Literal
from uuid import UUID

#: info: one run by itself. warning: the agent is not as usual. critical: hardly any run is.
Severity = Literal["info", "warning", "critical"]
#: normal: as usual again. usual: it went on for so long that it is what is usual now. silent: the agent runs no more.
EndedAs = Literal["normal", "usual", "silent"]
SEVERITIES: Final[tuple[Severity, ...]] = ("info", "warning", "critical")


@dataclass(frozen=True, slots=True, kw_only=True)
class Observation:
    """One end of a run, as it is judged."""

    id: int
    tenant: str
    agent: str
    #: The one that was used most; empty: none was.
    model: str
    run_id: UUID
    ended_at: datetime
    status: Literal["success", "error", "cancelled"]
    error_class: str | None = None
    #: Characters; None: nothing was looked at.
    output_length: int | None = None
    #: From 0 to 1.
    confidence: float | None = None
    tokens: int = 0
    cost_usd: float = 0.0
    seconds: float = 0.0
    tool_calls: int = 0
    tool_errors: int = 0
    refused: bool = False
    empty: bool = False
    invalid: bool = False
    #: SimHashes of 64 bits.
    output_print: int | None = None
    input_print: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Anomaly:
    """One fault of an agent with a model, however many runs have shown it."""

    id: UUID
    agent: str
    model: str
    kind: str
    #: That showed it first; None: it was erased.
    run_id: UUID | None
    found_at: datetime
    ended_at: datetime | None
    ended_as: EndedAs | None
    severity: Severity
    #: In plain words.
    text: str
    value: float | None
    expected: float | None
    #: Runs that were unlike the usual since.
    seen_runs: int
    tenant: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AnomalyQuery:
    """Which are wanted; None does not filter."""

    agent: str | None = None
    kind: str | None = None
    #: Only those that have not ended.
    open: bool = False
    #: Found at or after.
    since: datetime | None = None
