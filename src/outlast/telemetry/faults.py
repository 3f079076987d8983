"""Faults at the named points, for tests only, so that production code carries no test hooks.

They come from `OUTLAST_FAULT`, several separated by commas, then options:

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
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from outlast.telemetry.points import POINTS

N = TypeVar("N", int, float)


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


_faults = _Faults()
#: Whether anything is to happen anywhere.
armed = False


def arm(specification: str) -> None:
    """Arm the faults of `specification` (see the module); an empty one disarms all.

    Raises ValueError on a point or an action that does not exist.
    """
    global _faults, armed
    faults = _Faults()
    points, *options = specification.split(";")
    for option in options:
        _set_option(faults, option)
    for part in filter(None, (text.strip() for text in points.split(","))):
        fault = _parse(part)
        faults.by_point.setdefault(fault.point, []).append(fault)
    _faults, armed = faults, bool(faults.by_point)


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


def strike(point: str) -> None:
    """Let happen what was armed for the point."""
    for fault in _faults.by_point.get(point, ()):
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
