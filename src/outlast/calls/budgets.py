"""The budgets of a process: which ones a run's calls concern, and holding calls to them.

    reserve (what the call takes at most, in all budgets or none) -> call -> settle (what it took)

Reserving is one statement that is waited for. Settling is not: it is done behind the call, for many calls at once, and
before the outcome of the run is stored. A process that dies in between leaves reservations, which recovery charges and
removes (`release`).
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final
from uuid import UUID

import uuid_utils.compat as uuid_utils

from outlast.calls.bills import Bill
from outlast.domain.acting import acting_for
from outlast.domain.budget import Attempt, Budget, Cost, Line, Question, Settled, Spender, Standing, Unit, amount
from outlast.errors import DatabaseUnavailable
from outlast.refusals import BudgetExceeded
from outlast.settings_budgets import BudgetRule, BudgetSettings
from outlast.storage.postgres.budgets import BudgetStore
from outlast.telemetry import emit

_MICROS: Final = 1_000_000
_FIRST_POLL: Final = 0.02
_LONGEST_POLL: Final = 0.5
_MOST_SETTLED_AT_ONCE: Final = 500
_REST: Final = 0.2
#: Tenants whose budgets are remembered.
_TENANTS: Final = 10_000


class AskFirst(BudgetExceeded):
    """The budget wants a person to be asked before the run goes beyond it."""

    def __init__(self, message: str, question: Question) -> None:
        super().__init__(
            message, budget=question.budget, limit=question.limit, spent=question.spent, unit=question.unit,
            resets_at=question.resets_at,
        )  # fmt: skip
        self.question = question


class _Busy(BudgetExceeded):
    """Only what calls under way have reserved is in the way, and they did not end in time; another attempt may help."""

    retryable = True


@dataclass(frozen=True, slots=True)
class Reservation:
    """What was reserved for a try, under its key."""

    key: UUID
    bill: Bill
    reserved: Cost


@dataclass(slots=True)
class _Known:
    budgets: tuple[Budget, ...]
    until: float


@dataclass(slots=True, eq=False)
class Budgets:
    """Made by the runtime, for one process and event loop."""

    settings: BudgetSettings
    store: BudgetStore
    _own: tuple[Budget, ...] = field(init=False, repr=False)
    _known: dict[str, _Known] = field(default_factory=dict[str, _Known], repr=False)
    _looking: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)
    _to_settle: list[tuple[UUID, Cost | None]] = field(default_factory=list[tuple[UUID, Cost | None]], repr=False)
    _settling: "asyncio.Task[None] | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        self._own = tuple(budget_of(name, rule) for name, rule in self.settings.rules.items())

    async def of_tenant(self, tenant: str) -> tuple[Budget, ...]:
        """Return the budgets of the project and of this tenant, as they were at most `budgets.refresh` ago."""
        known = self._known.get(tenant)
        if known is not None and known.until > time.monotonic():
            return known.budgets
        async with self._looking:
            known = self._known.get(tenant)
            if known is None or known.until <= time.monotonic():
                known = await self._look(tenant)
        return known.budgets

    async def _look(self, tenant: str) -> _Known:
        with acting_for(tenant):
            there = await self.store.rules()
        replaced = {budget.name for budget in there}
        budgets = (*(budget for budget in self._own if budget.name not in replaced), *there)
        if len(self._known) >= _TENANTS:
            self._known.clear()
        known = self._known[tenant] = _Known(budgets, time.monotonic() + self.settings.refresh.total_seconds())
        return known

    def changed(self, tenant: str) -> None:
        """Look anew: this process has changed a budget of the tenant."""
        self._known.pop(tenant, None)

    async def lines(self, spender: Spender) -> tuple[Line, ...]:
        """Return the budgets that concern this spender."""
        budgets = await self.of_tenant(spender.tenant)
        return tuple(Line(budget, budget.subject_of(spender)) for budget in budgets if budget.applies_to(spender))

    async def reserve(self, lines: Sequence[Line], bill: Bill, attempt: Attempt, *, patience: float) -> Reservation:
        """Reserve what the bill says, or what is left; wait for calls under way when only they are in the way.

        Raises BudgetExceeded, which is retryable when only what is reserved was in the way; AskFirst, where a person is
        to be asked; LeaseLost, DatabaseUnavailable.
        """
        give_up_at = time.monotonic() + min(patience, self.settings.wait.total_seconds())
        pause = _FIRST_POLL
        while True:
            cost = self._cost(lines, bill)
            key = uuid_utils.uuid7()
            held = await self._held(key, lines, cost, attempt)
            if held is None:
                emit("budget.reserved", run_id=attempt.run_id, micros=cost.micros, tokens=cost.tokens)
                return Reservation(key, bill, cost)
            spent = any(standing.lacks(cost, reserved=False) for standing in held)
            if spent or time.monotonic() + pause > give_up_at:
                smaller = bill.within(held, least=self.settings.least_output_tokens, reserved=not spent)
                if smaller is None:
                    raise self._refusal(lines, held, cost, attempt, spent=spent)
                bill = smaller
            else:
                # What this process has still to give back may be all that is missing.
                await self.settled()
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_POLL)

    async def _held(self, key: UUID, lines: Sequence[Line], cost: Cost, attempt: Attempt) -> Sequence[Standing] | None:
        """Return why there is no reservation: where the counters stand; None: it is made."""
        try:
            held = await self.store.reserve(key, lines, cost, attempt)
        # It may be there all the same: the answer got lost, or nobody waited for it. Nothing was asked.
        except BaseException:
            self.settle(key, Cost(0, 0))
            raise
        return None if held.fits else held.standings

    def _cost(self, lines: Sequence[Line], bill: Bill) -> Cost:
        cost = bill.cost
        if cost is not None:
            return cost
        dollars = next((line.budget for line in lines if line.budget.limit_micros is not None), None)
        if dollars is not None and self.settings.on_unpriced == "refuse":
            msg = (
                f"nobody knows what {bill.target.name} costs, and budget {dollars.name!r} is in dollars: give it a "
                'price in calls.prices, or set budgets.on_unpriced = "tokens only"'
            )
            raise BudgetExceeded(msg, budget=dollars.name, limit=dollars.limit_micros or 0, spent=0, unit="usd_micros")
        return Cost(0, bill.tokens)

    def _refusal(
        self, lines: Sequence[Line], standings: Sequence[Standing], cost: Cost, attempt: Attempt, *, spent: bool
    ) -> BudgetExceeded:
        budgets = {(line.budget.name, line.subject): line.budget for line in lines}
        lacking: list[tuple[Budget, Standing, Unit]] = [
            (budgets[standing.name, standing.subject], standing, unit)
            for standing in standings
            if (unit := standing.lacks(cost, reserved=not spent)) is not None
        ]
        # A budget that refuses goes before one that would ask: an answer would not help.
        budget, standing, unit = min(lacking, key=lambda each: each[0].on_limit != "refuse")
        limit, used = standing.figures(unit)
        question = Question(
            budget=budget.name, subject=standing.subject, unit=unit, limit=limit, spent=used,
            resets_at=standing.resets_at,
        )  # fmt: skip
        wanted = cost.tokens if unit == "tokens" else cost.micros
        msg = f"{spent_text(question)}; this call may take {amount(wanted, unit)}"
        emit("budget.exceeded", budget=budget.name, run_id=attempt.run_id, unit=unit, limit=limit, spent=used)
        if budget.on_limit == "ask" and spent:
            return AskFirst(msg, question)
        if not spent:
            return _Busy(msg, budget=budget.name, limit=limit, spent=used, unit=unit, resets_at=standing.resets_at)
        return BudgetExceeded(msg, budget=budget.name, limit=limit, spent=used, unit=unit, resets_at=standing.resets_at)

    def settle(self, key: UUID, cost: Cost | None) -> None:
        """Charge what a call took, soon, and without being waited for; None: nobody knows, so what was reserved."""
        self._to_settle.append((key, cost))
        if self._settling is None or self._settling.done():
            self._settling = asyncio.create_task(self._settle_all(), name="outlast-budgets")

    async def settled(self) -> None:
        """Return when what was to be settled is, or the database does not answer: then it is done later."""
        while self._settling is not None and not self._settling.done():
            # Not the task itself: whoever stops waiting must not end it.
            await asyncio.wait([self._settling])

    async def _settle_all(self) -> None:
        failures = 0
        while self._to_settle:
            batch = self._to_settle[:_MOST_SETTLED_AT_ONCE]
            emit("budget.before_settle", calls=len(batch))
            try:
                crossed = await self.store.settle(batch)
            except DatabaseUnavailable:
                failures += 1
                if failures > 3:  # noqa: PLR2004 - the next call tries again, and recovery releases what is left
                    return
                await asyncio.sleep(_REST * failures)
                continue
            # Whatever is wrong with one batch must not hold back all that come after it; recovery charges it.
            except Exception as error:  # noqa: BLE001
                emit("loop.failed", loop="budgets", error=type(error).__name__)
                crossed = []
            del self._to_settle[: len(batch)]
            tell(crossed)

    async def release(self) -> int:
        """Charge and remove what attempts that are over have left reserved, of all tenants; return how many calls."""
        calls, crossed = await self.store.release()
        if calls:
            emit("budget.released", calls=calls)
        tell(crossed)
        return calls


def budget_of(name: str, rule: BudgetRule) -> Budget:
    """Return a rule of the settings."""
    return Budget(
        name=name, per=rule.per, span=rule.period, limit_micros=None if rule.usd is None else int(rule.usd * _MICROS),
        limit_tokens=rule.tokens, soft_percent=max(1, round(rule.soft * 100)), on_limit=rule.on_limit, agent=rule.agent,
        user=rule.user, tenant=rule.tenant,
    )  # fmt: skip


def spent_text(question: Question) -> str:
    """Say where a budget stands."""
    limit, spent = (amount(value, question.unit) for value in (question.limit, question.spent))
    until = "" if question.resets_at is None else f" until {question.resets_at:%Y-%m-%d %H:%M} UTC"
    return f"budget {question.budget!r}: {spent} of {limit} are spent or reserved{until}"


def tell(crossed: Sequence[Settled]) -> None:
    """Tell of limits that were crossed."""
    for item in crossed:
        if item.soft:
            emit("budget.soft_limit", budget=item.name, tenant=item.tenant, subject=item.subject)
        if item.over:
            emit("budget.overrun", budget=item.name, tenant=item.tenant, subject=item.subject)
