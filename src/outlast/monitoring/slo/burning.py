"""Which error budgets are being used up too fast.

Multi-window, multi-burn-rate alerts, of chapter 5 ("Alerting on SLOs") of Google's Site Reliability Workbook: a long
window says that a part of the budget that matters is gone, a short one that it still goes on, so that an alert ends
soon after its cause.

| windows     | burn rate | of the budget of 30 days | severity |
|-------------|-----------|--------------------------|----------|
| 1 h, 5 min  | 14.4      | 2 % in an hour           | critical |
| 6 h, 30 min | 6         | 5 % in six hours         | critical |
| 3 d, 6 h    | 1         | 10 % in three days       | warning  |
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from outlast.monitoring.slo.standing import Standing, standings
from outlast.settings_slo import SloSettings
from outlast.storage.postgres.pool import Pool

Severity = Literal["critical", "warning"]
#: A goal so low that even an outage burns slower than a factor: nearly an outage is enough then.
_OUTAGE: Final = 0.9


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """Two windows, by their names in `Windows`."""

    long: timedelta
    short: timedelta
    long_name: str
    short_name: str
    factor: float
    severity: Severity


# The most urgent first.
PAIRS: Final = (
    Pair(
        long=timedelta(hours=1), short=timedelta(minutes=5), long_name="hour", short_name="minutes_5", factor=14.4,
        severity="critical",
    ),
    Pair(
        long=timedelta(hours=6), short=timedelta(minutes=30), long_name="hours_6", short_name="minutes_30", factor=6.0,
        severity="critical",
    ),
    Pair(
        long=timedelta(days=3), short=timedelta(hours=6), long_name="days_3", short_name="hours_6", factor=1.0,
        severity="warning",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Burn:
    """A budget that is being used up too fast."""

    #: The service level, see `objectives.LIMITS`.
    slo: str
    #: None: of all agents that have no objective of their own for it.
    agent: str | None
    severity: Severity
    long: timedelta
    short: timedelta
    #: Above it is too fast; at 1 the budget of 30 days lasts for 30 days.
    factor: float
    #: Of the long and of the short window.
    rate: float
    short_rate: float
    goal: float
    #: A share of the budget of 30 days; below 0 it is overdrawn.
    budget_left: float
    #: Of the long window.
    events: int
    bad: int
    #: All of it in words, for people.
    text: str


async def burning(pool: Pool, settings: SloSettings) -> list[Burn]:
    """Return what burns now, the most urgent first: at most one for each objective. One read, over all tenants."""
    found = [burn for standing in await standings(pool, settings) if (burn := burn_of(standing, settings.least_bad))]
    return sorted(found, key=lambda burn: (burn.severity != "critical", -burn.rate / burn.factor))


def burn_of(standing: Standing, least_bad: int) -> Burn | None:
    """Return how an objective's budget burns too fast, by the most urgent pair of windows; None: it does not.

    Less than `least_bad` failures in the long window are none: where little happens, one alone would be a large share.
    """
    for pair in PAIRS:
        long, short = getattr(standing.windows, pair.long_name), getattr(standing.windows, pair.short_name)
        rate, short_rate = standing.rate(long), standing.rate(short)
        factor = min(pair.factor, _OUTAGE / (1.0 - standing.objective.goal))
        if rate is None or short_rate is None or long.bad < least_bad or min(rate, short_rate) <= factor:
            continue
        left = standing.budget_left or 0.0
        objective = standing.objective
        return Burn(
            slo=objective.slo, agent=objective.agent, severity=pair.severity, long=pair.long, short=pair.short,
            factor=factor, rate=rate, short_rate=short_rate, goal=objective.goal, budget_left=left,
            events=long.events, bad=long.bad,
            text=(
                f"{objective.text}{f' ({objective.agent})' if objective.agent else ''}: {long.bad:,} of {long.events:,}"
                f" failed in {_in_words(pair.long)}, {rate:.3g} times what the goal allows; {_left(left)}"
            ),
        )  # fmt: skip
    return None


def _left(share: float) -> str:
    if round(share, 2) <= 0:
        return "the error budget of 30 days is spent"
    return f"{share * 100:.0f} % of the error budget of 30 days is left"


def _in_words(window: timedelta) -> str:
    return f"{window.days} d" if window.days else f"{window.seconds // 3600} h"
