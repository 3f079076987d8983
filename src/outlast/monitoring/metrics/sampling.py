"""What has to be looked at again and again: how long the event loop is held up, and what connections do."""

import asyncio
from collections import deque
from typing import Final

from outlast.monitoring.metrics import of_service
from outlast.monitoring.metrics.meter import Meter
from outlast.storage.postgres.pool import Pool

_EVERY: Final = 1.0
# As long as Prometheus usually takes from one look to the next.
_REMEMBERED: Final = 15


async def sample(meter: Meter, pool: Pool) -> None:
    """Look once a second, for ever."""
    loop = asyncio.get_running_loop()
    lags: deque[float] = deque([0.0], maxlen=_REMEMBERED)
    while True:
        meter.set(of_service.LOOP_LAG, max(lags))
        idle, used, waiting = pool.use
        meter.set(of_service.CONNECTIONS, idle, "idle")
        meter.set(of_service.CONNECTIONS, used, "used")
        meter.set(of_service.WAITING, waiting)
        due = loop.time() + _EVERY
        await asyncio.sleep(_EVERY)
        lags.append(max(0.0, loop.time() - due))
