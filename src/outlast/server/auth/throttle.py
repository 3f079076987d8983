"""How often one address may fail to say who it is.

Whoever can prove who they are is let in however often others from the same address have failed: behind a proxy that
nobody has named to us, all clients have one address. What is saved is the work that a wrong credential costs, and the
tries of somebody who guesses what the project's own auth takes.
"""

import time
from collections import OrderedDict
from typing import Final

from outlast.refusals import RateLimited
from outlast.server.auth.addresses import subscriber

_MOST: Final = 10_000
_WINDOW_SECONDS: Final = 60.0


class Throttle:
    """Failures by address, in this process; each address has a bucket that fills up again within a minute."""

    def __init__(self, per_minute: int) -> None:
        self._most = per_minute
        # The failures that count, and when that was.
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def failed(self, address: str) -> None:
        """Count a failure; raises RateLimited instead of what it would be answered when there were too many."""
        if not self._most:
            return
        self.check(address)
        key = subscriber(address)
        self._failures[key] = (self._level(key) + 1, time.monotonic())
        self._failures.move_to_end(key)
        if len(self._failures) > _MOST:
            self._failures.popitem(last=False)

    def check(self, address: str) -> None:
        """Raise RateLimited when nothing that costs work is done for this address at the moment."""
        level = self._level(subscriber(address))
        if not self._most or level + 1 <= self._most:
            return
        wait = (level + 1 - self._most) * _WINDOW_SECONDS / self._most
        raise RateLimited(
            "too many wrong credentials came from this address; come back later, with valid ones",
            rule=f"{self._most}/minute per address", retry_after=wait, limit=self._most, window=_WINDOW_SECONDS,
        )  # fmt: skip

    def _level(self, key: str) -> float:
        level, at = self._failures.get(key, (0.0, 0.0))
        return max(0.0, level - (time.monotonic() - at) * self._most / _WINDOW_SECONDS)
