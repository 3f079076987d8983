"""Counts, again and again, what happened since it was counted last. It runs in every worker; one at a time counts."""

import time
from datetime import timedelta
from typing import Final

from outlast.monitoring.slo.objectives import Objectives
from outlast.settings_slo import SloSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.slo import SloStore
from outlast.telemetry import rounds_for_ever

_TIDY_EVERY: Final = timedelta(hours=1)


class Rollup:
    """`run` until cancelled."""

    def __init__(self, pool: Pool, settings: SloSettings) -> None:
        self._store = SloStore(pool)
        self._objectives = Objectives(settings)
        self._every = settings.every
        self._tidy_at = time.monotonic() + _TIDY_EVERY.total_seconds()

    async def run(self) -> None:
        """Count for ever."""
        await rounds_for_ever(self.turn, seconds=self._every.total_seconds(), loop="slo")

    async def turn(self) -> bool:
        """Count, if it is this process's turn; by limits that are new, from 30 days ago on. True: it was."""
        print_ = self._objectives.print
        # A little less, or a process would find its own last turn too fresh.
        if not await self._store.claim(print_, every=self._every * 0.9):
            return False
        behind = False
        while await self._store.roll_up(print_, self._objectives.limits):
            behind = True
        # What was counted of many days at once is read by others at once, too.
        if behind or time.monotonic() >= self._tidy_at:
            self._tidy_at = time.monotonic() + _TIDY_EVERY.total_seconds()
            await self._store.tidy()
        return True
