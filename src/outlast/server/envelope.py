"""What every response has round it: a request id, no caching, and a problem where the code inside broke down."""

import re
from typing import Final

import uuid_utils.compat as uuid_utils
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.server.problems import failure

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
        headers = [(b"x-request-id", _request_id(scope)), (b"cache-control", b"no-store")]
        started = False

        async def wrapped(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message.get("headers", ()), *headers]
            await send(message)

        try:
            await self._app(scope, receive, wrapped)
        # The last place that can turn an error into an answer.
        except Exception as error:
            response = failure(error, f"{scope['method']} {scope['path']}")
            if started:
                raise
            await response(scope, receive, wrapped)


def _request_id(scope: Scope) -> bytes:
    for name, value in scope["headers"]:
        if name == b"x-request-id" and _ID.fullmatch(value):
            return value
    return uuid_utils.uuid7().hex.encode()
