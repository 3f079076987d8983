"""The figures that alerts are made of, each read by a small statement."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, NamedTuple

from outlast.domain.acting import across_tenants
from outlast.domain.alert import Figure
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.queries import Queries

_SQL = Queries("alert_figures")
#: Over which events are counted.
WINDOW: Final = timedelta(minutes=10)
_ERRORS_WINDOW: Final = timedelta(minutes=15)
#: Of fewer runs nobody says that a share of them fails.
_ERRORS_RUNS: Final = 10

#: What each statement reads, and the figures that it gives.
SOURCES: Final[Mapping[str, tuple[bytes, frozenset[str]]]] = {
    "dead_letters": (_SQL.dead_letters, frozenset({"dead_letters", "dead_letters_oldest_seconds"})),
    "inbox": (_SQL.inbox, frozenset({"inbox_open", "inbox_oldest_seconds"})),
    "queue": (_SQL.queue, frozenset({"queue_depth", "queue_oldest_seconds", "runs_without_worker"})),
    "silent_runs": (_SQL.silent_runs, frozenset({"runs_silent"})),
    "workers": (_SQL.workers, frozenset({"workers_live", "worker_deaths"})),
    "breakers": (_SQL.breakers, frozenset({"breakers_open"})),
    "budgets": (_SQL.budgets, frozenset({"budget_used_ratio"})),
    "signals": (_SQL.signals, frozenset({"budget_stops", "checkpoint_failures", "loop_failures", "lease_losses"})),
    "errors": (_SQL.errors, frozenset({"error_ratio"})),
    "spending": (_SQL.spending, frozenset({"cost_usd_hour", "tokens_hour", "runs_hour"})),
    "undelivered": (_SQL.undelivered, frozenset({"notifications_failed"})),
    "effects": (_SQL.effects, frozenset({"effects_unknown"})),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Looking:
    """What the figures depend on."""

    #: A worker that was silent for longer is dead.
    lease: timedelta
    #: A run that was silent for longer is stuck.
    silent: timedelta
    #: Budgets of the settings: name and period (day, month, total).
    spans: Mapping[str, str]
    time_zone: str


class Anomaly(NamedTuple):
    """What somebody has found that is not as usual, and that goes on."""

    tenant: str
    agent: str
    model: str
    kind: str
    severity: str
    text: str
    value: float | None


class AlertFigures:
    """Reads the figures of all tenants."""

    def __init__(self, pool: Pool, looking: Looking) -> None:
        self._pool = pool
        self._parameters: dict[str, Any] = {
            "lease": looking.lease.total_seconds(),
            "silent": looking.silent.total_seconds(),
            "window": WINDOW.total_seconds(),
            "errors_window": _ERRORS_WINDOW.total_seconds(),
            "errors_runs": _ERRORS_RUNS,
            "names": list(looking.spans),
            "spans": list(looking.spans.values()),
            "zone": looking.time_zone,
        }

    async def read(self, source: str) -> list[Figure]:
        """Return what one source tells; a figure that has no line is not there."""
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(SOURCES[source][0], self._parameters)).fetchall()
        return [Figure._make(row) for row in rows]

    async def anomalies(self) -> list[Anomaly]:
        """Return the findings that are open."""
        with across_tenants():
            async with self._pool.connection() as connection:
                rows = await (await connection.execute(_SQL.anomalies)).fetchall()
        return [Anomaly._make(row) for row in rows]


def sources_of(figures: Collection[str]) -> list[str]:
    """Return the statements that read these figures."""
    return [source for source, (_, given) in SOURCES.items() if given & set(figures)]
