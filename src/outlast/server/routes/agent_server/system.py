"""The server itself: whether it serves, what it is, how much it has to do, what it offers."""

from enum import StrEnum
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response

import outlast
from outlast.runtime import Runtime
from outlast.server.bodies import Json, OpenRoute
from outlast.server.current import CurrentRuntime
from outlast.server.describing import page
from outlast.server.problems import DOCUMENTED
from outlast.storage.postgres.breakers import open_breakers
from outlast.storage.postgres.metrics import backlog

router = APIRouter(tags=["system"], route_class=OpenRoute, responses=DOCUMENTED)

_PROMETHEUS: Final = "text/plain; version=0.0.4; charset=utf-8"
_HELP: Final = {
    "outlast_runs": "Runs that have not ended, by status; later: queued, but not due yet.",
    "outlast_oldest_queued_seconds": "How long the first queued run has been due.",
    "outlast_workers": "Live workers.",
    "outlast_worker_slots": "Runs that all live workers may have at the same time.",
    "outlast_webhooks_pending": "Reports of ended runs that are still to be sent.",
    "outlast_oldest_webhook_seconds": "Age of the oldest of them.",
    "outlast_notifications_pending": "Messages to people that are still to be sent.",
    "outlast_oldest_notification_seconds": "Age of the oldest of them.",
    "outlast_dead_letters": "Failed runs that nobody has replayed or discarded, by agent.",
    "outlast_oldest_dead_letter_seconds": "Time since the first of them has failed.",
    "outlast_breakers_open": "API keys under which a model is left alone because it fails, by model.",
    "outlast_stream_followers": "Streams that are open at this process.",
    "outlast_stream_threads": "Threads that they follow.",
    "outlast_stream_connections": "Database connections that streams have borrowed at this moment.",
    "outlast_stream_ring_bytes": "Memory that recent records of them take.",
}


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
    """Return the queue, the workers and the streams of this process, in figures."""
    figures = await _figures(runtime)
    if form is MetricsFormat.JSON:
        return Json([{"name": name, "labels": labels, "value": value} for name, labels, value in figures])
    lines: list[str] = []
    for name, help_ in _HELP.items():
        lines += [f"# HELP {name} {help_}", f"# TYPE {name} gauge"]
        lines += [_line(labels, value, name) for found, labels, value in figures if found == name]
    return Response("\n".join([*lines, ""]), media_type=_PROMETHEUS)


@router.get("/docs", response_class=HTMLResponse, include_in_schema=False)
async def docs(request: Request) -> HTMLResponse:
    """Return what the API offers, for people."""
    return HTMLResponse(page(request.app.openapi()))


async def _figures(runtime: Runtime) -> list[tuple[str, dict[str, str], float]]:
    load = await backlog(runtime.pool)
    lease = runtime.settings.worker.lease.total_seconds()
    live = [worker for worker in await runtime.workers.live() if worker.age_seconds < lease]
    alone: dict[str, Any] = {
        "outlast_oldest_queued_seconds": round(load.oldest_queued_seconds, 3),
        "outlast_workers": len(live),
        "outlast_worker_slots": sum(worker.concurrency for worker in live),
        "outlast_webhooks_pending": load.reports,
        "outlast_oldest_webhook_seconds": round(load.oldest_report_seconds, 3),
        "outlast_notifications_pending": load.notifications,
        "outlast_oldest_notification_seconds": round(load.oldest_notification_seconds, 3),
        "outlast_oldest_dead_letter_seconds": round(load.oldest_dead_letter_seconds, 3),
        **{f"outlast_stream_{name}": value for name, value in runtime.hub.gauges.items()},
    }
    by_status = [("outlast_runs", {"status": status}, count) for status, count in load.runs.items()]
    by_status += [("outlast_dead_letters", {"agent": agent}, count) for agent, count in load.dead_letters.items()]
    breakers = await open_breakers(runtime.pool)
    by_model = [("outlast_breakers_open", {"model": model}, count) for model, count in breakers.items()]
    return [*by_status, *by_model, *((name, {}, value) for name, value in alone.items())]


def _escaped(label: str) -> str:
    """Models may be called anything; a label ends at a quote."""
    return label.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


def _line(labels: dict[str, str], value: float, name: str) -> str:
    listed = ",".join(f'{label}="{_escaped(text)}"' for label, text in labels.items())
    return f"{name}{{{listed}}} {value}" if listed else f"{name} {value}"
