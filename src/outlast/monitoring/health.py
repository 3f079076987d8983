"""What a process depends on: whether it answers, how soon, and what was wrong the last time that it did not."""

import asyncio
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from outlast.calls.cache_redis import answering
from outlast.errors import DatabaseUnavailable
from outlast.queues.wakeup import Wakeup
from outlast.settings import Settings
from outlast.storage.postgres.breakers import open_breakers
from outlast.storage.postgres.embedded_disk import data_of
from outlast.storage.postgres.migrate import lacking
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.workers import WorkerStore

#: What answers later than this does not answer. Whoever asks waits little longer.
_PATIENCE_SECONDS: Final = 5.0
#: It connects again by itself; only what lasts longer is felt.
_DEAF_SECONDS: Final = 5.0
_DISK_SHARE: Final = 0.05
_DISK_BYTES: Final = 1024**3

#: Without them runs cannot be taken, and without workers not be executed. Without the others everything goes on, worse.
READY: Final = ("database", "schema")
ESSENTIAL: Final = (*READY, "workers")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a dependency says. Anybody may read it: no names of models, hosts or paths."""

    ok: bool
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One dependency, as it was just found. `detail` says what to do when something is wrong."""

    ok: bool
    #: Until it answered; None: it did not, or there is nothing to wait for.
    latency_ms: float | None = None
    detail: str | None = None
    #: What was wrong when it was last found wrong, by this process, and when that was.
    last_error: str | None = None
    last_error_at: datetime | None = None


Ask = Callable[[], Awaitable[Answer]]


class Health:
    """Asks dependencies, and remembers what was wrong with them."""

    def __init__(self, asks: Mapping[str, Ask]) -> None:
        self._asks = asks
        self._errors: dict[str, tuple[str, datetime]] = {}

    async def look(self, *names: str) -> dict[str, Check]:
        """Ask those that are named, else all, at the same time; none is waited for longer than five seconds."""
        wanted = names or tuple(self._asks)
        checks = await asyncio.gather(*(self._check(name) for name in wanted))
        return dict(zip(wanted, checks, strict=True))

    async def _check(self, name: str) -> Check:
        began = time.perf_counter()
        answer = await self._answer(name)
        latency_ms = round((time.perf_counter() - began) * 1000, 2)
        if not answer.ok:
            self._errors[name] = answer.detail or "it does not answer", datetime.now(UTC)
        last_error, last_error_at = self._errors.get(name, (None, None))
        return Check(
            ok=answer.ok, latency_ms=latency_ms if answer.ok else None, detail=answer.detail,
            last_error=last_error, last_error_at=last_error_at,
        )  # fmt: skip

    async def _answer(self, name: str) -> Answer:
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                return await self._asks[name]()
        except DatabaseUnavailable:
            missing = "PostgreSQL does not answer" if name == "database" else None
            return Answer(ok=False, detail=missing or "unknown while the database does not answer")
        # Whatever is wrong with it is what was asked; its text may name hosts and users.
        except Exception as error:  # noqa: BLE001
            return Answer(ok=False, detail=f"it does not answer ({type(error).__name__})")


def health_of(settings: Settings, pool: Pool, wakeup: Wakeup, root: Path) -> Health:
    """Return what asks everything that a process with these settings depends on; `root` is the project's directory."""
    asks: dict[str, Ask] = {
        "database": lambda: _database(pool),
        "schema": lambda: _schema(pool),
        "workers": lambda: _workers(pool, settings.worker.lease.total_seconds()),
        "hints": lambda: _hints(wakeup),
        "models": lambda: _models(pool),
    }
    if (ask := answering(settings.calls.cache.redis_url)) is not None:
        asks["cache"] = lambda: _cache(ask)
    if (directory := data_of(settings.database.url, root)) is not None:
        asks["disk"] = lambda: _disk(directory)
    return Health(asks)


async def _database(pool: Pool) -> Answer:
    async with pool.connection() as connection:
        await connection.execute("SELECT 1")
    return Answer(ok=True)


async def _schema(pool: Pool) -> Answer:
    missing = await lacking(pool)
    return Answer(not missing, f"{len(missing)} migrations to apply: outlast db migrate" if missing else None)


async def _workers(pool: Pool, lease_seconds: float) -> Answer:
    # A silent one is not counted, also where nobody declares it dead.
    workers = await WorkerStore(pool).live()
    live = sum(worker.state == "live" and worker.age_seconds < lease_seconds for worker in workers)
    return Answer(live > 0, f"{live} live" if live else "no live worker: outlast worker")


async def _hints(wakeup: Wakeup) -> Answer:
    if wakeup.deaf_seconds < _DEAF_SECONDS:
        return Answer(ok=True)
    return Answer(ok=False, detail="no connection for LISTEN: runs begin, and streams go on, at the next poll")


async def _models(pool: Pool) -> Answer:
    states = await open_breakers(pool)
    alone = sum(count > 0 for count in states.values())
    detail = f"{alone} of {len(states)} models are left alone because they fail; see outlast_breakers_open"
    return Answer(not alone, detail if alone else None)


async def _cache(ask: Callable[[], Awaitable[None]]) -> Answer:
    await ask()
    return Answer(ok=True)


async def _disk(directory: Path) -> Answer:
    # A network's file system may not answer.
    usage = await asyncio.to_thread(shutil.disk_usage, directory)
    enough = usage.free >= min(_DISK_BYTES, usage.total * _DISK_SHARE)
    free = f"{usage.free / _DISK_BYTES:.1f} GiB are free for the private database"
    return Answer(enough, free if enough else f"only {free}")
