"""What a detector has to say, and what it is asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from outlast.domain.anomaly import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """Something is not as usual."""

    severity: Severity
    #: In plain words.
    text: str
    value: float
    expected: float


class Detector(Protocol):
    """Compares the values of runs with what is usual; what is usual is learned from those it is given for that."""

    @property
    def warm(self) -> bool:
        """Whether it has learned enough to say anything."""
        ...

    @property
    def unusual(self) -> bool:
        """Whether the last value by itself was unlike the usual."""
        ...

    @property
    def calm(self) -> bool:
        """Whether the last ten values were as usual."""
        ...

    def judge(self, value: Any, *, hour: int) -> Evidence | None:
        """Return what this run, with those before it, is evidence of."""
        ...

    def learn(self, value: Any, *, hour: int) -> None:
        """Have a value be part of what is usual."""
        ...

    def rest(self) -> None:
        """Forget the evidence, and keep what is usual."""
        ...

    def forget(self) -> None:
        """Forget what is usual."""
        ...

    def state(self) -> Mapping[str, Any]:
        """Return what the next process has to know, as JSON."""
        ...

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from there."""
        ...
