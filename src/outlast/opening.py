"""What the runtime opens first: the pool, the checkpointer, runs, and what the calls of a process share."""

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial

from outlast.agents.checkpoints import erasing
from outlast.agents.checkpoints.saver import Checkpointer
from outlast.agents.codec import Codec
from outlast.agents.own_policies import policing
from outlast.agents.registry import Project
from outlast.calls.budgets import Budgets
from outlast.calls.cache import AnswerCache, CacheBackend
from outlast.calls.cache_redis import RedisCache
from outlast.calls.services import Calls
from outlast.inbox.terms import terms_by
from outlast.queues.wakeup import Wakeup
from outlast.settings import CacheSettings, Settings
from outlast.settings_admission import LimitSettings
from outlast.storage.postgres import starting
from outlast.storage.postgres.audit import AuditLog
from outlast.storage.postgres.breakers import BreakerStore
from outlast.storage.postgres.budgets import BudgetStore
from outlast.storage.postgres.cache_sealing import SealedCache
from outlast.storage.postgres.call_cache import CallCacheStore
from outlast.storage.postgres.call_log import CallLog
from outlast.storage.postgres.claiming import RunningCaps
from outlast.storage.postgres.effects import EffectStore
from outlast.storage.postgres.pool import Pool
from outlast.storage.postgres.rate_limits import RateLimitStore
from outlast.storage.postgres.retry_budgets import RetryBudgetStore
from outlast.storage.postgres.runs import RunStore
from outlast.storage.postgres.usage import UsageStore


@asynccontextmanager
async def opened(pool: Pool) -> AsyncGenerator[Pool]:
    """Open a pool on a database whose roles see no more than they should, and close it."""
    await pool.open()
    try:
        await starting.require_row_security(pool)
        yield pool
    finally:
        await pool.close()


def saver(settings: Settings, pool: Pool, codec: Codec) -> AbstractAsyncContextManager[Checkpointer]:
    """Return what stores the checkpoints of this process."""
    cache_bytes = settings.checkpoint.cache_bytes
    return Checkpointer.on(settings.database, codec=codec, cache_bytes=cache_bytes, sealing=pool.sealing)


@asynccontextmanager
async def calls(  # noqa: PLR0917 - what they are made of
    settings: Settings, project: Project, pool: Pool, codec: Codec, wakeup: Wakeup, audit: AuditLog
) -> AsyncGenerator[Calls]:
    """Open what the calls of this process share."""
    log = CallLog(settings.database, pool)
    # Processes that run no agents never write to it.
    await log.open(connect=False)
    try:
        async with (
            _cache(settings.calls.cache, pool, codec) as cache,
            policing(settings.policies, project, pool, wakeup, audit) as policies,
        ):
            yield Calls(
                settings=settings.calls,
                codec=codec,
                log=log,
                effects=EffectStore(pool),
                policing=policies,
                budgets=Budgets(settings.budgets, BudgetStore(pool, zone=settings.budgets.time_zone)),
                usage=UsageStore(pool),
                rates=RateLimitStore(pool),
                breaker_store=BreakerStore(pool),
                budget_store=RetryBudgetStore(pool),
                cache=cache,
            )
    finally:
        await log.close()


@asynccontextmanager
async def _cache(settings: CacheSettings, pool: Pool, codec: Codec) -> AsyncGenerator[AnswerCache]:
    """Open the cache of model calls, which is asked where the settings or a model say so."""
    if not settings.redis_url:
        yield AnswerCache(backend=_kept(CallCacheStore(pool), pool), codec=codec, settings=settings)
        return
    redis = RedisCache.at(settings.redis_url)
    try:
        yield AnswerCache(backend=_kept(redis, pool), codec=codec, settings=settings)
    finally:
        await redis.aclose()


def _kept(backend: CacheBackend, pool: Pool) -> CacheBackend:
    return SealedCache(backend, pool.sealing) if pool.sealing.on else backend


def run_store(pool: Pool, settings: Settings) -> RunStore:
    """Build what keeps runs."""
    return RunStore(
        pool,
        erase=partial(erasing.delete_runs_in, sealing=pool.sealing),
        thread_values_bytes=settings.server.thread_values_bytes,
        temporary_grace=settings.retention.temporary,
        caps=_caps(settings.limits),
        terms_of=terms_by(settings.inbox),
    )


def _caps(limits: LimitSettings) -> RunningCaps:
    own = {name: tenant.running for name, tenant in limits.tenants.items() if tenant.running is not None}
    return RunningCaps(general=limits.running_per_tenant, tenants=own)
