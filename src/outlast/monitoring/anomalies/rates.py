"""How many runs have something, and whether that has risen.

An exponentially weighted moving average of yes and no (Roberts, "Control chart tests based on geometric moving
averages", 1959) with a weight of a tenth: it forgets in some ten runs. It is told when it is above the usual rate by
`margin`, or by four to six standard deviations of such an average if that is more. A rate that is above a half cannot
rise by enough to be told from chance within twenty runs, and nothing is said about it.
"""

import math
from collections import Counter, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from outlast.domain.anomaly import Severity
from outlast.monitoring.anomalies.evidence import Evidence
from outlast.settings_anomalies import AnomalyRules

_WEIGHT: Final = 0.1
_HALF: Final = 0.5
# Of the way from the usual rate to always.
_NEARLY_ALWAYS: Final = 0.85
_LATELY, _SHOWN = 10, 20
_GRAVE: Final = 0.8
_OVER: Final = 0.5
_DIGITS: Final = 5
#: Labels beyond these are one.
_MOST_LABELS: Final = 20
OTHER: Final = "other"

Labels = Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What is counted, and how it is told."""

    #: By label, what runs with it have done: as in `9 of the last 12 runs were empty`.
    told: Mapping[str, str]
    #: Of any other label; `{}` is the label.
    otherwise: str = "{}"
    #: Whether nearly all runs are more than a warning.
    grave: bool = False
    #: Standard deviations of the average by which it has to rise at least.
    deviations: float = 5.0

    def words(self, label: str) -> str:
        """Return what a run with the label has done."""
        return self.told.get(label) or self.otherwise.format(label)


class Rates:
    """The labels that runs of an agent with a model have; each run has any number of them."""

    def __init__(self, rate: Rate, rules: AnomalyRules) -> None:
        self._rate = rate
        self._rules = rules
        self._window: deque[tuple[str, ...]] = deque(maxlen=rules.window)
        self._counts: Counter[str] = Counter()
        self._averages: dict[str, float] = {}
        self._recent: deque[tuple[str, ...]] = deque(maxlen=_SHOWN)

    @property
    def warm(self) -> bool:
        """Whether it has learned enough to say anything."""
        return len(self._window) >= self._rules.warm_up

    def usual(self, label: str) -> float:
        """Return how often runs usually have a label, from 0 to 1."""
        return self._counts[label] / len(self._window) if self._window else 0.0

    def judge(self, value: Labels, *, hour: int) -> Evidence | None:
        """Return what this run, with those before it, is evidence of."""
        del hour
        if not self.warm:
            return None
        labels = self._known(value)
        self._recent.append(labels)
        for label in {*self._averages, *labels}:
            before = self._averages.get(label, self.usual(label))
            self._averages[label] = before + _WEIGHT * ((label in labels) - before)
        risen = [label for label in labels if self._averages[label] > self._limit(label)]
        return self._risen(risen[0]) if risen else None

    def learn(self, value: Labels, *, hour: int) -> None:
        """Have a run be part of what is usual."""
        del hour
        labels = self._known(value)
        if len(self._window) == self._window.maxlen:
            self._forget(self._window[0])
        self._window.append(labels)
        self._counts.update(labels)

    @property
    def unusual(self) -> bool:
        """Whether the last run has a label that few have."""
        return bool(self._recent) and any(self.usual(label) < _HALF for label in self._recent[-1])

    @property
    def calm(self) -> bool:
        """Whether the last ten runs were as usual."""
        if len(self._recent) < _LATELY:
            return False
        return all(
            average <= self.usual(label) + _OVER * (self._limit(label) - self.usual(label))
            for label, average in self._averages.items()
        )

    def rest(self) -> None:
        """Forget the evidence, and keep what is usual."""
        self._averages.clear()
        self._recent.clear()

    def forget(self) -> None:
        """Forget what is usual."""
        self.rest()
        self._window.clear()
        self._counts.clear()

    def state(self) -> Mapping[str, Any]:
        """Return what the next process has to know, as JSON."""
        return {
            "window": ["|".join(labels) for labels in self._window],
            "recent": ["|".join(labels) for labels in self._recent],
            "averages": {label: round(value, _DIGITS) for label, value in self._averages.items()},
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._window.extend(_split(state["window"]))
        self._counts = Counter(label for labels in self._window for label in labels)
        self._recent.extend(_split(state["recent"]))
        self._averages = dict(state["averages"])

    def _forget(self, labels: Labels) -> None:
        for label in labels:
            self._counts[label] -= 1
            if not self._counts[label]:
                del self._counts[label]

    def _known(self, value: Labels) -> tuple[str, ...]:
        """Return the labels, those that are too many as one."""
        if all(label in self._counts for label in value):
            return tuple(value)
        named = {*self._counts, *self._averages}
        return tuple(label if label in named or len(named) < _MOST_LABELS else OTHER for label in value)

    def _limit(self, label: str) -> float:
        usual = self.usual(label)
        if usual > _HALF:
            return math.inf
        deviation = (usual * (1 - usual) * _WEIGHT / (2 - _WEIGHT)) ** 0.5
        highest = usual + _NEARLY_ALWAYS * (1 - usual)
        return min(usual + max(self._rules.margin, self._rate.deviations * deviation), highest)

    def _risen(self, label: str) -> Evidence:
        recent = len(self._recent)
        having = sum(label in labels for labels in self._recent)
        usual = self.usual(label)
        lately = [label in labels for labels in self._recent][-_LATELY:]
        severity: Severity = "critical" if self._rate.grave and sum(lately) >= _GRAVE * _LATELY else "warning"
        text = (
            f"{having} of the last {recent} runs {self._rate.words(label)}, against {usual:.0%} of {len(self._window)}"
            " runs before"
        )
        return Evidence(severity=severity, text=text, value=having / recent, expected=usual)


def _split(stored: Iterable[str]) -> list[tuple[str, ...]]:
    return [tuple(labels.split("|")) if labels else () for labels in stored]
