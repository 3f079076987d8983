"""How much of what was promised was kept."""

from dataclasses import dataclass
from typing import Final

from outlast.monitoring.slo.objectives import Objective, Objectives
from outlast.settings_slo import SloSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.slo import Count, SloStore, Windows

_NOTHING: Final = Windows()


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One objective, and what was counted for it."""

    objective: Objective
    windows: Windows

    @property
    def kept(self) -> float | None:
        """The share of good events over 30 days; None without events."""
        count = self.windows.period
        return count.good / count.events if count.events else None

    @property
    def budget_left(self) -> float | None:
        """The share of the error budget that is left: 1 untouched, 0 used up, below 0 overdrawn; None without events.

        The budget is what may be bad of the events of the last 30 days, so it is known how large it is only by then.
        """
        rate = self.rate(self.windows.period)
        return None if rate is None else 1.0 - rate

    def rate(self, count: Count) -> float | None:
        """Return how fast a window's failures use up the budget: at 1 it lasts for 30 days exactly."""
        if not count.events:
            return None
        return count.bad / count.events / (1.0 - self.objective.goal)


async def standings(pool: Pool, settings: SloSettings) -> list[Standing]:
    """Return each objective with what was counted for it by the processes that count (see `rollup`): all tenants'."""
    objectives = Objectives(settings)
    counted = await SloStore(pool).windows(objectives.print)
    summed: dict[tuple[str, str | None], Windows] = {}
    for (slo, agent), windows in counted.items():
        key = slo, objectives.objective_of(slo, agent)
        summed[key] = summed.get(key, _NOTHING).plus(windows)
    return [
        Standing(objective=objective, windows=summed.get((objective.slo, objective.agent), _NOTHING))
        for objective in objectives.listed()
    ]
