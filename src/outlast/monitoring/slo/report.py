"""Service levels as people and programs read them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from outlast.monitoring.slo.burning import Severity, burn_of
from outlast.monitoring.slo.objectives import Objectives
from outlast.monitoring.slo.standing import Standing, standings
from outlast.settings_slo import SloSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.slo import SloStore

#: `none`: nothing has happened yet; `spent`: the budget is used up, and it is not used up further too fast.
State = Literal["ok", "burning", "spent", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Burned:
    """How fast the budget was used up in the last hour, six hours and three days; None without events."""

    hour: float | None
    hours_6: float | None
    days_3: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One objective over the last 30 days."""

    slo: str
    #: None: all agents that have no objective of their own for it.
    agent: str | None
    #: The promise in words.
    promise: str
    goal: float
    #: Seconds, or US dollars; None: what is good needs no limit.
    limit: float | None
    events: int
    bad: int
    #: The share of good events; None without events.
    kept: float | None
    #: The share of the error budget that is left, below 0 when it is overdrawn.
    budget_left: float | None
    burn: Burned
    state: State
    severity: Severity | None
    #: What burns, in words.
    text: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All of them."""

    #: None: no process has counted by these limits.
    counted_to: datetime | None
    lines: list[Line]


async def report(pool: Pool, settings: SloSettings) -> Report:
    """Return the report of all tenants together."""
    lines = [_line(standing, settings.least_bad) for standing in await standings(pool, settings)]
    return Report(counted_to=await SloStore(pool).counted_to(Objectives(settings).print), lines=lines)


def _line(standing: Standing, least_bad: int) -> Line:
    objective, windows = standing.objective, standing.windows
    burn = burn_of(standing, least_bad)
    left = standing.budget_left
    state: State = "none" if left is None else "burning" if burn else "spent" if left <= 0 else "ok"
    return Line(
        slo=objective.slo, agent=objective.agent, promise=objective.text, goal=objective.goal, limit=objective.limit,
        events=windows.period.events, bad=windows.period.bad, kept=standing.kept, budget_left=left,
        burn=Burned(
            hour=standing.rate(windows.hour), hours_6=standing.rate(windows.hours_6),
            days_3=standing.rate(windows.days_3),
        ),
        state=state, severity=burn.severity if burn else None, text=burn.text if burn else None,
    )  # fmt: skip
