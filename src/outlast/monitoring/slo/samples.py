"""Service levels as figures for Prometheus."""

from collections.abc import Iterator

from outlast.monitoring.metrics.of_people import EVENTS, GOOD, OBJECTIVES
from outlast.monitoring.metrics.sample import Sample
from outlast.monitoring.slo.standing import Standing, standings
from outlast.settings import Settings
from outlast.storage.postgres.pool import Pool


async def samples(pool: Pool, settings: Settings) -> list[Sample]:
    """Return the general objectives with all that was ever counted for them; those of single agents are in `report`."""
    found = await standings(pool, settings.slo)
    return [sample for standing in found if standing.objective.agent is None for sample in _samples(standing)]


def _samples(standing: Standing) -> Iterator[Sample]:
    labels = {"slo": standing.objective.slo}
    yield Sample(OBJECTIVES.name, labels, standing.objective.goal)
    yield Sample(GOOD.name, labels, standing.windows.ever.good)
    yield Sample(EVENTS.name, labels, standing.windows.ever.events)
