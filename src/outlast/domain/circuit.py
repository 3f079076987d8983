"""When a model that fails is left alone, and who may find out whether it answers again.

    closed --(enough of the window's calls fail)--> open --(a probe is answered)--> closed
                                                     open --(a probe fails, or is never heard of again)--> open, longer

Pure functions of a circuit and the time. Whoever stores circuits replaces one only if it is still the one that was
looked at (`version`), so that of any number of processes one opens it and one probes it.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final
from uuid import UUID

#: A probe that is not heard of for so many times `open` is given up; its process may be dead.
_LEASE: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """When a circuit opens and for how long; times in seconds."""

    failures: int
    ratio: float
    window: float
    open: float
    longest: float

    @property
    def lease(self) -> float:
        """How long a probe may take before another one is sent."""
        return self.open * _LEASE


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """Calls and failures that were reported in one second, by the clock of whoever stores circuits."""

    second: int
    calls: int
    failures: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Circuit:
    """The state of one model under one key; times are seconds since 1970 on the store's clock."""

    version: int = 0
    #: Open periods since it was last closed; 0: it is closed.
    openings: int = 0
    #: When the state it is in began.
    since: float = 0.0
    #: When the next probe may be sent.
    probe_at: float = 0.0
    #: The probe that is on its way, and when it is given up.
    probe_by: UUID | None = None
    probe_until: float = 0.0

    @property
    def closed(self) -> bool:
        """Whether the model is asked as usual."""
        return self.openings == 0

    def probe_due(self, now: float) -> bool:
        """Whether a probe may be sent now."""
        return not self.closed and now >= (self.probe_at if self.probe_by is None else self.probe_until)


def fails(circuit: Circuit, tallies: Iterable[Tally], now: float, thresholds: Thresholds) -> bool:
    """Whether a closed circuit has to open.

    The share of failures is taken over the window and over each shorter stretch up to now: after a long good time at
    a high rate the whole window would notice an outage only when half of it has passed.
    """
    if not circuit.closed:
        return False
    # What was reported in the second in which it closed may be the end of the outage.
    first = max(now - thresholds.window, float(int(circuit.since)))
    calls = failures = 0
    for tally in sorted(tallies, key=lambda tally: tally.second, reverse=True):
        if tally.second <= first:
            break
        calls += tally.calls
        failures += tally.failures
        if failures >= thresholds.failures and failures >= calls * thresholds.ratio:
            return True
    return False


def opened(circuit: Circuit, now: float, thresholds: Thresholds) -> Circuit:
    """Return the circuit in its next open period, each one twice as long as the one before."""
    openings = circuit.openings + 1
    # 2 ** 32 times any period is longer than the longest.
    period = min(thresholds.longest, thresholds.open * 2.0 ** min(openings - 1, 32))
    return replace(
        circuit,
        version=circuit.version + 1,
        openings=openings,
        since=now if circuit.closed else circuit.since,
        probe_at=now + period,
        probe_by=None,
        probe_until=0.0,
    )


def probed(circuit: Circuit, by: UUID, now: float, thresholds: Thresholds) -> Circuit:
    """Return the circuit with a probe of its own; only for one that `probe_due`.

    A probe that was given up has failed: its period is over, and this is the next one's.
    """
    if circuit.probe_by is not None:
        circuit = opened(circuit, now, thresholds)
    return replace(circuit, version=circuit.version + 1, probe_by=by, probe_until=now + thresholds.lease)


def closed(circuit: Circuit, now: float) -> Circuit:
    """Return the circuit after a probe was answered; late is as good as in time, for it answers now."""
    return Circuit(version=circuit.version + 1, since=now)


def released(circuit: Circuit, now: float, thresholds: Thresholds) -> Circuit:
    """Return the circuit after a probe that told nothing: it was cancelled before there was an answer."""
    return replace(circuit, version=circuit.version + 1, probe_at=now + thresholds.open, probe_by=None, probe_until=0.0)
