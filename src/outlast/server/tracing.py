"""The span of a request, and the trace that it came with."""

from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.domain.trace_context import parsed
from outlast.telemetry import Span, about, span, tracing

_HEADER: Final = b"traceparent"
# Asked every few seconds by machines: each would be a trace of its own.
_UNTOLD: Final = ("/ok", "/health", "/metrics", "/info")
_FAILED: Final = 500


class Traced:
    """ASGI middleware: what a request causes belongs to the trace of its `traceparent` header, if that is valid.

    Without one it begins a trace, where anybody traces. The span says the route, and no query.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        traceparent = _given(scope)
        if traceparent is not None:
            with about(traceparent=traceparent):
                await self._pass(scope, receive, send, traceparent)
        else:
            await self._pass(scope, receive, send, None)

    async def _pass(self, scope: Scope, receive: Receive, send: Send, traceparent: str | None) -> None:
        if scope["type"] != "http" or not tracing() or str(scope["path"]).startswith(_UNTOLD):
            await self._app(scope, receive, send)
            return
        with span("request", method=scope["method"], traceparent=traceparent) as current:

            async def answer(message: Message) -> None:
                if message["type"] == "http.response.start":
                    _answered(current, scope, int(message["status"]))
                await send(message)

            await self._app(scope, receive, answer)


def _answered(current: Span, scope: Scope, status: int) -> None:
    # Known once a route was found.
    route = getattr(scope.get("route"), "path", None)
    thread_id = scope.get("path_params", {}).get("thread_id")
    current.set(status=status, thread_id=thread_id, failed=True if status >= _FAILED else None)
    if route is not None:
        current.set(route=route, method=scope["method"])


def _given(scope: Scope) -> str | None:
    if scope["type"] == "lifespan":
        return None
    given = next((value for name, value in scope["headers"] if name == _HEADER), None)
    traceparent = None if given is None else given.decode("latin-1").strip()
    return traceparent if parsed(traceparent) is not None else None
