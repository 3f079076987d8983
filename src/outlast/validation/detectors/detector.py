"""What detectors have in common."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from outlast.validation.detectors.trace import Trace


@dataclass(frozen=True, slots=True)
class Sign:
    """Something that speaks for a failure mode: how much, from 0 to 1, and what it is."""

    score: float
    text: str


@dataclass(frozen=True, slots=True)
class Finding:
    """A failure mode that was found, with the signs that were strong enough, the strongest first."""

    mode: str
    score: float
    signs: tuple[Sign, ...]


class Detector(ABC):
    """Finds one failure mode in traces. It keeps nothing between them, so that many runs may use it at once."""

    mode: ClassVar[str]
    #: From this score on it is a finding; fitted on one half of the labelled set.
    fitted: ClassVar[float]
    #: Whether words, figures and calls are enough to decide it; else it finds a part of it only, and errs more often.
    decidable: ClassVar[bool] = True
    #: A trace in which it is found, as JSON.
    example: ClassVar[Mapping[str, Any]]

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = self.fitted if threshold is None else threshold

    @abstractmethod
    def signs(self, trace: Trace) -> Iterator[Sign]:
        """Yield all that speaks for it, weak signs too."""

    def score(self, trace: Trace) -> float:
        """Return the score of the strongest sign; 0 when there is none."""
        return max((sign.score for sign in self.signs(trace)), default=0.0)

    def look(self, trace: Trace) -> Finding | None:
        """Return what is found; None when nothing reaches the threshold."""
        strong = sorted(
            (sign for sign in self.signs(trace) if sign.score >= self.threshold), key=lambda sign: -sign.score
        )
        return Finding(self.mode, strong[0].score, tuple(strong)) if strong else None
