"""Whether the process serves, and whether runs can be taken and executed."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends
from pydantic import BaseModel
from starlette.requests import Request

from outlast.monitoring.health import ESSENTIAL, READY, Check, Health
from outlast.server.bodies import Json, OpenRoute

router = APIRouter(tags=["health"], route_class=OpenRoute)


class HealthBody(BaseModel):
    """All in one word, and what each dependency says.

    `degraded`: everything goes on, but slower, or without something. `unavailable`: runs cannot be taken, or nobody
    executes them.
    """

    status: Literal["ok", "degraded", "unavailable"]
    #: database, schema, workers, hints (the connection for LISTEN), models (breakers); and where there is one: cache
    #: (Redis), disk (of the private database).
    checks: dict[str, Check]


class ReadyBody(BaseModel):
    """Whether requests should be sent to this process."""

    status: Literal["ready", "unavailable"]
    checks: dict[str, Check]


# Async, as in `current`.
async def _health(request: Request) -> Health:
    return request.app.state.health


CurrentHealth = Annotated[Health, Depends(_health)]


@router.get("/health/live")
async def live() -> Json:
    """Answer as long as the process serves requests: whoever starts it again when it does not asks here."""
    return Json({"status": "ok"})


@router.get("/health/ready", response_model=ReadyBody, responses={503: {"model": ReadyBody}})
async def ready(health: CurrentHealth) -> Json:
    """Say whether requests should come here: database and schema are there. 503 when not; a load balancer asks here.

    A missing worker is no reason: runs are taken all the same, and wait.
    """
    checks = await health.look(*READY)
    fine = _fine(checks)
    return Json({"status": "ready" if fine else "unavailable", "checks": checks}, 200 if fine else 503)


@router.get("/health", response_model=HealthBody, responses={503: {"model": HealthBody}})
async def health(health: CurrentHealth) -> Json:
    """Ask everything that the process depends on: each with its latency, and what was wrong with it last.

    503 when runs could not be taken and executed; what runs can do without makes it `degraded`, which is a 200.
    """
    checks = await health.look()
    if not _fine({name: checks[name] for name in ESSENTIAL}):
        return Json({"status": "unavailable", "checks": checks}, 503)
    return Json({"status": "ok" if _fine(checks) else "degraded", "checks": checks})


def _fine(checks: Mapping[str, Any]) -> bool:
    return all(check.ok for check in checks.values())
