"""How long sessions last: the runs of a thread with pauses of less than half an hour.

That one is over is known half an hour later, and the process of the oldest live worker counts it. It remembers up to
when it has looked; when it ends, what would have ended in its last minute is not counted.
"""

import os
import socket
from datetime import datetime
from typing import Final

from outlast.monitoring.metrics import measuring, of_runs
from outlast.settings_metrics import MetricsSettings
from outlast.storage.postgres.metrics import SessionStore
from outlast.storage.postgres.pool import Pool
from outlast.telemetry import rounds_for_ever

_EVERY: Final = 60.0
_PAUSE_SECONDS: Final = 1800.0


class Sessions:
    """Looks once a minute; one for each worker."""

    def __init__(self, pool: Pool, settings: MetricsSettings, *, pause_seconds: float = _PAUSE_SECONDS) -> None:
        self._store = SessionStore(pool, host=socket.gethostname(), pid=os.getpid(), pause_seconds=pause_seconds)
        self._enabled = settings.enabled
        #: Up to when sessions are counted; None: this process does not count them.
        self._since: datetime | None = None

    async def run(self) -> None:
        """Look for ever."""
        if self._enabled:
            await rounds_for_ever(self.round, seconds=_EVERY, loop="sessions")

    async def round(self) -> int:
        """Look once; return how many sessions were over."""
        until, since = await self._store.turn(), self._since
        self._since = until
        if until is None or since is None:
            return 0
        over = await self._store.over(since, until)
        if (meter := measuring.meter()) is not None:
            for agent, seconds in over:
                meter.observe(of_runs.SESSIONS, seconds, agent)
        return len(over)
