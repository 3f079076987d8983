"""Rows of what happened at a certain time, as a runtime stores them."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

from outlast.domain.acting import across_tenants
from outlast.monitoring.slo.rollup import Rollup
from outlast.monitoring.slo.standing import Standing, standings
from outlast.settings_slo import SloSettings
from outlast.storage.postgres.pool import Pool

NOW = timedelta(0)


async def execute(pool: Pool, statement: str, parameters: dict[str, Any]) -> None:
    with across_tenants():
        async with pool.connection() as connection:
            await connection.execute(statement, parameters)


async def observe(
    pool: Pool, *, count: int = 1, ago: timedelta = NOW, run_id: UUID | None = None, **columns: Any
) -> None:
    """Store that so many runs of an agent have ended, or the one."""
    usual = {"tenant": "default", "agent": "support", "epoch": 1, "status": "success", "seconds": 1.0}
    given = usual | columns
    names, values = ", ".join(given), ", ".join(f"%({name})s" for name in given)
    await execute(
        pool,
        f"INSERT INTO run_observations (run_id, ended_at, {names})"
        f" SELECT coalesce(%(own)s::uuid, gen_random_uuid()), clock_timestamp() - %(ago)s::interval, {values}"
        " FROM generate_series(1, %(count)s)",
        {**given, "own": run_id, "ago": ago, "count": count},
    )  # fmt: skip


async def insert_run(pool: Pool, status: str, *, ago: timedelta = NOW, agent: str = "support") -> UUID:
    """Store a run that has come so far."""
    run, key = uuid4(), uuid4()
    ended = status in {"succeeded", "failed", "cancelled"}
    await execute(pool, "INSERT INTO threads (key, tenant, thread_id) VALUES (%(key)s, 'default', %(name)s)",
                  {"key": key, "name": key.hex})  # fmt: skip
    await execute(
        pool,
        "INSERT INTO runs (id, thread_key, agent, status, epoch, tenant, ended_at) VALUES (%(run)s, %(key)s, %(agent)s,"
        " %(status)s, 1, 'default', CASE WHEN %(ended)s::bool THEN clock_timestamp() - %(ago)s::interval END)",
        {"run": run, "key": key, "agent": agent, "status": status, "ended": ended, "ago": ago},
    )
    return run


async def crash(pool: Pool, run: UUID, *, ago: timedelta, claimed: timedelta | None = None, silent: float = 0) -> None:
    """Store that the run's first attempt died with its worker, `silent` seconds after its last heartbeat."""
    worker = uuid4()
    await execute(
        pool,
        "INSERT INTO workers (id, host, pid, concurrency, agents, state, heartbeat_at, ended_at) VALUES (%(id)s, 'h',"
        " 1, 1, '{}', 'dead', clock_timestamp() - %(ago)s::interval - make_interval(secs => %(silent)s),"
        " clock_timestamp())",
        {"id": worker, "ago": ago, "silent": silent},
    )
    await execute(
        pool,
        "INSERT INTO run_attempts (run_id, epoch, kind, error_code, worker_id, ended_at, tenant) VALUES (%(run)s, 1,"
        " 'crash', 'crashed', %(worker)s, clock_timestamp() - %(ago)s::interval, 'default')",
        {"run": run, "worker": worker, "ago": ago},
    )
    if claimed is not None:
        await execute(
            pool,
            "INSERT INTO run_history (run_id, epoch, event, worker_id, at, tenant) VALUES (%(run)s, 3, 'claimed',"
            " %(worker)s, clock_timestamp() - %(ago)s::interval, 'default')",
            {"run": run, "worker": worker, "ago": claimed},
        )


async def counted(pool: Pool, settings: SloSettings | None = None) -> dict[tuple[str, str | None], Standing]:
    """Count all that is there, and return every objective's standing."""
    settings = settings or SloSettings()
    await execute(pool, "UPDATE slo_rollups SET rolled_at = 'epoch'", {})
    assert await Rollup(pool, settings).turn()
    return {(found.objective.slo, found.objective.agent): found for found in await standings(pool, settings)}
