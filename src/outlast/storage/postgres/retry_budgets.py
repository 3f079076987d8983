"""Retry budgets that all processes share."""

from outlast.domain.spending import Spending
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("retry_budgets")


class RetryBudgetStore:
    """Reads and replaces what a provider's calls and retries come to; times are the database's."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def read(self, provider: str) -> tuple[Spending, float]:
        """Return the figures and what time it is."""
        async with self._pool.connection() as connection:
            (row,) = await (await connection.execute(_SQL.read, {"provider": provider})).fetchall()
        now, version, *figures = row
        if version is None:
            return Spending(), now
        minute, calls, retries, calls_before, retries_before = figures
        return (
            Spending(
                version=version,
                minute=minute,
                calls=calls,
                retries=retries,
                calls_before=calls_before,
                retries_before=retries_before,
            ),
            now,
        )

    async def swap(self, provider: str, before: Spending, after: Spending) -> bool:
        """Replace the figures, unless they are no longer what they were before."""
        parameters = {
            "provider": provider,
            "before": before.version,
            "version": after.version,
            "minute": after.minute,
            "calls": after.calls,
            "retries": after.retries,
            "calls_before": after.calls_before,
            "retries_before": after.retries_before,
        }
        async with self._pool.connection() as connection:
            return await (await connection.execute(_SQL.swap, parameters)).fetchone() is not None
