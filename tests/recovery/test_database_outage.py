"""The database goes away under load: every run ends, and nobody is taken for dead who lives."""

import asyncio
import os
import shutil
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "workers"))

from engine import Engine, seconds

from outlast.domain.run import RunStatus
from outlast.errors import DatabaseUnavailable
from outlast.settings import DatabaseSettings
from outlast.storage.postgres import embedded_watchdog
from outlast.storage.postgres.embedded import EmbeddedPostgres
from outlast.storage.postgres.migrate import migrate
from outlast.storage.postgres.pool import connect
from outlast.testing.postgres import seeing_default
from quick_directory import quick_directory
from waiting import until

# Production's own figures: what is shown here is that they hold.
AS_SHIPPED = {"lease": seconds(15), "heartbeat": seconds(1)}


@pytest.fixture
def directory() -> Iterator[Path]:
    directory = quick_directory().resolve()
    try:
        yield directory
    finally:
        embedded_watchdog.stop_server(directory)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
async def engine(directory: Path) -> AsyncIterator[Engine]:
    """On a server of this test alone, which it may kill."""
    with EmbeddedPostgres.start(directory) as server:
        database = DatabaseSettings(url=seeing_default(server.url))
        await migrate(database)
        async with AsyncExitStack() as stack:
            yield Engine(database, stack)


def _postmaster(directory: Path) -> int:
    found = embedded_watchdog.find_postmaster(directory / "data")
    assert found is not None
    return found.pid


async def _kill_a_backend(engine: Engine, directory: Path) -> None:
    """As the out-of-memory killer does: the server ends all sessions, recovers, and goes on without a restart."""
    ((pid,),) = await engine.rows(
        "SELECT pid FROM pg_stat_activity WHERE application_name = 'outlast-hints'"
        " AND datname = current_database() LIMIT 1"
    )
    os.kill(pid, signal.SIGKILL)


async def _kill_a_backend_and_recover_slowly(engine: Engine, directory: Path) -> None:
    """The same with a recovery that takes seconds: the server waits for a session that does not end."""
    async with await connect(engine.database, application_name="slow-to-die") as connection:
        slow = connection.info.backend_pid
        os.kill(slow, signal.SIGSTOP)
        try:
            await _kill_a_backend(engine, directory)
            await asyncio.sleep(3.0)
        finally:
            os.kill(slow, signal.SIGCONT)


async def _restart(engine: Engine, directory: Path) -> None:
    os.kill(_postmaster(directory), signal.SIGQUIT)  # as `pg_ctl -m immediate`
    # Down for a while: longer than the silence after which a worker without its lock is believed to be dead.
    await asyncio.sleep(2.0)
    again = await asyncio.to_thread(EmbeddedPostgres.start, directory)
    again.close()


@pytest.mark.parametrize(
    "outage", [_kill_a_backend, _kill_a_backend_and_recover_slowly, _restart], ids=["crash", "slow crash", "restart"]
)
async def test_every_run_ends_and_no_living_worker_is_declared_dead(outage, engine: Engine, directory: Path) -> None:
    async with engine.working(worker=AS_SHIPPED) as first, engine.working(worker=AS_SHIPPED) as second:
        runs = [await engine.start("dozes") for _ in range(12)]
        await until(lambda: _busy(engine))
        before = {first.worker.id, second.worker.id}
        await outage(engine, directory)
        await until(lambda: _all_ended(engine), 60)
        views = [await engine.view(run_id) for run_id in runs]
        # Long enough after it for a reaper that draws the wrong conclusion.
        dead = await engine.rows("SELECT pid, ended_at - heartbeat_at FROM workers WHERE state = 'dead'")

        assert {first.worker.id, second.worker.id} == before
    assert dead == []
    assert [view.crashes for view in views] == [0] * len(views)
    bad = [(view.error_code, view.error_message) for view in views if view.status is not RunStatus.SUCCEEDED]
    assert bad == []
    assert (await engine.ended(await _after(engine))).status is RunStatus.SUCCEEDED, "listener and pool work again"


async def _after(engine: Engine):
    async with engine.working():
        run_id = await engine.start("steps")
        await engine.ended(run_id)
        return run_id


async def _all_ended(engine: Engine) -> bool:
    with suppress(DatabaseUnavailable):
        return await engine.rows("SELECT 1 FROM runs WHERE ended_at IS NULL") == []
    return False


async def _busy(engine: Engine) -> bool:
    running = await engine.rows("SELECT count(*) FROM runs WHERE status = 'running'")
    return running[0][0] >= 8
