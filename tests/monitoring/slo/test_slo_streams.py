"""Streams are counted where they are served."""

import pytest
from slo_rows import execute

from outlast.errors import DatabaseUnavailable
from outlast.monitoring.slo.standing import standings
from outlast.monitoring.slo.streams import StreamCounts, streams_counted
from outlast.settings_slo import SloSettings
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.slo import Count
from outlast.telemetry import emit


def ended(outcome, **more):
    emit("stream.ended", protocol="v1", outcome=outcome, first_byte_seconds=0.1, seconds=1.0, **more)


async def of_streams(pool):
    (found,) = [found for found in await standings(pool, SloSettings()) if found.objective.slo == "streams"]
    return found.windows


async def test_what_was_counted_is_stored_when_the_process_ends(pool):
    for _ in range(2):
        async with streams_counted(pool):
            ended("complete")
            ended("complete", agent="support")
            ended("error")
            # Whoever leaves says nothing about us.
            ended("client_gone")
    ended("error")
    windows = await of_streams(pool)
    assert windows.minutes_5 == windows.period == windows.ever == Count(4, 6)


async def test_what_cannot_be_stored_is_stored_later(pool, database_of_module):
    away = Pool(database_of_module, application_name="test")
    counts = StreamCounts(away)
    counts("stream.ended", {"outcome": "complete"})
    with pytest.raises(DatabaseUnavailable):
        await counts.store()
    await away.open()
    try:
        await counts.store()
    finally:
        await away.close()
    assert (await of_streams(pool)).period == Count(1, 1)
    await execute(pool, "DELETE FROM slo_counts", {})
