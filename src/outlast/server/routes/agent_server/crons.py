"""Crons: runs that a clock starts, on a thread of the client's or each on one of its own."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any, Literal, cast
from uuid import UUID

import uuid_utils.compat as uuid_utils
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from outlast.admission.request import RunRequest
from outlast.crons.template import template_of
from outlast.domain.assistant import mirrored, system_id
from outlast.domain.cron import Cron, Timing
from outlast.errors import InvalidInput, NotSupported
from outlast.runtime import Runtime
from outlast.server.auth.access import Access, allowed, user_of
from outlast.server.bodies import Json, JsonRoute
from outlast.server.cron_bodies import (
    CronBody,
    CronFilter,
    CronPatch,
    CronSearch,
    CronShown,
    cron_shown,
    payload_of,
    run_fields,
)
from outlast.server.current import CurrentRuntime, gate_of
from outlast.server.ids import CronId, ThreadId, known_thread_id
from outlast.server.paging import chosen, paged
from outlast.server.problems import DOCUMENTED
from outlast.server.run_bodies import RunBody
from outlast.server.runs_api import checked, wanted_run
from outlast.storage.postgres.crons import CronContent, CronQuery
from outlast.storage.postgres.listing import Page

router = APIRouter(tags=["Crons"], route_class=JsonRoute, responses=DOCUMENTED)

Keep = Literal["delete", "keep"] | None


@router.post("/threads/{thread_id}/runs/crons", response_model=CronShown)
async def create_for_thread(thread_id: ThreadId, body: CronBody, request: Request, runtime: CurrentRuntime) -> Json:
    """Start a run on this thread each time the schedule is due."""
    if body.on_run_completed is not None:
        msg = "on_run_completed is about threads that ticks make; this cron has a thread of the client's"
        raise NotSupported(msg, field="on_run_completed")
    return await _created(body, request, runtime, thread_id)


@router.post("/runs/crons", response_model=CronShown)
async def create(body: CronBody, request: Request, runtime: CurrentRuntime) -> Json:
    """Start a run on a thread of its own each time the schedule is due."""
    return await _created(body, request, runtime, None)


async def _created(body: CronBody, request: Request, runtime: Runtime, thread_id: str | None) -> Json:
    timing = Timing(
        schedule=body.schedule, timezone=body.timezone, end_at=body.end_time, enabled=body.enabled is not False
    )
    user = await user_of(request)
    cron_id: UUID = uuid_utils.uuid7()
    value = {
        "cron_id": str(cron_id),
        "thread_id": thread_id,
        "user_id": None if user is None else user.identity,
        "schedule": timing.schedule,
        "end_time": timing.end_at,
        "payload": payload_of(run_fields(body)),
        "metadata": dict(body.metadata or {}),
    }
    value, _ = await allowed(request, "crons", "create", value)
    timing = replace(timing, schedule=value["schedule"], end_at=_time(value["end_time"]))
    wanted = await _wanted(request, value["payload"], thread_id, body.on_run_completed)
    if thread_id is not None:
        # Whose thread it is was asked with the run; that there is one has to be asked now, and not at the first tick.
        await runtime.threads.get(thread_id, access=wanted.thread.access if wanted.thread else None)
    content = CronContent(
        timing=timing,
        next_run_at=timing.next_after(await runtime.crons.now()),
        payload=value["payload"],
        metadata=value["metadata"],
        on_run_completed=_ending(thread_id, body.on_run_completed),
        template=template_of(wanted),
        user_id=value["user_id"],
    )
    # A run of this API has one.
    assistant_id = cast("UUID", wanted.assistant_id)
    cron = await runtime.crons.create(cron_id, content, assistant_id=assistant_id, thread_id=thread_id)
    return Json(cron_shown(cron))


async def _wanted(request: Request, payload: Mapping[str, Any], thread_id: str | None, ending: Keep) -> RunRequest:
    """Return the run of each tick, checked as if it were to start now, without the assistant's configuration."""
    fields = dict(payload)
    if thread_id is None:
        # A thread of its own is never busy, so that every strategy is kept by itself.
        fields["on_completion"] = ending or "delete"
    body = checked(RunBody, fields)
    body.check(stateless=thread_id is None, awaited=False)
    wanted = await wanted_run(request, body, thread_id=thread_id, merge=False)
    mirrored(wanted.config, wanted.options.context)
    gate_of(request).prepare(wanted)
    return wanted


def _ending(thread_id: str | None, chosen_one: Keep) -> Keep:
    return None if thread_id is not None else chosen_one or "delete"


def _time(value: datetime | str | None) -> datetime | None:
    """Return a time that an auth handler may have written as a text; raises InvalidInput."""
    if not isinstance(value, str):
        return value
    return checked(CronPatch, {"end_time": value}).end_time


@router.get("/runs/crons/{cron_id}", response_model=CronShown)
async def get(cron_id: CronId, request: Request, runtime: CurrentRuntime) -> Json:
    """Return a cron."""
    _, access = await allowed(request, "crons", "read", {"cron_id": str(cron_id)})
    return Json(cron_shown(await runtime.crons.get(cron_id, access=access)))


@router.patch("/runs/crons/{cron_id}", response_model=CronShown)
async def update(cron_id: CronId, body: CronPatch, request: Request, runtime: CurrentRuntime) -> Json:
    """Change a cron; its runs that are there already stay what they are."""
    given = body.model_dump(exclude_unset=True)
    value = {"cron_id": str(cron_id), "payload": run_fields(body), "schedule": body.schedule}
    if "metadata" in given:
        value["metadata"] = given["metadata"] or {}
    value, access = await allowed(request, "crons", "update", value)
    cron = await runtime.crons.get(cron_id, access=access)
    if cron.thread_id is not None and body.on_run_completed is not None:
        msg = "on_run_completed is about threads that ticks make; this cron has a thread of the client's"
        raise NotSupported(msg, field="on_run_completed")
    given["schedule"] = value["schedule"] if "schedule" in given else cron.timing.schedule
    content = await _changed(request, runtime, cron, given, value)
    return Json(cron_shown(await runtime.crons.update(cron, content)))


async def _changed(
    request: Request, runtime: Runtime, cron: Cron, given: Mapping[str, Any], value: Mapping[str, Any]
) -> CronContent:
    timing = _retimed(cron.timing, given)
    ending = _ending(cron.thread_id, given.get("on_run_completed", cron.on_run_completed))
    payload = _merged(cron.payload, value.get("payload") or {})
    content = CronContent(
        timing=timing,
        next_run_at=timing.next_after(await runtime.crons.now()),
        payload=payload,
        metadata={**cron.metadata, **(value.get("metadata") or {})},
        on_run_completed=ending,
    )
    if payload == cron.payload and ending == cron.on_run_completed:
        return content
    # Whoever says what its runs do, in whose name they are.
    wanted = await _wanted(request, payload, cron.thread_id, ending)
    user = await user_of(request)
    return replace(content, template=template_of(wanted), user_id=None if user is None else user.identity)


def _retimed(timing: Timing, given: Mapping[str, Any]) -> Timing:
    if given["schedule"] is None:
        msg = "a cron has a schedule; leave the field out to keep the one it has"
        raise InvalidInput(msg, field="schedule")
    return Timing(
        schedule=given["schedule"],
        timezone=given.get("timezone", timing.timezone),
        end_at=given.get("end_time", timing.end_at),
        enabled=given.get("enabled", timing.enabled) is not False,
    )


def _merged(payload: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    whole = {**payload, **changes}
    if "metadata" in changes:
        whole["metadata"] = {**(payload.get("metadata") or {}), **(changes["metadata"] or {})}
    # Two words for one thing: the one that was said last counts.
    if changes.get("durability") is not None and "checkpoint_during" not in changes:
        whole.pop("checkpoint_during", None)
    if changes.get("checkpoint_during") is not None and "durability" not in changes:
        whole.pop("durability", None)
    return payload_of(whole)


@router.delete("/runs/crons/{cron_id}", status_code=204)
async def delete(cron_id: CronId, request: Request, runtime: CurrentRuntime) -> Response:
    """Delete a cron; its runs stay."""
    _, access = await allowed(request, "crons", "delete", {"cron_id": str(cron_id)})
    await runtime.crons.delete(cron_id, access=access)
    return Response(status_code=204)


@router.post("/runs/crons/search", response_model=list[CronShown] | list[dict[str, Any]])
async def search(body: CronSearch, request: Request, runtime: CurrentRuntime) -> Json:
    """Return crons, those that were made last first."""
    value = body.model_dump(include={"assistant_id", "thread_id", "limit", "offset", "metadata"})
    _, access = await allowed(request, "crons", "search", value)
    query = await _query(body, runtime, access)
    page = Page(body.limit, body.offset)
    order = body.sort_order or "desc"
    found, total = await runtime.crons.search(query, sort_by=body.sort_by or "created_at", order=order, page=page)
    now = {"now": await runtime.crons.now()} if body.select and "now" in body.select else {}
    return paged([chosen(cron_shown(cron) | now, body.select) for cron in found], total=total, page=page)


@router.post("/runs/crons/count", response_model=int)
async def count(body: CronFilter, request: Request, runtime: CurrentRuntime) -> Json:
    """Return how many crons there are."""
    value = body.model_dump(include={"assistant_id", "thread_id", "metadata"})
    _, access = await allowed(request, "crons", "search", value)
    return Json(await runtime.crons.count(await _query(body, runtime, access)))


async def _query(body: CronFilter, runtime: Runtime, access: Access) -> CronQuery:
    return CronQuery(
        assistant_id=None if body.assistant_id is None else _assistant_id(body.assistant_id),
        thread_id=None if body.thread_id is None else await known_thread_id(body.thread_id, runtime),
        enabled=body.enabled,
        metadata=body.metadata,
        access=access,
    )


def _assistant_id(name_or_id: str) -> UUID:
    try:
        return UUID(name_or_id)
    except ValueError:
        return system_id(name_or_id)
