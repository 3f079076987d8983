"""Kill switches of the caller's tenant: look, turn off, turn on."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Literal, Self

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

from outlast.admission.switch_desk import Held
from outlast.domain.switch import SwitchKind
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED

router = APIRouter(prefix="/switches", tags=["switches"], route_class=JsonRoute, responses=DOCUMENTED)

Named = Literal["agent", "tool"]


class OffBody(BaseModel):
    """Why it is turned off."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reason: Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]


@dataclass(frozen=True, slots=True, kw_only=True)
class SwitchBody:
    """What is off. `everybody`: for all tenants, by whoever runs this; it cannot be turned on here."""

    kind: SwitchKind
    name: str | None
    everybody: bool
    reason: str
    off_by: str | None
    off_at: datetime
    #: Queued runs of the caller's tenant; none where it is off for everybody.
    runs_held: int | None

    @classmethod
    def of(cls, held: Held) -> Self:
        """Render it."""
        switch = held.switch
        return cls(
            kind=switch.kind, name=switch.name or None, everybody=switch.tenant == "*", reason=switch.reason,
            off_by=switch.off_by, off_at=switch.off_at, runs_held=held.runs,
        )  # fmt: skip


@router.get("", response_model=list[SwitchBody])
async def switches(runtime: CurrentRuntime) -> Json:
    """List what is off, oldest first. What is not in the list is on."""
    return Json([SwitchBody.of(held) for held in await runtime.switch_desk().overview()])


@router.put("/tenant", response_model=SwitchBody)
async def stop_tenant(body: OffBody, runtime: CurrentRuntime) -> Json:
    """Stop everything of the caller's tenant; runs wait in the queue, and nothing of them is lost."""
    switch = await runtime.switch_desk().turn_off("tenant", "", reason=body.reason)
    return Json(SwitchBody.of(Held(switch, 0)))


@router.delete("/tenant", status_code=204)
async def start_tenant(runtime: CurrentRuntime) -> Response:
    """Let the caller's tenant go on; 404 when it is not off."""
    await runtime.switch_desk().turn_on("tenant", "")
    return Response(status_code=204)


@router.put("/{kind}/{name}", response_model=SwitchBody)
async def turn_off(kind: Named, name: str, body: OffBody, runtime: CurrentRuntime) -> Json:
    """Stop an agent, or whoever is about to use a tool. What is off already keeps its first reason."""
    switch = await runtime.switch_desk().turn_off(kind, name, reason=body.reason)
    return Json(SwitchBody.of(Held(switch, 0)))


@router.delete("/{kind}/{name}", status_code=204)
async def turn_on(kind: Named, name: str, runtime: CurrentRuntime) -> Response:
    """Let it go on; 404 when it is not off."""
    await runtime.switch_desk().turn_on(kind, name)
    return Response(status_code=204)
