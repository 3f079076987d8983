"""Counts for service levels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from outlast.domain.acting import across_tenants
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("slo")
#: How far an error budget looks back.
PERIOD: Final = timedelta(days=30)
#: What is so many hours old is kept by hours, or by days: longer than the windows that look at it more closely.
_FOLDED: Final = (("hour", 7), ("day", 96))


class Count(NamedTuple):
    """How many events there were, and how many of them were good."""

    good: int = 0
    events: int = 0

    @property
    def bad(self) -> int:
        """The others."""
        return self.events - self.good

    def plus(self, other: "Count") -> "Count":
        """Return both together."""
        return Count(self.good + other.good, self.events + other.events)


NO_EVENTS: Final = Count()


@dataclass(frozen=True, slots=True, kw_only=True)
class Windows:
    """Counts of one service level up to now; each window is rounded up by less than a slot of five minutes."""

    minutes_5: Count = NO_EVENTS
    minutes_30: Count = NO_EVENTS
    hour: Count = NO_EVENTS
    hours_6: Count = NO_EVENTS
    days_3: Count = NO_EVENTS
    #: What the error budget is of.
    period: Count = NO_EVENTS
    #: Of all that was ever counted; it only grows.
    ever: Count = NO_EVENTS

    def plus(self, other: "Windows") -> "Windows":
        """Return both together."""
        return Windows(**{name: getattr(self, name).plus(getattr(other, name)) for name in Windows.__slots__})


#: Agent (None: all that are not named), and its limits of first bytes, cost and recoveries; None: nothing is counted.
Limits = Sequence[tuple[str | None, float | None, float | None, float | None]]


class SloStore:
    """Counts, and reads what was counted. It is of all tenants together, on whosever behalf the context acts."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, print_: str, *, every: timedelta) -> bool:
        """Whether it is this process's turn to count; the next turn comes `every` later."""
        given = {"print": print_, "days": PERIOD.days, "every": every.total_seconds()}
        return bool(await self._fetch(_SQL.claim, given))

    async def roll_up(self, print_: str, limits: Limits) -> bool:
        """Count what has happened since it was counted last, at most an hour of it; True: there is more to count."""
        agents, first_bytes, costs, recoveries = (list(column) for column in zip(*limits, strict=True))
        given = {
            "print": print_, "agents": agents, "first_bytes": first_bytes, "costs": costs, "recoveries": recoveries,
        }  # fmt: skip
        rows = await self._fetch(_SQL.roll_up, given)
        return bool(rows) and rows[0][0]

    async def add(self, slo: str, counts: Mapping[str, Count]) -> None:
        """Add to what was counted of the last minutes, by agent."""
        given = {
            "slo": slo, "agents": list(counts), "good": [count.good for count in counts.values()],
            "events": [count.events for count in counts.values()],
        }  # fmt: skip
        await self._execute(_SQL.add, given)

    async def tidy(self) -> None:
        """Sum what is old, and forget what is counted by limits that nobody has any more."""
        for unit, hours in _FOLDED:
            await self._execute(_SQL.fold, {"unit": unit, "hours": hours})
        await self._execute(_SQL.fold_ages, {"days": PERIOD.days})
        await self._execute(_SQL.forget, {})

    async def windows(self, print_: str) -> dict[tuple[str, str], Windows]:
        """Return what was counted, by service level and agent (`''`: nobody knows whose it was)."""
        rows = await self._fetch(_SQL.windows, {"print": print_, "days": PERIOD.days})
        return {(slo, agent): _windows(good, events) for slo, agent, good, events in rows}

    async def counted_to(self, print_: str) -> datetime | None:
        """Return up to when it was counted by these limits; None: never."""
        rows = await self._fetch(_SQL.counted_to, {"print": print_})
        return rows[0][0] if rows else None

    async def _execute(self, statement: bytes, parameters: dict[str, Any]) -> None:
        with across_tenants():
            async with self._pool.connection() as connection:
                await connection.execute(statement, parameters)

    async def _fetch(self, statement: bytes, parameters: dict[str, Any]) -> list[tuple[Any, ...]]:
        with across_tenants():
            async with self._pool.connection() as connection:
                return list(await (await connection.execute(statement, parameters)).fetchall())


def _windows(good: Sequence[int], events: Sequence[int]) -> Windows:
    return Windows(**{
        name: Count(*pair) for name, pair in zip(Windows.__slots__, zip(good, events, strict=True), strict=True)
    })  # fmt: skip
