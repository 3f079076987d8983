"""The outbox of reports about ended runs."""

from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID

from outlast.domain.acting import across_tenants
from outlast.domain.redaction import redacted
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("webhooks")
_LONGEST_ERROR = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One report, taken by this process until its lease is over."""

    #: The same at each attempt: the receiver knows by it what it has seen.
    id: UUID
    run_id: UUID
    tenant: str
    url: str
    #: With this one.
    attempts: int
    age: timedelta


class WebhookStore:
    """Takes reports that are due and writes down what became of them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def take(self, *, own: bool, limit: int, lease: timedelta) -> list[Delivery]:
        """Take due reports, the longest due first: to paths of the API itself, or to everybody else."""
        parameters = {"own": own, "limit": limit, "lease_seconds": lease.total_seconds()}
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.take, parameters)).fetchall()
        return [
            Delivery(id=id_, run_id=run_id, tenant=tenant, url=url, attempts=attempts, age=timedelta(seconds=age))
            for id_, run_id, tenant, url, attempts, age in rows
        ]

    async def delivered(self, delivery: Delivery) -> None:
        """Write down that the receiver has it."""
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.delivered, {"id": delivery.id, "attempts": delivery.attempts})

    async def failed(self, delivery: Delivery, error: str, *, retry_in: timedelta | None) -> None:
        """Write down why the attempt failed; without `retry_in` it was the last one."""
        parameters = {
            "id": delivery.id,
            "attempts": delivery.attempts,
            "error": redacted(error).replace("\0", "")[:_LONGEST_ERROR],
            "retry_seconds": None if retry_in is None else retry_in.total_seconds(),
        }
        async with self._pool.connection() as connection:
            await connection.execute(_SQL.failed, parameters)
