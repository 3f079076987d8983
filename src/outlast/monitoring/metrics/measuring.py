"""Counting what happens in this process."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from outlast import telemetry
from outlast.monitoring.metrics import of_service
from outlast.monitoring.metrics.directory import Membership
from outlast.monitoring.metrics.meter import Meter
from outlast.monitoring.metrics.sampling import sample
from outlast.monitoring.metrics.table import FIGURES, HEARD
from outlast.settings import counted_in
from outlast.settings_metrics import MetricsSettings
from outlast.storage.postgres.pool import Pool


@dataclass(slots=True)
class _Process:
    """What this process counts with: once, however many runtimes it opens."""

    meter: Meter | None = None
    #: Where it counts together with others; None: in its own memory.
    membership: Membership | None = None
    open: int = 0
    unsubscribe: Callable[[], None] | None = None


_process = _Process()


@asynccontextmanager
async def measured(settings: MetricsSettings, pool: Pool, *, agents: Collection[str]) -> AsyncGenerator[None]:
    """Count what happens in this process, to the end of the block; `agents` are the names that labels may have."""
    if not settings.enabled:
        yield
        return
    meter = _meter(settings)
    meter.labels.know(agents, most=settings.most_values)
    meter.begin(FIGURES.values(), agents)
    sampling = asyncio.create_task(sample(meter, pool), name="outlast-metrics")
    _listen(meter)
    try:
        yield
    finally:
        _leave()
        sampling.cancel()
        await asyncio.wait({sampling})


def meter() -> Meter | None:
    """Return what this process counts with; None: it does not count."""
    return _process.meter


def directory() -> Path | None:
    """Return where this process counts together with others; None: in its own memory."""
    return None if _process.membership is None else _process.membership.directory


def note_streams(gauges: Mapping[str, int]) -> None:
    """Note how the streams of this process stand, as `EventHub.gauges` says it."""
    if _process.meter is not None:
        for name, value in gauges.items():
            _process.meter.set(FIGURES[f"outlast_stream_{name}"], value)


def _meter(settings: MetricsSettings) -> Meter:
    if _process.meter is None:
        together = counted_in()
        if together is not None:
            _process.membership = Membership.of(together)
        _process.meter = Meter(FIGURES.values(), most=settings.most_values)
    return _process.meter


def _listen(meter: Meter) -> None:
    _process.open += 1
    if _process.unsubscribe is None:
        _process.unsubscribe = telemetry.subscribe(_Listener(meter))


def _leave() -> None:
    _process.open -= 1
    if not _process.open and _process.unsubscribe is not None:
        _process.unsubscribe()
        _process.unsubscribe = None


class _Listener:
    def __init__(self, meter: Meter) -> None:
        self._meter = meter

    def __call__(self, point: str, fields: Mapping[str, Any]) -> None:
        handler = HEARD.get(point)
        if handler is None:
            return
        try:
            handler(self._meter, fields)
        # It is called in the midst of a run, which must not end because a figure is wrong or a disk is full.
        except Exception:  # noqa: BLE001
            self._meter.add(of_service.TELEMETRY_LOST)
