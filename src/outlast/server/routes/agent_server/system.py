"""The server itself: whether it serves, what it is, how much it has to do, what it offers."""

import asyncio
from enum import StrEnum
from importlib.metadata import version
from typing import Annotated

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

import outlast
from outlast.monitoring.metrics import exposition
from outlast.monitoring.metrics.database import figures
from outlast.monitoring.metrics.measuring import note_streams
from outlast.server.bodies import Json, OpenRoute
from outlast.server.current import CurrentRuntime
from outlast.server.describing import page
from outlast.server.problems import DOCUMENTED

router = APIRouter(tags=["system"], route_class=OpenRoute, responses=DOCUMENTED)


class MetricsFormat(StrEnum):
    """How figures are written."""

    PROMETHEUS = "prometheus"
    JSON = "json"


@router.get("/ok")
async def ok(
    runtime: CurrentRuntime,
    check_db: Annotated[int, Query(ge=0, le=1, description="1: ask the database, too")] = 0,
) -> Json:
    """Answer as long as the process serves requests; with `check_db=1`, 503 when the database does not answer."""
    if check_db and not runtime.project.sections.http.disable_meta:
        async with runtime.pool.connection() as connection:
            await connection.execute("SELECT 1")
    return Json({"ok": True})


@router.get("/info")
async def info() -> Json:
    """Return what clients decide by: versions, and which parts of the API there are."""
    return Json(
        {
            "version": outlast.__version__,
            "langgraph_py_version": version("langgraph"),
            "flags": {
                "assistants": True,
                "crons": True,
                "langsmith": False,
                "langsmith_tracing_replicas": False,
            },
            "host": {"kind": "self-hosted", "project_id": None, "revision_id": None, "tenant_id": None},
        }
    )


@router.get(
    "/metrics",
    response_class=PlainTextResponse,
    responses={200: {"content": {"application/json": {}}, "description": "The figures, in the form asked for."}},
)
async def metrics(
    runtime: CurrentRuntime,
    form: Annotated[MetricsFormat, Query(alias="format")] = MetricsFormat.PROMETHEUS,
) -> Response:
    """Return what happened in this process, or in all that count together with it, and what the database knows."""
    stored = await figures(runtime.pool, runtime.settings)
    note_streams(runtime.hub.gauges)
    if form is MetricsFormat.JSON:
        found = await asyncio.to_thread(exposition.samples, stored)
        return Json([sample._asdict() for sample in found])
    # It reads files, where processes count together.
    return Response(await asyncio.to_thread(exposition.text, stored), media_type=exposition.CONTENT_TYPE)


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Return what the API offers, for people."""
    return HTMLResponse(page(request.app.openapi()))
