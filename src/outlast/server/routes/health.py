"""Whether the process serves, and whether runs can be taken and executed."""

import asyncio
import time
from collections.abc import Awaitable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter

from outlast.errors import DatabaseUnavailable
from outlast.runtime import Runtime
from outlast.server.bodies import Json, OpenRoute
from outlast.server.current import CurrentRuntime
from outlast.storage.postgres.migrate import lacking

router = APIRouter(tags=["health"], route_class=OpenRoute)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckBody:
    """One thing that has to be right. `detail` says what to do when it is not."""

    ok: bool
    latency_ms: float | None = None
    detail: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChecksBody:
    """All of them."""

    database: CheckBody
    schema: CheckBody
    workers: CheckBody


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthBody:
    """`ok` or `unavailable`, and why."""

    status: str
    checks: ChecksBody


@router.get("/health/live")
async def live() -> Json:
    """Answer as long as the process serves requests: whoever starts it again when it does not asks here."""
    return Json({"status": "ok"})


@router.get("/health", response_model=HealthBody, responses={503: {"model": HealthBody}})
async def health(runtime: CurrentRuntime) -> Json:
    """Check the database, its schema and the workers; 503 when runs could not be taken and executed."""
    schema, workers = await asyncio.gather(_timed(lacking(runtime.pool)), _timed(_live_workers(runtime)))
    checks = _unreachable() if schema is None or workers is None else _checks(schema, workers)
    fine = checks.database.ok and checks.schema.ok and checks.workers.ok
    return Json(HealthBody(status="ok" if fine else "unavailable", checks=checks), 200 if fine else 503)


async def _timed(question: Awaitable[Any]) -> tuple[Any, float] | None:
    """Return an answer of the database and the milliseconds it took; None when there is none."""
    began = time.perf_counter()
    try:
        answer = await question
    except DatabaseUnavailable:
        return None
    return answer, round((time.perf_counter() - began) * 1000, 2)


async def _live_workers(runtime: Runtime) -> int | None:
    """Return how many workers can take runs. A silent one is not counted, also where nobody declares it dead."""
    lease = runtime.settings.worker.lease.total_seconds()
    return sum(worker.state == "live" and worker.age_seconds < lease for worker in await runtime.workers.live())


def _checks(schema: tuple[Any, float], workers: tuple[Any, float]) -> ChecksBody:
    missing, latency_ms = schema
    live, _ = workers
    to_apply = f"{len(missing)} migrations to apply: outlast db migrate" if missing else None
    return ChecksBody(
        database=CheckBody(ok=True, latency_ms=latency_ms),
        schema=CheckBody(ok=not missing, detail=to_apply),
        workers=CheckBody(ok=live > 0, detail=f"{live} live" if live else "no live worker: outlast worker"),
    )


def _unreachable() -> ChecksBody:
    unknown = CheckBody(ok=False, detail="unknown while the database does not answer")
    return ChecksBody(
        database=CheckBody(ok=False, detail="PostgreSQL does not answer"), schema=unknown, workers=unknown
    )
