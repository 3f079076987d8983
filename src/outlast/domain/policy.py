"""What policies are asked about, and what they know beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

#: A run that is to be taken in, a model that is to be asked, a tool that is to be called.
Kind = Literal["run", "model", "tool"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyRequest:
    """What somebody, or something, wants to do. Which fields there are depends on `kind`."""

    kind: Kind
    agent: str
    #: run: what the client sent. A run that goes on or answers a question has a `command` (`resume`, `update`, `goto`).
    input: Any = None
    command: Mapping[str, Any] | None = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: run: seconds for one attempt; None: as the settings say.
    timeout_seconds: int | None = None
    #: model: as `openai:gpt-4o`.
    model: str | None = None
    #: tool: its name and the arguments that the model chose.
    tool: str | None = None
    arguments: Mapping[str, Any] = field(default_factory=dict[str, Any])
    thread_id: str | None = None
    #: model, tool: the run that wants it.
    run_id: UUID | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyFacts:
    """What is known at that moment. Only what was proven stands here: nothing that a client could make up."""

    tenant: str
    #: Who asks; None: nobody in particular.
    user: str | None = None
    #: The API key, by its public id.
    key_id: str | None = None
    agent: str
    #: UTC.
    at: datetime
    #: model, tool: what the run has used until now, earlier attempts included: model calls, tokens, millionths of a US
    #: dollar, and seconds since its first claim. 0 for a run that is to begin.
    turns: int = 0
    tokens: int = 0
    cost_micros: int = 0
    seconds: float = 0.0
    #: Attempts of the run that ended in an error.
    errors: int = 0
