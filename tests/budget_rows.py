"""Attempts that may spend, and what their budgets' counters say; as rows, without the code under test."""

from typing import Any
from uuid import UUID, uuid4

from outlast.domain.budget import Attempt, Budget, Line
from outlast.storage.postgres.pool import Pool


async def running(pool: Pool, *, epoch: int = 1) -> Attempt:
    """Insert a run that is running, on a thread of its own."""
    attempt = Attempt(uuid4(), epoch)
    names: dict[str, Any] = {"id": attempt.run_id, "thread": str(attempt.run_id), "worker": uuid4(), "epoch": epoch}
    await execute(pool, "INSERT INTO threads (key, thread_id) VALUES (%(id)s, %(thread)s)", **names)
    await execute(
        pool,
        "INSERT INTO runs (id, thread_key, agent, status, epoch, worker_id)"
        " VALUES (%(id)s, %(id)s, 'a', 'running', %(epoch)s, %(worker)s)",
        **names,
    )
    return attempt


async def ended(pool: Pool, attempt: Attempt) -> None:
    """As if its worker had died: the run is another's."""
    await execute(
        pool, "UPDATE runs SET status = 'queued', worker_id = NULL, epoch = epoch + 1 WHERE id = %(id)s",
        id=attempt.run_id,
    )  # fmt: skip


async def never_beyond(pool: Pool) -> None:
    """Let the database itself refuse whatever would exceed a limit, at every instant."""
    await execute(
        pool,
        "ALTER TABLE budget_counters ADD CONSTRAINT never_beyond CHECK ("
        " coalesce(spent_micros + reserved_micros <= limit_micros, true)"
        " AND coalesce(spent_tokens + reserved_tokens <= limit_tokens, true)"
        " AND reserved_micros >= 0 AND reserved_tokens >= 0)",
    )


async def spent(pool: Pool, name: str, subject: str = "default") -> tuple[int, int, int, int]:
    """Return spent and reserved micros, spent and reserved tokens, over all periods."""
    [row] = await execute(
        pool,
        "SELECT coalesce(sum(spent_micros), 0)::int, coalesce(sum(reserved_micros), 0)::int,"
        " coalesce(sum(spent_tokens), 0)::int, coalesce(sum(reserved_tokens), 0)::int"
        " FROM budget_counters WHERE name = %(name)s AND subject = %(subject)s",
        name=name, subject=subject,
    )  # fmt: skip
    return row


async def reservations(pool: Pool) -> int:
    [(count,)] = await execute(pool, "SELECT count(*) FROM budget_reservations")
    return count


async def execute(pool: Pool, statement: str, **parameters: Any) -> list[Any]:
    # As the tables' owner, who may also change them.
    async with pool.unscoped() as connection:
        return await (await connection.execute(statement, parameters)).fetchall()


def line(name: str = "b", subject: str = "default", **given: Any) -> Line:
    fields: dict[str, Any] = {"per": "tenant", "limit_micros": 1000} | given
    return Line(Budget(name=name, **fields), subject)


def key() -> UUID:
    return uuid4()
