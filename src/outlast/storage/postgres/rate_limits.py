"""Rate limits that all processes keep together."""

from collections.abc import Mapping, Sequence

from outlast.domain.rates import Share, Turn
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("rate_limits")


class RateLimitStore:
    """Hands out slots by the database's clock; each call is one statement. Nothing waits while it holds a connection.

    Raises DatabaseUnavailable when the server does not answer.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, shares: Sequence[Share], *, patience: float) -> Turn:
        """Take what `Turn` says, or nothing if that means to wait for longer than `patience` seconds."""
        parameters = {
            "names": [share.name for share in shares],
            "seconds": [share.seconds for share in shares],
            "bursts": [share.burst for share in shares],
            "patience": patience,
        }
        async with self._pool.connection() as connection:
            while True:
                row = await (await connection.execute(_SQL.take, parameters)).fetchone()
                assert row is not None  # noqa: S101 - a SELECT of aggregates
                known, wait, names, shifted = row
                if known == len(shares):
                    return Turn(wait=wait, taken=dict(zip(names or (), shifted or (), strict=True)))
                # The first call ever, or the first one after a crash of the database or a long pause.
                await connection.execute(_SQL.create, {"names": parameters["names"]})

    async def shifted(self, names: Sequence[str]) -> Mapping[str, float]:
        """Return the seconds of all pauses so far, by name."""
        async with self._pool.connection() as connection:
            rows = await (await connection.execute(_SQL.shifted, {"names": list(names)})).fetchall()
        return dict(rows)

    async def settle(self, seconds: Mapping[str, float]) -> None:
        """Correct what was taken, by name: less than 0 gives back."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.settle, {"names": list(seconds), "seconds": list(seconds.values())})

    async def pause(self, names: Sequence[str], *, seconds: float) -> None:
        """Let nobody ask for so long, those included who wait for their turn already."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.pause, {"names": list(names), "seconds": seconds})
