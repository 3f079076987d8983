"""The stage before the queue: a run whose budget is spent to the end is refused with 402.

A look ahead, so that nobody waits for a run that cannot do anything; what holds is the reservation before each call.
A budget that asks a person at its limit lets runs in: they ask. What was looked at a second ago and had room is not
looked at again, so a warm process asks the database nothing.
"""

import time
from collections.abc import Sequence
from typing import Final

from outlast.calls.budgets import Budgets, spent_text
from outlast.domain.acting import Principal
from outlast.domain.admission import Allow, Refuse, Verdict
from outlast.domain.budget import Line, Question, Spender, Standing, Unit
from outlast.domain.run import NewRun
from outlast.refusals import BudgetExceeded

#: How long room that was seen is believed in, in seconds.
_BELIEVED: Final = 1.0
_MOST_REMEMBERED: Final = 10_000

#: Tenant, budget, subject.
_Key = tuple[str, str, str]


class BudgetCheck:
    """Looks at the budgets of those who ask for runs."""

    def __init__(self, budgets: Budgets) -> None:
        self._budgets = budgets
        self._roomy: dict[_Key, float] = {}

    async def decide(self, run: NewRun, who: Principal) -> Verdict:
        """Refuse with BudgetExceeded when nothing is left; raises DatabaseUnavailable."""
        spender = Spender(tenant=who.tenant, user=who.user, agent=run.agent, run=str(run.id), thread=run.thread_id)
        now = time.monotonic()
        lines = [
            line
            for line in await self._budgets.lines(spender)
            if _counts(line, run) and self._roomy.get((who.tenant, line.budget.name, line.subject), 0.0) <= now
        ]
        if not lines:
            return Allow()
        if len(self._roomy) >= _MOST_REMEMBERED:
            self._roomy.clear()
        for standing in await self._budgets.store.standings(lines):
            unit = standing.exhausted
            if unit is not None:
                return _refusal(standing, unit, lines)
            self._roomy[who.tenant, standing.name, standing.subject] = now + _BELIEVED
        return Allow()


def _counts(line: Line, run: NewRun) -> bool:
    # A new run, or one on a new thread, has spent nothing yet.
    return (
        line.budget.on_limit == "refuse"
        and line.budget.per != "run"
        and (line.budget.per != "thread" or (bool(line.subject) and not run.makes_thread))
    )


def _refusal(standing: Standing, unit: Unit, lines: Sequence[Line]) -> Refuse:
    limit, spent = standing.figures(unit)
    question = Question(
        budget=standing.name, subject=standing.subject, unit=unit, limit=limit, spent=spent,
        resets_at=standing.resets_at,
    )  # fmt: skip
    per = next(line.budget.per for line in lines if line.budget.name == standing.name)
    error = BudgetExceeded(
        f"{spent_text(question)}; it is kept per {per}, and can be raised with `outlast budget raise`",
        budget=standing.name, limit=limit, spent=spent, unit=unit, resets_at=standing.resets_at,
    )  # fmt: skip
    return Refuse(str(error), by=standing.name, error=error)
