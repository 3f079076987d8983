"""The processes themselves: requests, streams, reports, loops, connections."""

from collections.abc import Mapping
from typing import Any, Final

from outlast.monitoring.metrics.figure import NAMES, OTHER, USUAL, counter, gauge, histogram, stored
from outlast.monitoring.metrics.meter import Handler, Meter

REQUESTS = counter(
    "outlast_http_requests_total", "Requests that were answered.", route=NAMES,
    method=("GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS", OTHER),
    status=("1xx", "2xx", "3xx", "4xx", "5xx"),
)  # fmt: skip
REQUEST_SECONDS = histogram("outlast_http_seconds", "Until a request was answered.", USUAL, route=NAMES)
STREAMS = counter(
    "outlast_streams_total", "Streams to clients, by how they ended.", outcome=("complete", "client_gone", "error")
)
WEBHOOKS = counter(
    "outlast_webhooks_total", "Reports of ended runs, by what became of them.", outcome=("delivered", "failed")
)
WEBHOOKS_PENDING = stored("outlast_webhooks_pending", "Reports of ended runs that are still to be sent.")
OLDEST_WEBHOOK = stored("outlast_oldest_webhook_seconds", "Age of the oldest of them.")
LOOP_LAG = gauge("outlast_loop_lag_seconds", "Longest hold-up of the event loop in the last 15 seconds.", "max")
LOOP_FAILURES = counter("outlast_loop_failures_total", "Rounds of background loops that failed.", loop=NAMES)
CONNECTIONS = gauge("outlast_pool_connections", "Database connections of pools.", state=("idle", "used"))
WAITING = gauge("outlast_pool_waiting", "Tasks that wait for a database connection.")
LOGS_LOST = counter("outlast_logs_lost_total", "Log lines that could not be written.")
TELEMETRY_LOST = counter("outlast_telemetry_lost_total", "Observations and spans that could not be kept or sent.")
FOLLOWERS = gauge("outlast_stream_followers", "Streams that are open.")
THREADS = gauge("outlast_stream_threads", "Threads that they follow.")
BORROWED = gauge("outlast_stream_connections", "Database connections that streams have borrowed at this moment.")
RING = gauge("outlast_stream_ring_bytes", "Memory that recent records of streams take.")

FIGURES = (
    REQUESTS, REQUEST_SECONDS, STREAMS, WEBHOOKS, WEBHOOKS_PENDING, OLDEST_WEBHOOK, LOOP_LAG, LOOP_FAILURES,
    CONNECTIONS, WAITING, LOGS_LOST, TELEMETRY_LOST, FOLLOWERS, THREADS, BORROWED, RING,
)  # fmt: skip


def _answered(meter: Meter, fields: Mapping[str, Any]) -> None:
    meter.add(REQUESTS, fields["route"], fields["method"], f"{fields['status'] // 100}xx")
    meter.observe(REQUEST_SECONDS, fields["seconds"], fields["route"])


def _lost(meter: Meter, fields: Mapping[str, Any]) -> None:
    meter.add(TELEMETRY_LOST, by=fields["count"])


HEARD: Final[Mapping[str, Handler]] = {
    "http.answered": _answered,
    "stream.ended": lambda meter, fields: meter.add(STREAMS, fields["outcome"]),
    "webhook.delivered": lambda meter, _: meter.add(WEBHOOKS, "delivered"),
    "webhook.failed": lambda meter, _: meter.add(WEBHOOKS, "failed"),
    "loop.failed": lambda meter, fields: meter.add(LOOP_FAILURES, fields["loop"]),
    "logs.lost": lambda meter, fields: meter.add(LOGS_LOST, by=fields["count"]),
    "telemetry.lost": _lost,
}
