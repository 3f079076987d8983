"""One kind of one agent with one model: from the first evidence to the end, as one finding.

    usual --evidence--> open --the last ten runs are as usual--> usual            ended as `normal`
                        open --`adapt` runs, and they are not---> usual, anew      ended as `usual`

What is usual is not learned from the fault: a run becomes part of it `hold` runs later, and not if something was found
meanwhile; and while something is open nothing is learned at all.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from uuid import UUID

from outlast.domain.anomaly import SEVERITIES, EndedAs, Severity
from outlast.monitoring.anomalies.evidence import Detector, Evidence
from outlast.monitoring.anomalies.kinds import Kind
from outlast.settings_anomalies import AnomalyRules

_FEWEST_RUNS: Final = 10

Values = tuple[Any, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """A finding that has not ended."""

    id: UUID
    severity: Severity
    #: Judged since.
    runs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What one run has changed: something was found or is worse than it seemed, or it has ended."""

    evidence: Evidence | None = None
    ended_as: EndedAs | None = None
    #: Of what has ended.
    id: UUID | None = None
    #: The run shows what is open.
    shows: bool = False


_NOTHING: Final = Told()


class Watch:
    """Judges the runs of one kind, one after the other."""

    def __init__(self, kind: Kind, rules: AnomalyRules) -> None:
        self.kind = kind
        self.open: Open | None = None
        self._rules = rules
        self._detectors: Sequence[Detector] = kind.detectors(rules)
        #: Judged, and not part of what is usual yet; each with its hour.
        self._held: deque[tuple[int, Values]] = deque()
        #: Seen while something is open; it may become what is usual.
        self._since: deque[tuple[int, Values]] = deque(maxlen=rules.window)

    @property
    def detectors(self) -> Sequence[Detector]:
        """What compares."""
        return self._detectors

    @property
    def warm(self) -> bool:
        """Whether anything can be found."""
        return any(detector.warm for detector in self._detectors)

    def judge(self, values: Values, *, hour: int) -> Told:
        """Compare a run; a finding is open for the caller to name (`opened`) when there is evidence and none was."""
        if all(value is None for value in values):
            return _NOTHING
        pairs = [(d, value) for d, value in zip(self._detectors, values, strict=True) if value is not None]
        found = [evidence for d, value in pairs if (evidence := d.judge(value, hour=hour)) is not None]
        evidence = max(found, key=lambda each: SEVERITIES.index(each.severity), default=None)
        if self.open is not None:
            return self._go_on(self.open, evidence, hour, values)
        if evidence is not None:
            self._held.clear()
            return Told(evidence=evidence, shows=True)
        self._hold(hour, values)
        return _NOTHING

    def opened(self, id_: UUID, severity: Severity) -> None:
        """Something was found under this id."""
        self.open = Open(id=id_, severity=severity)

    def close(self) -> None:
        """Go on with what was usual before: it has ended."""
        self.open = None
        self._held.clear()
        self._since.clear()
        for detector in self._detectors:
            detector.rest()

    def state(self) -> Mapping[str, Any]:
        """Return what the next process has to know, as JSON."""
        return {
            "detectors": [detector.state() for detector in self._detectors],
            "held": list(self._held),
            **({"since": list(self._since), "runs": self.open.runs} if self.open is not None else {}),
        }

    def restore(self, state: Mapping[str, Any], known: Open | None) -> None:
        """Go on from there, with what the database holds open."""
        for detector, stored in zip(self._detectors, state["detectors"], strict=True):
            detector.restore(stored)
        self._held.extend((hour, tuple(values)) for hour, values in state["held"])
        if known is not None:
            self._since.extend((hour, tuple(values)) for hour, values in state.get("since", ()))
            self.open = replace(known, runs=state.get("runs", 0))
        elif "runs" in state:
            # It was ended by somebody else.
            self.close()

    def _go_on(self, open_: Open, evidence: Evidence | None, hour: int, values: Values) -> Told:
        self.open = open_ = replace(open_, runs=open_.runs + 1)
        self._since.append((hour, values))
        shows = any(detector.unusual for detector in self._detectors)
        # A detector that has hardly anything to compare is no reason to keep it open.
        if open_.runs >= _FEWEST_RUNS and all(d.calm or not d.warm for d in self._detectors):
            self.close()
            return Told(ended_as="normal", id=open_.id)
        if open_.runs >= self._rules.adapt:
            self._relearn()
            return Told(ended_as="usual", id=open_.id)
        if evidence is None or SEVERITIES.index(evidence.severity) <= SEVERITIES.index(open_.severity):
            return Told(shows=shows)
        self.open = replace(open_, severity=evidence.severity)
        return Told(evidence=evidence, shows=shows)

    def _relearn(self) -> None:
        since = list(self._since)
        for detector in self._detectors:
            detector.forget()
        for hour, values in since:
            self._learn(hour, values)
        self.close()

    def _hold(self, hour: int, values: Values) -> None:
        self._held.append((hour, values))
        # Nothing can be found before it is warm, so there is nothing to wait for.
        while self._held and (len(self._held) > self._rules.hold or not self.warm):
            self._learn(*self._held.popleft())

    def _learn(self, hour: int, values: Values) -> None:
        for detector, value in zip(self._detectors, values, strict=True):
            if value is not None:
                detector.learn(value, hour=hour)
