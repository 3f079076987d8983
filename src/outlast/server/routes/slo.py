"""Service levels: what was promised, and how much of it is kept."""

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel

from outlast.monitoring.slo.report import Line, report
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED

router = APIRouter(tags=["monitoring"], route_class=JsonRoute, responses=DOCUMENTED)


class SloReport(BaseModel):
    """Every objective; the general one of a service level comes before those of single agents."""

    #: None: no worker has counted by these settings yet.
    counted_to: datetime | None
    objectives: list[Line]


@router.get("/slo", response_model=SloReport)
async def slo(runtime: CurrentRuntime) -> Json:
    """Return the service level objectives of `[slo]` over the last 30 days, of all tenants together.

    `budget_left` is the share of the error budget that is left, `burn` how fast it is used up: at 1 it lasts for
    exactly 30 days. `state` is `burning` where that is too fast, by the pairs of windows of docs/slo.md.
    """
    found = await report(runtime.pool, runtime.settings.slo)
    return Json({"counted_to": found.counted_to, "objectives": found.lines})
