"""What every response has round it: a request id, no caching, and a problem where the code inside broke down."""

import re
import time
from collections.abc import Callable
from typing import Final

import uuid_utils.compat as uuid_utils
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.server.problems import failure
from outlast.telemetry import about, emit

_UNKNOWN: Final = "other"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")


class Envelope:
    """Outermost ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer with the caller's X-Request-Id, or with a new one."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        headers = [(b"x-request-id", request_id), (b"cache-control", b"no-store")]
        began, status = time.perf_counter(), 0

        async def wrapped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        with about(request_id=request_id.decode()):
            try:
                await self._answer(scope, receive, wrapped, started=lambda: status > 0)
            finally:
                seconds = time.perf_counter() - began
                emit("http.answered", route=_route(scope), method=_method(scope), status=status, seconds=seconds)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, *, started: Callable[[], bool]) -> None:

        try:
            await self._app(scope, receive, send)
        # The last place that can turn an error into an answer.
        except Exception as error:
            response = failure(error, f"{scope['method']} {scope['path']}")
            if started():
                raise
            await response(scope, receive, send)


def _route(scope: Scope) -> str:
    """Return the route's template, which is one of a few; never the path, which may be anything."""
    return getattr(scope.get("route"), "path", _UNKNOWN)


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else _UNKNOWN


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return value
    return uuid_utils.uuid7().hex.encode()
