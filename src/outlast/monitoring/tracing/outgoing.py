"""Services that nodes, tools and effects call with httpx are told the trace.

httpx has no hook for all clients, so its two `send` methods are wrapped while traces are on. It is safe, since nothing
else is changed: a request that has a `traceparent` keeps it, a request outside of a run gets none, and neither does one
of a model's client (a provider goes on with no trace of ours). The header names the trace and the span, and nothing of
what they are about. `tracing.propagate_to` says which hosts are told.
"""

from collections.abc import Awaitable, Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial, wraps
from typing import Any, Final

import httpx

from outlast.monitoring.tracing.tracer import OtelTracer
from outlast.telemetry import tracing

_HEADER: Final = "traceparent"


def telling_services(tracer: OtelTracer, hosts: Sequence[str]) -> Callable[[], None]:
    """Have requests carry the current span; returns what ends it."""
    if not hosts:
        return lambda: None
    tell = partial(_tell, tracer, tuple(hosts))
    before = httpx.Client.send, httpx.AsyncClient.send
    ours = _telling(before[0], tell), _telling_async(before[1], tell)
    httpx.Client.send, httpx.AsyncClient.send = ours

    def stop() -> None:
        # Where somebody has wrapped it since, ours stays below theirs; it tells nothing any more.
        if (httpx.Client.send, httpx.AsyncClient.send) == ours:
            httpx.Client.send, httpx.AsyncClient.send = before

    return stop


def _tell(tracer: OtelTracer, hosts: Sequence[str], request: httpx.Request) -> None:
    if _HEADER in request.headers or not tracing() or not tracer.may_join():
        return
    host = request.url.host
    if any(fnmatchcase(host, pattern) for pattern in hosts) and (traceparent := tracer.carried()) is not None:
        request.headers[_HEADER] = traceparent


def _telling(send: Callable[..., httpx.Response], tell: Callable[[httpx.Request], None]) -> Any:
    @wraps(send)
    def told(self: httpx.Client, request: httpx.Request, **options: Any) -> httpx.Response:
        tell(request)
        return send(self, request, **options)

    return told


def _telling_async(send: Callable[..., Awaitable[httpx.Response]], tell: Callable[[httpx.Request], None]) -> Any:
    @wraps(send)
    async def told(self: httpx.AsyncClient, request: httpx.Request, **options: Any) -> httpx.Response:
        tell(request)
        return await send(self, request, **options)

    return told
