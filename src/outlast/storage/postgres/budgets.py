"""Budgets: what is set, what is spent, what is reserved. Each decision is one statement."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple
from uuid import UUID

from outlast.domain.acting import across_tenants
from outlast.domain.budget import Attempt, Budget, Cost, Line, Question, Settled, Standing
from outlast.errors import LeaseLost
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("budgets")


class Held(NamedTuple):
    """Whether a reservation was made, and where each counter stood before it."""

    fits: bool
    standings: Sequence[Standing]


@dataclass(frozen=True, slots=True, kw_only=True)
class AskedAt:
    """Where in a run a question is asked."""

    lineage: UUID
    task: UUID
    position: int
    key: str
    thread_key: bytes


class BudgetStore:
    """Acts for the tenant of the context; raises DatabaseUnavailable when the server does not answer.

    `zone` is whose days and months are counted.
    """

    def __init__(self, pool: Pool, *, zone: str = "UTC") -> None:
        self._pool = pool
        self._zone = zone

    async def rules(self) -> list[Budget]:
        """Return what was set for this tenant, by name."""
        return [
            Budget(
                name=row[0], per=row[1], span=row[2], limit_micros=row[3], limit_tokens=row[4], soft_percent=row[5],
                on_limit=row[6], agent=row[7], user=row[8],
            )
            for row in await self._rows(_SQL.rules, {})
        ]  # fmt: skip

    async def standings(self, lines: Sequence[Line]) -> list[Standing]:
        """Return where the counters of these lines stand now."""
        rows = await self._rows(_SQL.standings, self._lines(lines))
        return [_standing(row) for row in rows]

    async def reserve(self, key: UUID, lines: Sequence[Line], cost: Cost, attempt: Attempt) -> Held:
        """Reserve what a call takes at most in all of these budgets, or in none. Raises LeaseLost.

        Safe to send again only under another key.
        """
        parameters = {**self._lines(lines), **cost._asdict(), **attempt._asdict(), "id": key}
        while True:
            rows = await self._rows(_SQL.reserve, parameters)
            *_, fits, owned = rows[0]
            if not owned:
                raise LeaseLost(run_id=str(attempt.run_id), epoch=attempt.epoch)
            if all(row[-3] for row in rows):
                return Held(fits, [_standing(row) for row in rows])
            # The first call of a period.
            await self._rows(_SQL.create, parameters, answers=False)

    async def settle(self, costs: Sequence[tuple[UUID, Cost | None]]) -> list[Settled]:
        """Charge what calls took, of whatever tenants, in the place of what was reserved; None: as it was reserved.

        Returns what crossed a limit by that. Doing it again changes nothing.
        """
        parameters = {
            "ids": [key for key, _ in costs],
            "micros": [None if cost is None else cost.micros for _, cost in costs],
            "tokens": [None if cost is None else cost.tokens for _, cost in costs],
        }
        with across_tenants():
            return [Settled._make(row) for row in await self._rows(_SQL.settle, parameters)]

    async def release(self, *, limit: int = 1000) -> tuple[int, list[Settled]]:
        """Charge and remove the reservations of attempts that are over, of all tenants.

        Returns how many calls that were, and what crossed a limit by that.
        """
        with across_tenants():
            rows = await self._rows(_SQL.release, {"limit": limit})
        crossed = [Settled._make(row[:5]) for row in rows if row[3] or row[4]]
        return (rows[0][5] if rows else 0), crossed

    async def set(self, budget: Budget) -> None:
        """Set it for this tenant, in the place of what was set under its name."""
        parameters = {
            "name": budget.name, "per": budget.per, "span": budget.span, "limit_micros": budget.limit_micros,
            "limit_tokens": budget.limit_tokens, "soft_percent": budget.soft_percent, "on_limit": budget.on_limit,
            "agent": budget.agent, "user": budget.user,
        }  # fmt: skip
        await self._rows(_SQL.set, parameters, answers=False)

    async def remove(self, name: str) -> bool:
        """Remove what was set; False when there was nothing."""
        return bool(await self._rows(_SQL.remove, {"name": name}))

    async def raise_limit(self, line: Line, by: Cost) -> None:
        """Raise the limits of one counter for its present period."""
        await self._rows(_SQL.raise_limit, {**self._lines([line]), **by._asdict()}, answers=False)

    async def subjects(self, budget: Budget, *, limit: int) -> list[str]:
        """Return who has used it in the present period, those who have spent most first."""
        rows = await self._rows(_SQL.subjects, {**self._lines([Line(budget, "")]), "limit": limit})
        return [subject for (subject,) in rows]

    async def ask(self, at: AskedAt, question: Question, attempt: Attempt) -> None:
        """Write down that a task asks a person about a budget now. Raises LeaseLost."""
        parameters = {
            **attempt._asdict(), "lineage": at.lineage, "task": at.task, "position": at.position, "key": at.key,
            "thread_key": UUID(bytes=at.thread_key), "budget": question.budget, "subject": question.subject,
            "unit": question.unit, "limit": question.limit, "spent": question.spent, "resets_at": question.resets_at,
        }  # fmt: skip
        if not await self._rows(_SQL.ask, parameters):
            raise LeaseLost(run_id=str(attempt.run_id), epoch=attempt.epoch)

    async def waiting(self, budget: str, *, subject: str | None, limit: int = 1000) -> list[UUID]:
        """Return the runs that wait for this budget; the oldest question first."""
        parameters = {"budget": budget, "subject": subject, "limit": limit}
        return [run_id for run_id, _ in await self._rows(_SQL.waiting, parameters)]

    async def released(self, budget: str, run_id: UUID) -> None:
        """Write down that a run was told to go on."""
        await self._rows(_SQL.released, {"budget": budget, "run_id": run_id}, answers=False)

    async def owner(self, run_id: UUID) -> tuple[str | None, str | None]:
        """Return the user and the key on whose behalf a run was asked for."""
        rows = await self._rows(_SQL.owner, {"run_id": run_id})
        return (rows[0][0], rows[0][1]) if rows else (None, None)

    def _lines(self, lines: Sequence[Line]) -> dict[str, Any]:
        budgets = [line.budget for line in lines]
        return {
            "names": [budget.name for budget in budgets],
            "subjects": [line.subject for line in lines],
            "spans": [budget.span for budget in budgets],
            "pers": [budget.per for budget in budgets],
            "limits_micros": [budget.limit_micros for budget in budgets],
            "limits_tokens": [budget.limit_tokens for budget in budgets],
            "softs": [budget.soft_percent for budget in budgets],
            "zone": self._zone,
        }

    async def _rows(
        self, statement: bytes, parameters: dict[str, Any], *, answers: bool = True
    ) -> Sequence[tuple[Any, ...]]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(statement, parameters)
            return await cursor.fetchall() if answers else ()


def _standing(row: tuple[Any, ...]) -> Standing:
    return Standing(
        name=row[0], subject=row[1], period=row[2], limit_micros=row[3], limit_tokens=row[4], spent_micros=row[5],
        spent_tokens=row[6], reserved_micros=row[7], reserved_tokens=row[8], resets_at=row[9],
    )  # fmt: skip
