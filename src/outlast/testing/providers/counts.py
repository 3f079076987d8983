"""What the provider saw, in figures."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from outlast.testing.providers.requests import Request


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """Requests by what became of them. `received` is the sum of the others."""

    received: int = 0
    answered: int = 0
    failed: int = 0
    limited: int = 0
    lost: int = 0
    bad: int = 0
    in_flight: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What came in from `at` (seconds since 1970) for the length of a window."""

    at: float
    counts: Counts


def counts(requests: Iterable[Request]) -> Counts:
    """Count by outcome."""
    found = Counter(request.outcome or "in_flight" for request in requests)
    return Counts(received=found.total(), **found)


def windows(requests: list[Request], seconds: float) -> list[Window]:
    """Count in windows that begin with the first request and follow each other, empty ones included."""
    if not requests:
        return []
    begins = requests[0].at
    grouped: dict[int, list[Request]] = {}
    for request in requests:
        grouped.setdefault(int((request.at - begins) / seconds), []).append(request)
    return [Window(at=begins + at * seconds, counts=counts(grouped.get(at, []))) for at in range(max(grouped) + 1)]


def busiest(requests: list[Request], seconds: float) -> int:
    """Return how many came in in the busiest window of that length, wherever it begins."""
    times = sorted(request.at for request in requests)
    most = first = 0
    for at, time in enumerate(times):
        while times[first] <= time - seconds:
            first += 1
        most = max(most, at - first + 1)
    return most


def repeated(requests: Iterable[Request]) -> list[list[Request]]:
    """Return the complete answers that were given more than once to the very same question: what was paid twice."""
    grouped: dict[str, list[Request]] = {}
    for request in requests:
        if request.outcome == "answered":
            grouped.setdefault(request.fingerprint, []).append(request)
    return [same for same in grouped.values() if len(same) > 1]
