"""Whether an agent is right as often as it says it is."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

#: Confidence this near counts as the same.
_NEAR: Final = 0.1
#: The weight of believing the agent, in outputs: with fewer outputs than these, its word counts for more.
_BELIEF: Final = 5.0
#: With fewer outputs of about the same confidence nothing is concluded.
_LEAST: Final = 8


@dataclass(frozen=True, slots=True)
class Bin:
    """Outputs of nearly the same confidence: how many, how sure on average, how often right."""

    count: int
    stated: float
    right: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """How earlier outputs of one agent fared: the confidence that they stated, and whether they were valid."""

    record: Sequence[tuple[float, bool]] = ()

    def gap(self, stated: float) -> float:
        """Return how much more often right it says it is than outputs of such a confidence were; 0 without a record.

        A few outputs say little: the record is weighed against the belief that the agent is right about itself.
        """
        near = [right for share, right in self.record if abs(share - stated) <= _NEAR]
        if len(near) < _LEAST:
            return 0.0
        return len(near) * stated / (len(near) + _BELIEF) - sum(near) / (len(near) + _BELIEF)

    def bins(self, count: int = 5) -> Iterator[Bin]:
        """Yield the record by confidence, from the least to the most; what is empty is left out."""
        for number in range(count):
            low, high = number / count, (number + 1) / count
            inside = [
                item for item in self.record if low <= item[0] < high or (number == count - 1 and item[0] >= high)
            ]
            if inside:
                stated = sum(share for share, _ in inside) / len(inside)
                yield Bin(len(inside), stated, sum(right for _, right in inside) / len(inside))

    @property
    def error(self) -> float:
        """Return the expected calibration error: 0 is an agent that knows how good it is."""
        return sum(part.count * abs(part.stated - part.right) for part in self.bins()) / max(1, len(self.record))
