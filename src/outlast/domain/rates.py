"""Rate limits: what a call needs of them, and what it gets."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Share:
    """What one call takes of one limit."""

    #: Of the limit, the same in all processes.
    name: str
    #: How long the limit takes to let this much through: 60 s x requests or tokens / what it allows per minute.
    seconds: float
    #: How far, in seconds of its rate, the limit may be ahead before anybody waits.
    burst: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """When a call may ask: in `wait` seconds, by the limits that are `taken`.

    What it asked for and is not among them has to be asked for again after the wait. Nothing is taken when the wait is
    longer than the call's patience.
    """

    wait: float
    #: Names with the seconds of all their pauses so far, to be compared after the wait.
    taken: Mapping[str, float]
