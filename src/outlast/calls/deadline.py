"""How long a call may take with all its tries, waits and fallbacks."""

import asyncio
from dataclasses import dataclass
from typing import Self


@dataclass(frozen=True, slots=True)
class Deadline:
    """A moment on the event loop's clock, after which nothing is begun any more."""

    at: float

    @classmethod
    def after(cls, seconds: float) -> Self:
        """Return the deadline in so many seconds."""
        return cls(asyncio.get_running_loop().time() + seconds)

    def earlier(self, other: "Deadline | None") -> "Deadline":
        """Return the one that comes first."""
        return self if other is None or self.at <= other.at else other

    @property
    def left(self) -> float:
        """Seconds until then; negative when it has passed."""
        return self.at - asyncio.get_running_loop().time()
