"""A JSON answer that takes as long as it takes: the headers at once, a newline now and then, and then the value.

The newlines keep proxies from giving up, and are nothing to a JSON parser. Nothing is held meanwhile but the socket.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

import orjson
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from outlast.server.sse import left

# Proxies and clients give up on silence of half a minute or more.
_HEARTBEAT_SECONDS = 5.0


class Eventually(Response):
    """Answers 200 with what `value` returns, however long that takes.

    `on_gone` is called when the client has left before that, and only then: a server that stops is no such case, its
    clients come back. An error of `value` cuts the connection, since the status was sent long ago; a client that knows
    a Location asks there again.
    """

    media_type = "application/json"

    def __init__(
        self, value: Awaitable[Any], *, headers: Mapping[str, str], on_gone: Callable[[], None] | None = None
    ) -> None:
        super().__init__(headers=headers)
        # Its length is not known yet.
        del self.headers["content-length"]
        self._value = value
        self._on_gone = on_gone

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Answer."""
        value = asyncio.ensure_future(self._value)
        gone = asyncio.create_task(left(receive))
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while not value.done() and not gone.done():
                await asyncio.wait({value, gone}, timeout=_HEARTBEAT_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                if not value.done() and not gone.done():
                    await send({"type": "http.response.body", "body": b"\n", "more_body": True})
            if value.done():
                await send({"type": "http.response.body", "body": orjson.dumps(value.result())})
            elif self._on_gone is not None:
                self._on_gone()
        finally:
            for task in (value, gone):
                task.cancel()
            with suppress(asyncio.CancelledError):
                await gone
