"""Rate limits of one process: the arithmetic of `storage/postgres/sql/rate_limits.sql`, by the process's clock."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from outlast.domain.rates import Share, Turn

#: Limits that are kept at most; keys that come and go must not fill the memory.
_KEPT: Final = 10_000


@dataclass(slots=True)
class _Limit:
    free_at: float
    paused_until: float
    shifted: float = 0.0


class LocalRates:
    """Hands out slots; see `RateLimitStore` for what the calls mean."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._limits: dict[str, _Limit] = {}

    async def take(self, shares: Sequence[Share], *, patience: float) -> Turn:
        """Take what `Turn` says, or nothing if that means to wait for longer than `patience` seconds."""
        now = self._clock()
        limits = [self._limit(share.name, now) for share in shares]
        turns = [
            max(limit.free_at - share.burst, limit.paused_until) for limit, share in zip(limits, shares, strict=True)
        ]
        latest = max(turns)
        wait = max(0.0, latest - now)
        if wait > patience:
            return Turn(wait=wait, taken={})
        taken: dict[str, float] = {}
        for limit, share, turn in zip(limits, shares, turns, strict=True):
            if not wait or turn == latest:
                limit.free_at = max(limit.free_at, now) + share.seconds
                taken[share.name] = limit.shifted
        return Turn(wait=wait, taken=taken)

    async def shifted(self, names: Sequence[str]) -> Mapping[str, float]:
        """Return the seconds of all pauses so far, by name."""
        return {name: self._limits[name].shifted for name in names if name in self._limits}

    async def settle(self, seconds: Mapping[str, float]) -> None:
        """Correct what was taken, by name: less than 0 gives back."""
        for name, correction in seconds.items():
            if name in self._limits:
                self._limits[name].free_at += correction

    async def pause(self, names: Sequence[str], *, seconds: float) -> None:
        """Let nobody ask for so long, those included who wait for their turn already."""
        now = self._clock()
        for name in names:
            limit = self._limit(name, now)
            by = seconds - max(limit.paused_until - now, 0.0)
            if by > 0:
                limit.free_at = max(limit.free_at, now) + by
                limit.paused_until = max(limit.paused_until, now) + by
                limit.shifted += by

    def _limit(self, name: str, now: float) -> _Limit:
        found = self._limits.get(name)
        if found is None:
            if len(self._limits) >= _KEPT:
                self._limits = {name: limit for name, limit in self._limits.items() if limit.free_at > now}
            found = self._limits[name] = _Limit(free_at=now, paused_until=now)
        return found
