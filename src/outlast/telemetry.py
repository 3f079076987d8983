"""Anyone says that something happened; who listens is decided elsewhere.

`emit("checkpoint.committed", rows=3)` costs a dictionary look-up when nobody listens. Logs, metrics and the live
stream subscribe; the same names are the fault points of the test suite, so production code carries no test hooks.

Faults, for tests only, come from `OUTLAST_FAULT`, several separated by commas, then options:

    checkpoint.before_commit:exit:0.1,run.claimed:stall:1:2;seed=42;stall=30

    point : action : probability (default 1) : only the n-th time the dice fall so (default every time)

Actions: `exit` ends the process as kill -9 would, `raise` raises FaultInjected, `lost` raises ConnectionError (after a
commit: the answer that never came), `stall` blocks the whole process's thread for `stall` seconds (default 30; a worker
that was suspended). With a `log=PATH` option each hit is appended to the file as a line `point pid`.
"""

import math
import os
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

Listener = Callable[[str, Mapping[str, Any]], None]
N = TypeVar("N", int, float)

# Every name that may be emitted. A test fails on a name that is missing here or never emitted.
POINTS: Final[Mapping[str, str]] = {
    "run.enqueue.before_commit": "a run is about to be stored",
    "run.enqueued": "a run was stored; its acknowledgement is still to be sent",
    "run.claimed": "a worker owns a batch of runs",
    "run.started": "the graph of a run is about to be called",
    "run.executed": "the graph ended; the run is not settled yet",
    "run.settle.before_commit": "the outcome is about to be stored",
    "run.settled": "the outcome is stored",
    "run.lease_lost": "a write was refused: another worker owns the run",
    "run.cancel.requested": "a cancellation was stored",
    "run.rolled_back.before_commit": "a run and what it wrote are about to be gone",
    "run.drained": "a run was handed back at a step boundary",
    "run.progress.saved": "progress of a run was stored",
    "checkpoint.before_commit": "a batch of checkpoints is about to be sent",
    "checkpoint.after_commit": "a batch of checkpoints is durable, the runs do not know yet",
    "checkpoint.connection_lost": "the writer's connection broke; the batch is sent again",
    "call.before_try": "a model is about to be asked",
    "call.answered": "a model has answered; the answer is not stored yet",
    "call.before_commit": "a batch of answers is about to be stored",
    "call.journaled": "an answer is stored, the step does not know yet",
    "call.connection_lost": "the call log's connection broke; the batch is sent again",
    "call.not_kept": "an answer could not be stored or read back; a step that is executed again asks again",
    "call.replayed": "a step that is executed again got the stored answer",
    "call.mismatch": "a step that is executed again asks something else than before; it got a fresh call",
    "call.try_failed": "one try of a model call failed; `kind` says how",
    "call.failed": "a model call failed for good",
    "call.unauthorized": "a provider does not accept the API key",
    "call.fell_back": "another model is asked instead",
    "call.restarted": "a streamed answer begins anew: what was streamed before does not count",
    "call.retry_denied": "a try was not made: the provider's retry budget is used up",
    "call.limited": "a call waits for the provider's rate limit",
    "call.cached": "an answer came from the cache",
    "call.cache_down": "the cache does not answer; calls go on without it",
    "call.unpriced": "nobody knows what a model costs",
    "call.capped": "a run was stopped because it ran away",
    "budget.reserved": "what a model call may take is reserved; the model was not asked yet",
    "budget.before_settle": "what calls took is about to be charged in the place of what was reserved",
    "budget.released": "what dead attempts had reserved was charged, and is reserved no more",
    "budget.soft_limit": "a budget is spent beyond its soft limit; told once in a period",
    "budget.exceeded": "a call was not made: it may take more than a budget has left",
    "budget.overrun": "a call took more than what was reserved for it, and a budget is spent beyond its limit",
    "call.history_mended": "tool calls and results of a thread were paired before a model call",
    "call.context_trimmed": "messages were left out so that the rest fits the model",
    "breaker.opened": "a model is left alone",
    "breaker.probing": "one call of the whole fleet tries a model that was left alone",
    "breaker.closed": "a model answers again",
    "effect.before_intent": "an effect is about to be announced",
    "effect.intended": "an effect is announced; nothing was done yet",
    "effect.called": "the receiver of an effect has answered; the outcome is not stored yet",
    "effect.recorded": "the outcome of an effect is stored, the step does not know yet",
    "effect.replayed": "a step that is executed again got the stored outcome",
    "effect.unknown": "nobody knows whether an effect was applied",
    "tool.failed": "a tool raised; the model was told",
    "tool.cut": "the result of a tool was too long",
    "tool.refused": "a tool was not called: a policy, or a person, does not allow it; the model was told",
    "tool.approved": "a person allowed one call of a tool with its arguments",
    "tool.disapproved": "a person did not allow a call of a tool",
    "policy.objected": "a policy did not let a model or a tool pass, or wants a person to be asked",
    "switch.stopped": "a run stops at a kill switch; it is handed back",
    "switch.turned": "a kill switch was turned off or on",
    "review.repair.before": "an output is not acceptable; that the agent is told so is stored, and it is about to be",
    "review.escalated": "a person is to look at an output; the question is stored, and the run does not wait yet",
    "review.answered": "what a person said about an output is stored; nothing was done yet",
    "review.edited": "what a person edited is in the thread; the run is not settled yet",
    "review.accepted": "an output counts although validators have found fault with it; the run's metadata says so",
    "review.failed": "a run fails because its output is not acceptable",
    "stream.before_append": "a batch of what runs say is about to be sent to the database",
    "stream.dropped": "what runs said could not be stored for clients of other processes",
    "worker.started": "a worker registered",
    "worker.heartbeat": "a worker said that it lives",
    "worker.fenced": "a worker could not renew its lease and stops itself",
    "worker.draining": "a worker was asked to stop",
    "worker.stopped": "a worker has handed everything back",
    "recovery.before_reap": "a dead worker was found; its runs are about to be taken",
    "recovery.reaped": "the runs of a dead worker are back in the queue",
    "recovery.replayed": "a failed run was replayed without a person",
    "webhook.delivered": "a receiver has the report of a run",
    "webhook.failed": "a report was given up: its receiver never took it",
    "notification.before_commit": "messages are about to be made of what people have to be told",
    "notification.sent": "a receiver has a message; that is not stored yet",
    "notification.delivered": "it is stored that a receiver has a message",
    "notification.failed": "a message was given up: its receiver never took it",
    "inbox.answered.before_commit": "a question is about to be closed, and its run to go on",
    "inbox.answered": "a person has decided; the run goes on when nothing else that it asked is open",
    "inbox.expired.before_commit": "the default of a question is about to be taken",
    "inbox.expired": "nobody has answered a question in time, and its default was taken",
    "inbox.overdue": "nobody has answered a question in time, and it has no default",
    "inbox.not_expired": "the default of a question could not be taken now; it is tried again",
    "upkeep.deleted": "something was deleted because it was old enough",
    "cron.before_commit": "the run of a tick and the cron's next time are about to be stored",
    "cron.ticked": "a tick of a cron has its run",
    "cron.skipped": "a tick of a cron has no run, or the cron no further tick; the reason says why",
    "admission.refused": "a run may not start; the code says why",
    "audit.head": "where a tenant's audit log ends; whoever keeps this line can tell when entries are cut off",
    "audit.lost": "an entry of the audit log could not be written",
    "encryption.resealed.before_commit": "rows that were sealed anew are about to be stored",
    "encryption.row_refused": "a row cannot be decrypted; it stays as it is",
    "loop.failed": "one round of a supervised background loop failed; it goes on",
}


class FaultInjected(RuntimeError):
    """Raised by the fault action `raise`."""


@dataclass(slots=True)
class _Fault:
    point: str
    action: str
    probability: float = 1.0
    nth: int | None = None
    hits: int = 0


@dataclass(slots=True)
class _Faults:
    by_point: dict[str, list[_Fault]] = field(default_factory=dict[str, list[_Fault]])
    rng: random.Random = field(default_factory=random.Random)
    stall_seconds: float = 30.0
    log: Path | None = None


_listeners: list[Listener] = []
_faults = _Faults()


def emit(point: str, **fields: Any) -> None:
    """Tell the listeners; a listener that raises is a bug of the listener and is not caught here."""
    if _listeners:
        for listener in _listeners:
            listener(point, fields)
    if _faults.by_point and point in _faults.by_point:
        _strike(point)


def subscribe(listener: Listener) -> Callable[[], None]:
    """Add a listener, called in the emitter's thread; returns the function that removes it."""
    global _listeners  # noqa: PLW0603 - replaced, never changed, so that a listener may leave while it is told
    _listeners = [*_listeners, listener]
    return lambda: _unsubscribe(listener)


def _unsubscribe(listener: Listener) -> None:
    global _listeners  # noqa: PLW0603 - as above
    _listeners = [other for other in _listeners if other is not listener]


def arm(specification: str) -> None:
    """Arm the faults of `specification` (see the module); an empty one disarms all.

    Raises ValueError on a point or an action that does not exist.
    """
    global _faults  # noqa: PLW0603 - one process has one set of faults, like it has one environment
    faults = _Faults()
    points, *options = specification.split(";")
    for option in options:
        _set_option(faults, option)
    for part in filter(None, (text.strip() for text in points.split(","))):
        fault = _parse(part)
        faults.by_point.setdefault(fault.point, []).append(fault)
    _faults = faults


def _set_option(faults: _Faults, option: str) -> None:
    key, _, value = option.strip().partition("=")
    if key == "seed":
        faults.rng = random.Random(f"{value}:{os.getpid()}")  # noqa: S311 - a reproducible test, not a secret
    elif key == "stall":
        faults.stall_seconds = _number(float, value, "stall")
    elif key == "log":
        faults.log = Path(value)
    else:
        msg = f"OUTLAST_FAULT: unknown option {key!r}; known are seed, stall, log"
        raise ValueError(msg)


def _parse(part: str) -> _Fault:
    point, action, probability, nth, *rest = [*part.split(":"), "", "", ""]
    if point not in POINTS:
        msg = f"OUTLAST_FAULT: no fault point {point!r}; there are {', '.join(POINTS)}"
        raise ValueError(msg)
    if action not in {"exit", "raise", "lost", "stall"}:
        msg = f"OUTLAST_FAULT: no action {action!r}; there are exit, raise, lost, stall"
        raise ValueError(msg)
    if any(rest):
        msg = f"OUTLAST_FAULT: too many fields in {part!r}; expected point:action:probability:n"
        raise ValueError(msg)
    return _Fault(
        point=point,
        action=action,
        probability=_number(float, probability, "probability", largest=1) if probability else 1.0,
        nth=_number(int, nth, "n-th time", smallest=1) if nth else None,
    )


def _number(kind: type[N], text: str, what: str, *, smallest: float = 0, largest: float = math.inf) -> N:
    try:
        number = kind(text)
    except ValueError:
        number = None
    # Not a number compares false.
    if number is None or not smallest <= number <= largest:
        msg = f"OUTLAST_FAULT: {what} {text!r} is not a number from {smallest} to {largest}"
        raise ValueError(msg)
    return number


def _strike(point: str) -> None:
    for fault in _faults.by_point[point]:
        if _faults.rng.random() >= fault.probability:
            continue
        fault.hits += 1
        if fault.nth is None or fault.hits == fault.nth:
            _act(fault)


def _act(fault: _Fault) -> None:
    if _faults.log is not None:
        with _faults.log.open("a") as log:
            log.write(f"{fault.point} {os.getpid()}\n")
    if fault.action == "exit":
        # As kill -9: no finally, no atexit, no flush.
        os._exit(137)
    if fault.action == "stall":
        time.sleep(_faults.stall_seconds)
    elif fault.action == "lost":
        msg = f"fault injected at {fault.point}"
        raise ConnectionError(msg)
    else:
        msg = f"fault injected at {fault.point}"
        raise FaultInjected(msg)
