"""What processes notice and no table knows, counted for rules: loops that fail, leases that are lost.

A listener adds to a small dictionary; every few seconds what has come together is stored in one statement, and nothing
where nothing has. What cannot be stored now is kept until it can.
"""

import asyncio
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, Final

from outlast.domain.acting import DEFAULT_TENANT
from outlast.errors import DatabaseUnavailable
from outlast.settings_alerts import AlertSettings
from outlast.storage.postgres.alerts import AlertStore
from outlast.storage.postgres.pool import Pool
from outlast.telemetry import rounds_for_ever, subscribe, surroundings

_EVERY: Final = timedelta(seconds=5)
#: Names of loops and of budgets are few; more of them are a mistake, and are not kept.
_MOST_KEYS: Final = 500
#: Tenant, figure, subject.
_Key = tuple[str, str, str]
_COUNTED: Final[Mapping[str, Callable[[Mapping[str, Any]], _Key]]] = {
    "loop.failed": lambda fields: (DEFAULT_TENANT, "loop_failures", str(fields["loop"])),
    "run.lease_lost": lambda _: (DEFAULT_TENANT, "lease_losses", ""),
    "worker.fenced": lambda _: (DEFAULT_TENANT, "lease_losses", ""),
    "checkpoint.connection_lost": lambda _: (DEFAULT_TENANT, "checkpoint_failures", ""),
    "budget.exceeded": lambda fields: (
        surroundings().get("tenant") or DEFAULT_TENANT,
        "budget_stops",
        str(fields["budget"]),
    ),
}


class Signals:
    """Counts and stores."""

    def __init__(self, store: AlertStore) -> None:
        self._store = store
        self._counts: Counter[_Key] = Counter()
        self._lock = threading.Lock()

    def __call__(self, point: str, fields: Mapping[str, Any]) -> None:
        """Count what rules are about; called from any thread."""
        key_of = _COUNTED.get(point)
        if key_of is None:
            return
        key = key_of(fields)
        with self._lock:
            if key in self._counts or len(self._counts) < _MOST_KEYS:
                self._counts[key] += 1

    async def store(self) -> None:
        """Store what was counted since; it is kept where that fails."""
        with self._lock:
            counted, self._counts = self._counts, Counter()
        if not counted:
            return
        try:
            await self._store.signal(counted)
        # Whatever it was, or a cancellation: nothing is lost by it.
        except BaseException:
            with self._lock:
                self._counts.update(counted)
            raise

    async def run(self) -> None:
        """Store again and again, until cancelled."""
        await rounds_for_ever(self.store, seconds=_EVERY.total_seconds(), loop="alert_signals", at_once=False)


@asynccontextmanager
async def signals_counted(settings: AlertSettings, pool: Pool) -> AsyncGenerator[None]:
    """Count for rules to the end of the block."""
    if not settings.enabled:
        yield
        return
    signals = Signals(AlertStore(pool))
    unsubscribe = subscribe(signals)
    storing = asyncio.create_task(signals.run(), name="outlast-alert-signals")
    try:
        yield
    finally:
        unsubscribe()
        storing.cancel()
        await asyncio.gather(storing, return_exceptions=True)
        # Without a database there is nobody to tell, and what ends does not wait for one.
        with suppress(DatabaseUnavailable):
            await signals.store()
