"""Every error Outlast raises on purpose, in one tree.

    OutlastError
    ├── ConfigurationError      the project's files or settings are wrong
    │   ├── AgentLoadError      a graph named in langgraph.json or outlast.toml cannot be loaded
    │   └── DatabaseSetupError  no usable PostgreSQL, or its schema is not the one this version needs
    ├── InvalidInput            a request's field is wrong; nothing was stored
    │   └── NotSupported        a known field asks for what this server does not do
    ├── Unauthenticated         the project's auth does not know the caller
    ├── Forbidden               the project's auth does not allow this to the caller
    ├── AdmissionRefused        the run may not start (now); nothing was stored (these are in `outlast.refusals`)
    │   ├── RateLimited           too many requests in too short a time; `retry_after` says when the next one may come
    │   ├── QueueFull             the tenant has as many runs in the queue as it may have, or they wait for too long
    │   │   └── Overloaded          the same of the queue as a whole
    │   ├── BudgetExceeded        a budget is spent; also in the middle of a run
    │   └── PolicyRefused         a policy does not allow it
    ├── NotFound                no such run, thread or agent
    ├── Conflict                the thing exists but is not in a state that allows this
    │   ├── ThreadConflict      two writers on one thread; the later one was refused
    │   ├── ThreadQuarantined   the thread's state cannot be restored; a person has to look
    │   ├── ThreadBusy          a run of the thread has still to run
    │   ├── NothingToResume     the thread does not ask what was answered
    │   ├── AlreadyAnswered     another run has the answer to the same question
    │   └── RunEnded            there is nothing left to cancel
    ├── LeaseLost               another worker owns the run now; stop and discard
    ├── DatabaseUnavailable     PostgreSQL does not answer; nothing was lost, try again
    ├── CallFailed              a model could not be asked, or did not answer; `kind` says why
    │   ├── ProviderUnavailable   no model of the call answers at the moment
    │   ├── ProviderRefused       the request itself is refused; another try would be, too
    │   ├── ProviderUnauthorized  the API key is not accepted; an operator has to look
    │   └── BadAnswer             the answer ended early or cannot be read, twice
    ├── CapReached              the run would go beyond what one run may use
    ├── BlockingCall            a sync call of a model or an effect on the event loop itself
    ├── NotApplied              an effect says of itself that it was certainly not applied
    ├── EffectUnknown           nobody knows whether an effect was applied, and nobody may be asked here
    ├── EffectMismatch          a step that is executed again asks for another effect in the place of the first
    ├── Undecipherable          what is stored cannot be decrypted, or is not encrypted though it has to be
    ├── EmbeddingFailed         the project's embedding raised; nothing was stored or searched
    └── StateError              a value of the graph's state
        ├── StateNotSerializable  cannot be stored
        ├── StateTooLarge         is larger than the cap
        └── StateUnreadable       was stored but cannot be restored to its type

`code` names the error for programs and never changes; `retryable` says whether the same
request can succeed later without anyone changing anything.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar


class OutlastError(Exception):
    """Base of all errors raised on purpose; the message says what to do next."""

    code: ClassVar[str] = "outlast_error"
    retryable: ClassVar[bool] = False


class ConfigurationError(OutlastError):
    """The project's files or settings are wrong."""

    code = "configuration_error"


class AgentLoadError(ConfigurationError):
    """A graph named in `langgraph.json` or `outlast.toml` cannot be loaded."""

    code = "agent_load_error"


class DatabaseSetupError(ConfigurationError):
    """There is no usable PostgreSQL, or its schema is not the one this version needs."""

    code = "database_setup_error"


class InvalidInput(OutlastError):
    """A field of a request is wrong; nothing was stored."""

    code = "invalid_input"

    def __init__(self, message: str, *, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class Unauthenticated(OutlastError):
    """The project's auth does not know who is calling."""

    code = "unauthenticated"

    def __init__(self, message: str = "who is calling could not be established; send valid credentials") -> None:
        super().__init__(message)


class Forbidden(OutlastError):
    """The project's auth does not allow this to whoever is calling."""

    code = "forbidden"


class NotSupported(InvalidInput):
    """A known field asks for what this server does not do; nothing was stored."""

    code = "not_supported"


class NotFound(OutlastError):
    """There is no such run, thread or agent."""

    code = "not_found"

    def __init__(self, kind: str, name: str, *, hint: str = "") -> None:
        super().__init__(f"there is no {kind} {name!r}{hint}")
        self.kind = kind
        self.name = name


class Conflict(OutlastError):
    """The thing exists but is not in a state that allows this; `details` say which one it is in, for programs."""

    code = "conflict"

    def __init__(self, message: str, *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.details: Mapping[str, Any] = details or {}


class ThreadConflict(Conflict):
    """Two writers worked on one thread; this one was late and nothing of it was stored."""

    code = "thread_conflict"

    def __init__(self, *, thread_id: str, checkpoint_ns: str, checkpoint_id: str) -> None:
        where = f"thread {thread_id!r}" + (f", namespace {checkpoint_ns!r}" if checkpoint_ns else "")
        super().__init__(
            f"{where} was moved on by another writer, so checkpoint {checkpoint_id} was refused and nothing of it "
            "was stored. Read the thread's state again and repeat the call; run one graph on a thread at a time."
        )
        self.thread_id = thread_id


class ThreadQuarantined(Conflict):
    """The thread's state cannot be restored to its types, so no run may start on it."""

    code = "thread_quarantined"

    def __init__(self, *, thread_id: str, reason: str) -> None:
        super().__init__(
            f"thread {thread_id!r} is quarantined: {reason}. Repair the cause, then reading its state "
            "(`GET /agent/state/{thread_id}?values=true`) lifts the quarantine."
        )
        self.thread_id = thread_id
        self.reason = reason


class ThreadBusy(Conflict):
    """A run of the thread has still to run, and this was to happen only if none has."""

    code = "thread_busy"

    def __init__(self, *, run_id: str, status: str) -> None:
        super().__init__(
            "Thread is already running a task. Wait for it to finish or choose a different multitask strategy. "
            f"Run {run_id} is {status}.",
            details={"thread_status": "busy", "run_id": run_id, "run_status": status},
        )


class NothingToResume(Conflict):
    """The thread does not ask what was answered."""

    code = "nothing_to_resume"

    def __init__(
        self, *, status: str, interrupts: Sequence[str], run_id: str | None = None, unknown: str | None = None
    ) -> None:
        if unknown is not None:
            message = f"question {unknown} is not open on this thread"
        elif run_id is not None:
            message = f"the thread is busy with run {run_id}; it asks nothing until that run has ended"
        else:
            message = f"the thread is {status}; it asks nothing"
        details = {"thread_status": status, "run_id": run_id, "interrupts": list(interrupts)}
        super().__init__(message, details=details)


class AlreadyAnswered(Conflict):
    """Another run has the answer to the same question."""

    code = "already_answered"

    def __init__(self, *, run_id: str, status: str, interrupts: Sequence[str]) -> None:
        super().__init__(
            f"the question was answered already; run {run_id} goes on with the answer",
            details={
                "thread_status": "busy", "run_id": run_id, "run_status": status, "interrupts": list(interrupts)
            },
        )  # fmt: skip


class RunEnded(Conflict):
    """The run has ended already; there is nothing left to cancel."""

    code = "run_ended"

    def __init__(self, *, run_id: str, status: str) -> None:
        super().__init__(
            f"run {run_id} has ended already ({status}); there is nothing to cancel",
            details={"run_id": run_id, "run_status": status},
        )


class LeaseLost(OutlastError):
    """Another worker owns the run now: stop and discard. Nothing of this write was stored."""

    code = "lease_lost"

    def __init__(self, *, run_id: str, epoch: int) -> None:
        super().__init__(f"run {run_id} is no longer owned under epoch {epoch}; this write was refused")
        self.run_id = run_id
        self.epoch = epoch


class DatabaseUnavailable(OutlastError):
    """PostgreSQL does not answer. Nothing acknowledged is lost; try again."""

    code = "database_unavailable"
    retryable = True


class CallFailed(OutlastError):
    """A model could not be asked, or did not answer; what the provider said is the cause."""

    code = "call_failed"

    def __init__(self, message: str, *, model: str, kind: str) -> None:
        super().__init__(message)
        self.model = model
        self.kind = kind


class ProviderUnavailable(CallFailed):
    """No model of the call answers at the moment: outage, limit or timeout.

    `retry_after`: sooner, in seconds, another try makes no sense; None: nobody knows.
    """

    code = "provider_unavailable"
    retryable = True

    def __init__(self, message: str, *, model: str, kind: str, retry_after: float | None = None) -> None:
        super().__init__(message, model=model, kind=kind)
        self.retry_after = retry_after


class ProviderRefused(CallFailed):
    """The provider refuses this request (400, content policy); another try or another model would not help."""

    code = "provider_refused"


class ProviderUnauthorized(CallFailed):
    """The provider does not accept the API key (401, 403)."""

    code = "provider_unauthorized"


class BadAnswer(CallFailed):
    """The answer ended early or cannot be read, and so did the next one."""

    code = "bad_answer"


class CapReached(OutlastError):
    """The run would go beyond what one run may use; `cap` says which one: turns, tokens, cost_usd or seconds."""

    code = "cap_reached"

    def __init__(self, *, cap: str, used: float, limit: float, setting: str | None = None) -> None:
        super().__init__(
            f"the run has used {_figure(used)} {cap} of {_figure(limit)}; raise {setting or f'calls.caps.{cap}'} if it "
            "is meant to go on that long, then replay the run"
        )
        self.cap = cap
        self.used = used
        self.limit = limit


def _figure(value: float) -> str:
    return f"{value:,.6f}".rstrip("0").rstrip(".")


class BlockingCall(OutlastError):
    """A sync call on the event loop itself, which would stand still with every run of the process."""

    code = "blocking_call"

    def __init__(self, what: str) -> None:
        super().__init__(
            f"{what} was called synchronously inside an async node, which would block every run of this process; "
            "await the async form (`ainvoke`), or make the node a plain `def`"
        )


class NotApplied(OutlastError):
    """The effect was certainly not applied: raise it in an effect's function, or return it from a lookup.

    The run's attempt ends with it as with any other error; `retryable` says whether another attempt may help.
    """

    code = "not_applied"

    def __init__(self, message: str = "the effect was not applied", *, retryable: bool = False) -> None:
        super().__init__(message)
        # Of this one, not of the class.
        self.__dict__["retryable"] = retryable


class EffectUnknown(OutlastError):
    """Nobody knows whether an effect was applied, and there is nobody to ask."""

    code = "effect_unknown"

    def __init__(self, *, name: str, key: str) -> None:
        super().__init__(
            f"effect {name!r} ({key}) was begun and its outcome is unknown; look at the receiver, then say what "
            "happened, or declare on_unknown='retry' or a lookup if the receiver honours the key"
        )
        self.key = key


class EffectMismatch(OutlastError):
    """A step that is executed again asks for another effect in the place of one that was begun already."""

    code = "effect_mismatch"

    def __init__(self, *, name: str, key: str) -> None:
        super().__init__(
            f"effect {name!r} ({key}) was begun with other arguments before this step was executed again; it was not "
            "called. What its arguments are made of has to be the same each time: use outlast.journal for clock, ids "
            "and reads, or give the effect a key of your own"
        )
        self.key = key


class Undecipherable(OutlastError):
    """What is stored cannot be decrypted, or is not encrypted though everything has to be; it is left as it is."""

    code = "undecipherable"


class EmbeddingFailed(OutlastError):
    """The embedding of `store.index` raised, so nothing was stored or searched; what it raised is in the log."""

    code = "embedding_failed"
    retryable = True

    def __init__(self, kind: str) -> None:
        super().__init__(f"the store's embedding failed with {kind}; try again, or look into the server's log")


class StateError(OutlastError):
    """A value of a graph's state cannot be stored or restored; `path` says which one."""

    code = "state_error"

    def __init__(self, message: str, *, path: str) -> None:
        super().__init__(message)
        self.path = path


class StateNotSerializable(StateError):
    """A value cannot be stored."""

    code = "state_not_serializable"


class StateTooLarge(StateError):
    """A value is larger than the cap."""

    code = "state_too_large"

    def __init__(self, *, path: str, size_bytes: int, limit_bytes: int) -> None:
        super().__init__(
            f"state {path}: {size_bytes:,} bytes is over the cap of {limit_bytes:,} bytes for one value. "
            "Keep large data outside the state (a file, an object store) and put its address here, "
            "or raise max_value_bytes.",
            path=path,
        )
        self.size_bytes = size_bytes
        self.limit_bytes = limit_bytes


class StateUnreadable(StateError):
    """A value was stored but cannot be restored to its type; it is left as it is in the database."""

    code = "state_unreadable"
