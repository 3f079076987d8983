"""Figures that are not what they were: a mean that has moved, and single values that are far out.

A value is counted in robust deviations from the mean of the window (median/MAD and its kin, see `windows`), and no
further than four, so that no single run is evidence of a shift. The deviations beyond the first add up and fall back
to nothing (Page, "Continuous inspection schemes", 1954; Hinkley, 1971): `evidence` of them is a shift, if most of the
runs that brought it lie in the outermost fifth of what is usual, too. The second look makes long tails harmless, whose
few extreme values add up as well.

A single value is told when its distance from the median is `outlier` robust deviations and nothing in the window comes
near it (Iglewicz and Hoaglin's modified z-score, 1993).
"""

import math
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, median
from typing import Any, Final, Literal

from outlast.domain.anomaly import Severity
from outlast.monitoring.anomalies.evidence import Evidence
from outlast.monitoring.anomalies.windows import Shape, Window
from outlast.settings_anomalies import AnomalyRules

_MOST: Final = 4.0
_SLACK: Final = 1.0
_UNUSUAL: Final = 2.0
_CALM: Final = 1.0
_LATELY, _LONGEST = 10, 20
_FEWEST: Final = 3
_HOURS: Final = 24
# Of an hour, before it is believed to be different from the others; and how fast that is learned.
_HOUR_AFTER: Final = 20
_HOUR_RATE: Final = 0.05
_DIGITS: Final = 5

Direction = Literal["up", "down", "both"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """How a figure is counted and told."""

    name: str
    direction: Direction
    #: The least scale: smaller differences mean nothing.
    floor: float
    shown: Callable[[float], str]
    #: Counted as the logarithm of itself and this; None: as it is. Sizes, prices and times are multiplied by what goes
    #: wrong, and spread like that.
    log: float | None = None
    #: So many times the usual is critical.
    critical_factor: float | None = None
    #: So many times the evidence is needed.
    patience: float = 1.0

    def counted(self, value: float) -> float:
        """Return how it is counted."""
        return value if self.log is None else math.log(max(0.0, value) + self.log)

    def raw(self, counted: float) -> float:
        """Return the figure itself."""
        return counted if self.log is None else max(0.0, math.exp(counted) - self.log)


class Shift:
    """One figure of an agent with a model."""

    def __init__(self, figure: Figure, rules: AnomalyRules) -> None:
        self._figure = figure
        self._rules = rules
        self._window = Window(rules.window, floor=figure.floor)
        #: What has added up above and below, and over how many runs.
        self._sums: dict[int, float] = {1: 0.0, -1: 0.0}
        self._runs: dict[int, int] = {1: 0, -1: 0}
        self._recent: deque[float] = deque(maxlen=_LONGEST)
        self._hours: list[list[float]] = [[0.0, 0.0] for _ in range(_HOURS)] if rules.hourly else []

    @property
    def warm(self) -> bool:
        """Whether it has learned enough to say anything."""
        return len(self._window.values) >= self._rules.warm_up

    @property
    def seen(self) -> int:
        """How many values make up what is usual."""
        return len(self._window.values)

    @property
    def _signs(self) -> tuple[int, ...]:
        return {"up": (1,), "down": (-1,), "both": (1, -1)}[self._figure.direction]

    def judge(self, value: float, *, hour: int) -> Evidence | None:
        """Return what this run, with those before it, is evidence of."""
        if not self.warm:
            return None
        counted, shape = self._figure.counted(value) - self._offset(hour), self._window.shape
        self._recent.append(counted)
        deviation = (counted - shape.mean) / shape.scale
        shifted = [sign for sign in self._signs if self._adds_up(sign, deviation, shape)]
        if shifted:
            return self._shifted(shifted[0], shape)
        return self._outlier(counted, shape)

    def learn(self, value: float, *, hour: int) -> None:
        """Have a value be part of what is usual."""
        counted = self._figure.counted(value)
        if self._hours:
            self._learn_hour(counted, hour)
        self._window.add(counted - self._offset(hour))

    @property
    def unusual(self) -> bool:
        """Whether the last value by itself was unlike the usual."""
        return bool(self._recent) and self._outward(self._recent[-1]) > _UNUSUAL

    @property
    def calm(self) -> bool:
        """Whether the last ten values were as usual."""
        recent = list(self._recent)[-_LATELY:]
        return len(recent) >= _LATELY and self._outward(fmean(recent)) < _CALM

    def rest(self) -> None:
        """Forget the evidence, and keep what is usual."""
        self._sums, self._runs = {1: 0.0, -1: 0.0}, {1: 0, -1: 0}
        self._recent.clear()

    def forget(self) -> None:
        """Forget what is usual."""
        self.rest()
        self._window = Window(self._rules.window, floor=self._figure.floor)

    def state(self) -> Mapping[str, Any]:
        """Return what the next process has to know, as JSON."""
        return {
            "window": [round(value, _DIGITS) for value in self._window.values],
            "recent": [round(value, _DIGITS) for value in self._recent],
            "sums": [self._sums[1], self._sums[-1]],
            "runs": [self._runs[1], self._runs[-1]],
            **({"hours": self._hours} if self._hours else {}),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        self._window = Window(self._rules.window, floor=self._figure.floor, values=state["window"])
        self._recent.extend(state["recent"])
        self._sums = dict(zip((1, -1), state["sums"], strict=True))
        self._runs = dict(zip((1, -1), state["runs"], strict=True))
        if self._hours and "hours" in state:
            self._hours = [list(hour) for hour in state["hours"]]

    def out_of_range(self, value: float) -> str | None:
        """Say how far a value is from all that is usual; None: it is not, or too little is known."""
        if not self.warm:
            return None
        counted, shape = self._figure.counted(value), self._window.shape
        far = abs(counted - shape.median) / shape.scale
        if far < _MOST or shape.low <= counted <= shape.high or self._outward(counted) < _MOST:
            return None
        return self._told(counted, shape, 1)

    def _adds_up(self, sign: int, deviation: float, shape: Shape) -> bool:
        beyond = min(_MOST, sign * deviation) - _SLACK
        total = max(0.0, self._sums[sign] + beyond)
        self._sums[sign] = total
        self._runs[sign] = self._runs[sign] + 1 if total else 0
        if total < self._rules.evidence * self._figure.patience:
            return False
        typical = median(self._lately(sign))
        return typical >= shape.last_fifth if sign > 0 else typical <= shape.fifth

    def _lately(self, sign: int) -> list[float]:
        return list(self._recent)[-max(_FEWEST, min(self._runs[sign], _LONGEST)) :]

    def _shifted(self, sign: int, shape: Shape) -> Evidence:
        recent = self._lately(sign)
        return self._evidence(median(recent), shape, len(recent), severity="warning")

    def _outlier(self, counted: float, shape: Shape) -> Evidence | None:
        far = (counted - shape.median) / shape.scale
        nearest = shape.high if far > 0 else shape.low
        alone = abs(counted - nearest) > abs(counted - shape.median) / 2
        sign = 1 if far > 0 else -1
        if sign not in self._signs or abs(far) < self._rules.outlier or not alone:
            return None
        return self._evidence(counted, shape, 1, severity="info")

    def _evidence(self, counted: float, shape: Shape, runs: int, *, severity: Severity) -> Evidence:
        value, expected = self._figure.raw(counted), self._figure.raw(shape.median)
        factor = self._figure.critical_factor
        if severity == "warning" and factor is not None and expected > 0 and value >= factor * expected:
            severity = "critical"
        return Evidence(
            severity=severity, text=self._told(counted, shape, runs), value=value, expected=expected
        )  # fmt: skip

    def _told(self, counted: float, shape: Shape, runs: int) -> str:
        figure = self._figure
        lately = "" if runs == 1 else f" in the last {runs} runs"
        value, usual = figure.shown(figure.raw(counted)), figure.shown(figure.raw(shape.median))
        return f"{figure.name} {value}{lately} against a median of {usual} over {self.seen} runs"

    def _outward(self, counted: float) -> float:
        """Return by how many robust deviations it lies on a side that matters."""
        deviation = (counted - self._window.shape.mean) / self._window.shape.scale
        return max(sign * deviation for sign in self._signs)

    def _offset(self, hour: int) -> float:
        if not self._hours:
            return 0.0
        count, offset = self._hours[hour]
        return offset if count >= _HOUR_AFTER else 0.0

    def _learn_hour(self, counted: float, hour: int) -> None:
        count, offset = self._hours[hour]
        usual = self._window.shape.mean if self._window.values else counted
        # The plain mean at first, then one that forgets.
        rate = max(_HOUR_RATE, 1 / (count + 1))
        self._hours[hour] = [count + 1, round(offset + rate * (counted - usual - offset), _DIGITS)]
