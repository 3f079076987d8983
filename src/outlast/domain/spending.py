"""How many retries a provider gets: a share of its calls, so that retries never become the storm."""

from dataclasses import dataclass, replace

#: The stretch over which calls and retries are counted.
SECONDS = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """Calls and retries of one provider in this minute and the one before; minutes are counted since 1970."""

    version: int = 0
    minute: int = 0
    calls: int = 0
    retries: int = 0
    calls_before: int = 0
    retries_before: int = 0

    def at(self, now: float) -> "Spending":
        """Return the same, seen from `now` (seconds since 1970)."""
        minute = int(now // SECONDS)
        # A clock that was set back must not make room.
        if minute <= self.minute:
            return self
        follows = minute == self.minute + 1
        return replace(
            self,
            minute=minute,
            calls=0,
            retries=0,
            calls_before=self.calls if follows else 0,
            retries_before=self.retries if follows else 0,
        )

    def counted(self, now: float, *, calls: int) -> "Spending":
        """Return the spending with these calls."""
        current = self.at(now)
        return replace(current, version=self.version + 1, calls=current.calls + calls)

    def allows(self, now: float, *, share: float, allowance: int) -> bool:
        """Whether one more retry is within the share of the last 60 seconds' calls, or within the allowance.

        Of the minute before, the part counts that the last 60 seconds still have of it.
        """
        current = self.at(now)
        part = max(0.0, 1 - (now - current.minute * SECONDS) / SECONDS)
        calls = current.calls + current.calls_before * part
        retries = current.retries + current.retries_before * part
        return retries + 1 <= max(float(allowance), calls * share)

    def retried(self, now: float) -> "Spending":
        """Return the spending with one more retry."""
        current = self.at(now)
        return replace(current, version=self.version + 1, retries=current.retries + 1)
