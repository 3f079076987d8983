"""A rolling window of figures, and its robust statistics."""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

# The median absolute deviation of a normal distribution is this part of its standard deviation (Rousseeuw and Croux,
# "Alternatives to the Median Absolute Deviation", 1993).
_MAD_OF_NORMAL: Final = 1.4826
# So many standard deviations lie between its 5 % and its 95 % quantile.
_SPREAD_OF_NORMAL: Final = 3.29
# Statistics are computed anew after so many values, of at least 50: one moves them by next to nothing.
_STALE_AFTER: Final = 20
_OUTERMOST: Final = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What the values of a window are like."""

    median: float
    #: Without the outermost 2 % at each end.
    mean: float
    #: In standard deviations of a normal distribution; whichever robust estimate is the largest.
    scale: float
    low: float
    high: float
    #: A fifth of the values lies below, and above.
    fifth: float
    last_fifth: float


class Window:
    """The last `size` values."""

    def __init__(self, size: int, *, floor: float, values: Iterable[float] = ()) -> None:
        """`floor`: the least scale, for values that hardly differ."""
        self.values: deque[float] = deque(values, maxlen=size)
        self._floor = floor
        self._shape: Shape | None = None
        self._new = 0

    def add(self, value: float) -> None:
        """Add a value; the oldest one leaves a full window."""
        self.values.append(value)
        self._new += 1
        if self._new >= _STALE_AFTER:
            self._shape, self._new = None, 0

    @property
    def shape(self) -> Shape:
        """The statistics, up to twenty values old; of a window that holds something."""
        if self._shape is None:
            self._shape = _shape(sorted(self.values), self._floor)
        return self._shape


def _shape(ordered: Sequence[float], floor: float) -> Shape:
    count = len(ordered)
    middle = _middle(ordered)
    outermost = round(_OUTERMOST * (count - 1))
    low, high = ordered[outermost], ordered[count - 1 - outermost]
    inner = [*[low] * outermost, *ordered[outermost : count - outermost], *[high] * outermost]
    mean = sum(inner) / count
    variance = sum([value * value for value in inner]) / count - mean * mean
    deviations = _middle(sorted([abs(value - middle) for value in ordered]))
    # The deviation from the median says nothing of a minority that is elsewhere, and the other two do.
    scale = max(
        floor,
        _MAD_OF_NORMAL * deviations,
        (_quantile(ordered, 0.95) - _quantile(ordered, 0.05)) / _SPREAD_OF_NORMAL,
        max(0.0, variance) ** 0.5,
    )
    return Shape(
        median=middle, mean=mean, scale=scale, low=ordered[0], high=ordered[-1], fifth=_quantile(ordered, 0.2),
        last_fifth=_quantile(ordered, 0.8),
    )  # fmt: skip


def _middle(ordered: Sequence[float]) -> float:
    half, odd = divmod(len(ordered), 2)
    return ordered[half] if odd else (ordered[half - 1] + ordered[half]) / 2


def _quantile(ordered: Sequence[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]
