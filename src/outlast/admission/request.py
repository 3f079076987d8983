"""What a client asks for, before anybody has said yes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from outlast.admission.idempotency import Idempotency


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRequest:
    """A run that is wanted. None leaves the choice to us."""

    input: Any
    agent: str | None = None
    thread_id: str | None = None
    config: Mapping[str, Any] = field(default_factory=dict[str, Any])
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    priority: int = 0
    delay_seconds: float = 0.0
    max_attempts: int | None = None
    timeout_seconds: int | None = None
    idempotency: Idempotency | None = None


#: Returns the request, completed or cleaned; raises InvalidInput or another refusal.
Check = Callable[[RunRequest], RunRequest]
