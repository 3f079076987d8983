"""The provider's own rate limit."""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(slots=True, kw_only=True, eq=False)
class RateLimit:
    """At most so many requests, and tokens, in any window of so many seconds, by the strictest reading: it slides.

    With `burst`, a bucket of requests instead, as most providers have it: it holds that many and refills evenly, so
    that a burst after a pause is let through, and the rate is kept over time.
    """

    requests: int
    seconds: float = 60.0
    #: As a provider counts them before it answers: those of the question, and the most that the answer may have.
    #: A request that has more than all of it passes when it is alone. Not for buckets.
    tokens: int | None = None
    #: None: all models together.
    model: str | None = None
    burst: int | None = None
    clock: Callable[[], float] = time.monotonic
    admitted: int = 0
    refused: int = 0
    #: When they were admitted, and their tokens.
    _recent: deque[tuple[float, int]] = field(default_factory=deque[tuple[float, int]])
    #: What was in the bucket at a time; None before the first request.
    _filled: tuple[float, float] | None = None

    def wait_seconds(self, tokens: int = 0) -> float:
        """Return how long until a request of so many tokens can pass, 0 for now."""
        now = self.clock()
        if self.burst is not None:
            return max(0.0, (1 - self._level(now, self.burst)) * self.seconds / self.requests)
        while self._recent and self._recent[0][0] <= now - self.seconds:
            self._recent.popleft()
        free_at, left, spent = now, len(self._recent), sum(cost for _, cost in self._recent)
        for at, cost in self._recent:
            if left < self.requests and (self.tokens is None or spent + tokens <= self.tokens):
                break
            free_at, left, spent = at + self.seconds, left - 1, spent - cost
        return free_at - now

    def admit(self, tokens: int = 0) -> None:
        """Count a request that passes."""
        now = self.clock()
        self.admitted += 1
        if self.burst is None:
            self._recent.append((now, tokens))
        else:
            self._filled = self._level(now, self.burst) - 1, now

    def refuse(self) -> None:
        """Count a request that does not."""
        self.refused += 1

    @property
    def remaining(self) -> int:
        """How many more would pass at once."""
        if self.burst is not None:
            return int(self._level(self.clock(), self.burst))
        return max(0, self.requests - len(self._recent))

    def _level(self, now: float, burst: int) -> float:
        if self._filled is None:
            return burst
        level, at = self._filled
        return min(burst, level + (now - at) * self.requests / self.seconds)
