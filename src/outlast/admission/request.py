"""What a client asks for, before anybody has said yes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import UUID

from outlast.admission.idempotency import Idempotency
from outlast.domain.options import PLAIN, Multitask, RunOptions
from outlast.domain.thread import Ttl


@dataclass(frozen=True, slots=True, kw_only=True)
class ThreadRules:
    """What a request of the Agent Server API wants of the thread, and what it may have."""

    multitask: Multitask = "enqueue"
    if_not_exists: Literal["create", "reject"] = "reject"
    #: A jsonpath that the thread's metadata has to satisfy; None: anybody's thread.
    access: str | None = None
    #: For a thread that has none of these keys yet.
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    #: Of a thread that is made.
    ttl: Ttl | None = None


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
    options: RunOptions = PLAIN
    assistant_id: UUID | None = None
    #: Where its end is told.
    webhook: str | None = None
    #: The thread is made for this run; it goes when the run has ended, unless `on_completion` says otherwise.
    temporary: bool = False
    #: None: a plain run, which takes any thread and waits for its turn.
    thread: ThreadRules | None = None


#: Returns the request, completed or cleaned; raises InvalidInput or another refusal.
Check = Callable[[RunRequest], RunRequest]
