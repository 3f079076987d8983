"""What model calls cost: sums by whatever is asked for, and what a run has used.

Tries are stored with the answers of their calls, by `call_log`; what is old is folded into days by `retention`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final, Literal, get_args
from uuid import UUID

from outlast.storage.postgres.checkpoints import thread_key
from outlast.storage.postgres.jsonb import jsonb
from outlast.storage.postgres.listing import fetch
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries, numbered

_SQL = Queries("usage")
#: What usage is summed by.
Dimension = Literal["day", "tenant", "user", "agent", "model", "provider", "run", "thread"]
DIMENSIONS: Final[tuple[Dimension, ...]] = get_args(Dimension)
_MICROS: Final = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageQuery:
    """Which usage is wanted; None does not filter.

    What is older than `retention.usage` is known by day only: it is there when its day begins between `after` and
    `before`, without run and thread, and left out where one of them, or who owns the thread, is asked for.
    """

    by: Sequence[Dimension] = ()
    after: datetime | None = None
    before: datetime | None = None
    run_id: UUID | None = None
    thread_id: str | None = None
    user: str | None = None
    agent: str | None = None
    model: str | None = None
    provider: str | None = None
    #: What the metadata of the thread has to match: a jsonpath, and values that it contains.
    access: str | None = None
    metadata: Mapping[str, Any] | None = None

    @property
    def flags(self) -> set[str]:
        """The parts of the statement that are needed."""
        given: dict[str, object] = {
            "after": self.after, "before": self.before, "run": self.run_id, "thread": self.thread_id,
            "user": self.user, "agent": self.agent, "model": self.model, "provider": self.provider,
            "access": self.access, "metadata": self.metadata or None,
        }  # fmt: skip
        flags = {name for name, value in given.items() if value is not None}
        owned = {"owned"} if flags & {"access", "metadata"} else set[str]()
        return flags | owned | (set() if flags & {"run", "thread", "access", "metadata"} else {"whole"})

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of all parts."""
        return {
            "by": list(self.by),
            "after": self.after,
            "before": self.before,
            "run": self.run_id,
            "thread": None if self.thread_id is None else UUID(bytes=thread_key(self.thread_id)),
            "user": self.user,
            "agent": self.agent,
            "model": self.model,
            "provider": self.provider,
            "access": self.access,
            "metadata": jsonb(dict(self.metadata or {})),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageRow:
    """Sums over tries of model calls; what was not grouped by is None."""

    day: date | None
    tenant: str | None
    user: str | None
    agent: str | None
    provider: str | None
    model: str | None
    run_id: UUID | None
    thread_id: str | None
    #: Calls that were answered, by a provider or (`cached` of them) out of the cache.
    calls: int
    cached: int
    #: Tries that failed.
    failed: int
    #: Of calls and failed tries, those whose price nobody knows: `cost_micros` is without them.
    unpriced: int
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    #: US dollars x 1,000,000; the second what answers out of the cache would have cost.
    cost_micros: int
    saved_micros: int

    @property
    def cost_usd(self) -> str:
        """The cost as a decimal number of dollars, exactly."""
        return _dollars(self.cost_micros)

    @property
    def saved_usd(self) -> str:
        """What the cache has saved, in the same form."""
        return _dollars(self.saved_micros)


class UsageStore:
    """Reads the usage that was stored with the answers of calls."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def summary(self, query: UsageQuery, *, limit: int) -> list[UsageRow]:
        """Return at most `limit` sums: the newest day first, then what cost most."""
        statement = numbered("usage", "summary", *sorted(query.flags))
        async with self._pool.connection() as connection:
            rows = await fetch(connection, statement, {**query.parameters, "limit": limit})
        return [_shown(row) for row in rows]

    async def spent_by(self, run_id: UUID) -> tuple[int, int, int]:
        """Return the calls, tokens and micro dollars that attempts of a run have stored so far."""
        async with self._pool.connection() as connection:
            row = await (await connection.execute(_SQL.spent_by, {"run_id": run_id})).fetchone()
        return (row[0], row[1], row[2]) if row is not None else (0, 0, 0)


def _dollars(micros: int) -> str:
    return f"{micros // _MICROS}.{micros % _MICROS:06d}"


def _shown(row: tuple[Any, ...]) -> UsageRow:
    return UsageRow(
        day=row[0], tenant=row[1], user=row[2], agent=row[3], provider=row[4], model=row[5], run_id=row[6],
        thread_id=row[7], calls=row[8], cached=row[9], failed=row[10], unpriced=row[11], input_tokens=row[12],
        output_tokens=row[13], cache_read_tokens=row[14], cache_write_tokens=row[15], reasoning_tokens=row[16],
        cost_micros=row[17], saved_micros=row[18],
    )  # fmt: skip
