"""Deletes what is old enough.

Threads past their TTL, threads of stateless runs, items of the store, records of streams, outputs, sent reports. It
runs inside every worker, and any number of them may run at once.

A task that fails is tried again at its next turn and does not hold the others back.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from outlast.domain.acting import acting_for
from outlast.settings_retention import RetentionSettings
from outlast.storage.postgres.retention import Aged, Cursor, RetentionStore
from outlast.telemetry import emit

_BATCH: Final = 1000
# Batches of one task in one round: after a long pause the others get their turn, too.
_MOST_BATCHES: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Sweeps:
    """What the project says: how often to look for old threads and items, and how many threads at a time."""

    threads: timedelta | None = None
    most_threads: int = 1000
    items: timedelta | None = None


@dataclass(slots=True)
class Job:
    """What is done again and again."""

    what: str
    every: timedelta
    work: Callable[[], Awaitable[int]]
    due_at: float = 0.0


class Upkeep:
    """Deletes by age; `run` until cancelled."""

    def __init__(
        self, store: RetentionStore, settings: RetentionSettings, sweeps: Sweeps, *, more: Sequence[Job] = ()
    ) -> None:
        self._store = store
        self._settings = settings
        self._most_threads = sweeps.most_threads
        self._outputs: Cursor | None = None
        self._events_until: datetime | None = None
        every = settings.sweep
        self._jobs = (
            Job("threads", sweeps.threads or every, self.threads),
            Job("items", sweeps.items or every, self.items),
            Job("events", every, self.events),
            Job("outputs", every, self.outputs),
            Job("deliveries", every, self.deliveries),
            Job("answers", every, self.answers),
            Job("effects", every, self.effects),
            Job("usage", every, self.usage),
            Job("cache", every, self.cache),
            Job("aged", every, self.aged),
            *more,
        )

    def job(self, what: str) -> Job:
        """Return one of the tasks by its name."""
        return next(job for job in self._jobs if job.what == what)

    async def run(self) -> None:
        """Look for ever."""
        while True:
            for job in self._jobs:
                if time.monotonic() >= job.due_at:
                    await self._do(job)
            await asyncio.sleep(max(0.0, min(job.due_at for job in self._jobs) - time.monotonic()))

    async def threads(self) -> int:
        """Delete threads, or their history, whose time has come."""
        expired = await self._store.expired_threads(limit=self._most_threads)
        deleted = 0
        for thread_id, tenant in expired:
            with acting_for(tenant):
                deleted += await self._store.expire(thread_id)
        age = self._settings.threads
        if age is None:
            return deleted
        for thread_id, tenant in await self._store.idle_threads(age=age, limit=self._most_threads):
            with acting_for(tenant):
                deleted += await self._store.expire(thread_id, idle=age)
        return deleted

    async def items(self) -> int:
        """Delete items of the store whose time has come."""
        return await _batches(lambda: self._store.forget_items(limit=_BATCH))

    async def events(self) -> int:
        """Delete records of streams that nobody may ask for any more."""
        now = await self._store.now()
        oldest = now - self._settings.resumable_events
        old = await _batches(lambda: self._store.forget_old_events(before=oldest, limit=_BATCH))
        until = now - self._settings.events
        # What ended before `oldest` has just gone by its own age.
        after = self._events_until or oldest
        ended = await self._store.forget_events_of_ended(after=after, until=until)
        self._events_until = until
        return old + ended

    async def outputs(self) -> int:
        """Forget the values of runs whose threads hold them."""
        until = await self._store.now() - self._settings.outputs
        for _ in range(_MOST_BATCHES):
            cursor = await self._store.forget_outputs(self._outputs, until=until, limit=_BATCH)
            if cursor is None:
                break
            self._outputs = cursor
        return 0

    async def deliveries(self) -> int:
        """Delete reports that are over."""
        before = await self._store.now() - self._settings.deliveries
        return await _batches(lambda: self._store.forget_deliveries(before=before, limit=_BATCH))

    async def usage(self) -> int:
        """Fold the usage of old model calls into days."""
        before = await self._store.now() - self._settings.usage
        return await _batches(lambda: self._store.fold_usage(before=before, limit=_BATCH))

    async def effects(self) -> int:
        """Delete effects that no run will ask for any more."""
        age = self._settings.effects
        return await _batches(lambda: self._store.forget_effects(age=age, limit=_BATCH))

    async def answers(self) -> int:
        """Delete answers of calls that no run will ask for any more; those of runs that succeeded go with outputs."""
        age = self._settings.journal
        return await _batches(lambda: self._store.forget_answers(age=age, limit=_BATCH))

    async def cache(self) -> int:
        """Delete what the cache of model calls holds too long, and rate limits of keys and subjects that are gone."""
        limits = await _batches(lambda: self._store.forget_rate_limits(limit=_BATCH))
        limits += await _batches(lambda: self._store.forget_admission_limits(limit=_BATCH))
        return limits + await _batches(lambda: self._store.forget_cached_answers(limit=_BATCH))

    async def aged(self) -> int:
        """Delete what has nothing but its age."""
        deleted = 0
        for kind in Aged:
            age: timedelta | None = getattr(self._settings, kind.name.lower())
            if age is not None:
                deleted += await _batches(partial(self._store.forget_aged, kind, age=age, limit=_BATCH))
        return deleted

    async def _do(self, job: Job) -> None:
        try:
            deleted = await job.work()
        # The loop must outlive whatever one task meets, or nothing is ever deleted again.
        except Exception as error:  # noqa: BLE001
            emit("loop.failed", loop=f"upkeep.{job.what}", error=type(error).__name__)
        else:
            if deleted:
                emit("upkeep.deleted", what=job.what, count=deleted)
        job.due_at = time.monotonic() + job.every.total_seconds()


async def _batches(step: Callable[[], Awaitable[int]]) -> int:
    deleted = 0
    for _ in range(_MOST_BATCHES):
        done = await step()
        deleted += done
        if done < _BATCH:
            break
    return deleted
