"""Everything in a process that listens to what happens, opened and closed as one."""

from collections.abc import AsyncGenerator, Collection
from contextlib import AsyncExitStack, asynccontextmanager

from outlast.monitoring.alerts.signals import signals_counted
from outlast.monitoring.metrics.measuring import measured
from outlast.monitoring.observing import observed
from outlast.monitoring.slo.streams import streams_counted
from outlast.monitoring.tracing.traced import traced
from outlast.settings import Settings
from outlast.storage.postgres.pool import Pool


@asynccontextmanager
async def monitored(settings: Settings, pool: Pool, *, agents: Collection[str]) -> AsyncGenerator[None]:
    """Have what happens in this process counted, traced and observed, to the end of the block.

    `agents` are the names of the project's agents. What was gathered is stored and sent before the block ends; the
    pool is needed until then. Several of them may be open in one process.
    """
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(measured(settings.metrics, pool, agents=agents))
        await stack.enter_async_context(observed(pool, judged=not settings.anomalies.enabled))
        await stack.enter_async_context(streams_counted(pool))
        await stack.enter_async_context(signals_counted(settings.alerts, pool))
        await stack.enter_async_context(traced(settings.tracing))
        yield
