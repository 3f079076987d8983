"""Responses that go on: server-sent events as they come, a comment when nothing comes."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from outlast.domain.options import Protocol
from outlast.streams.records import HEARTBEAT
from outlast.telemetry import emit

_COMMENT: Final = b": heartbeat\r\n\r\n"


def documented(description: str) -> dict[int | str, dict[str, Any]]:
    """Return what the API's description says of a stream, for `responses=`."""
    return {200: {"description": description, "content": {"text/event-stream": {}}}}


def frame(event: str, data: bytes, pos: int | None = None) -> bytes:
    """Return an event; `data` is JSON in one line, `pos` where a client that was cut off goes on behind it."""
    if pos is None:
        return b"event: %b\r\ndata: %b\r\n\r\n" % (event.encode(), data)
    return b"event: %b\r\ndata: %b\r\nid: %d\r\n\r\n" % (event.encode(), data, pos)


class EventStream(Response):
    """Sends what `frames` yields until that ends or the client leaves; a slow client is waited for, and holds nothing.

    `on_gone` is called when the client has left before the end, and only then: a server that stops is no such case, its
    clients come back. With `cut` the connection is cut instead of ended, for clients that take an end for the run's.

    How it ended is told as `stream.ended`: `complete`, `client_gone`, or `error`, with the seconds to the first piece
    behind the greeting that comes at once. `protocol` and `agent` are for that alone.
    """

    media_type = "text/event-stream"

    def __init__(
        self,
        frames: AsyncGenerator[bytes, None],
        *,
        headers: Mapping[str, str] | None = None,
        on_gone: Callable[[], None] | None = None,
        cut: bool = False,
        protocol: Protocol = "v1",
        agent: str | None = None,
    ) -> None:
        # Proxies are asked not to gather events.
        super().__init__(headers={**(headers or {}), "X-Accel-Buffering": "no"})
        # Its length is not known.
        del self.headers["content-length"]
        self._frames = frames
        self._on_gone = on_gone
        self._cut = cut
        self._protocol, self._agent = protocol, agent
        self._began_at = time.monotonic()
        self._first_at: float | None = None
        self._sent_at = 0.0
        self._sending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - ASGI's signature
        """Answer."""
        self._began_at = time.monotonic()
        outcome = "error"
        try:
            outcome = await self._answer(receive, send)
        finally:
            first = None if self._first_at is None else self._first_at - self._began_at
            emit(
                "stream.ended", protocol=self._protocol, agent=self._agent, outcome=outcome, first_byte_seconds=first,
                seconds=time.monotonic() - self._began_at,
            )  # fmt: skip

    async def _answer(self, receive: Receive, send: Send) -> str:
        loop = asyncio.get_running_loop()
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        self._sent_at = loop.time()
        pump = asyncio.create_task(self._pump(send))
        gone = asyncio.create_task(left(receive))
        try:
            while not pump.done() and not gone.done():
                due = self._sent_at + HEARTBEAT.total_seconds()
                await asyncio.wait({pump, gone}, timeout=due - loop.time(), return_when=asyncio.FIRST_COMPLETED)
                if not pump.done() and not gone.done() and loop.time() >= self._sent_at + HEARTBEAT.total_seconds():
                    await self._beat(send)
            await self._end(pump, gone, send)
            return "complete" if pump.done() else "client_gone"
        finally:
            for task in (pump, gone):
                task.cancel()
            await asyncio.gather(pump, gone, return_exceptions=True)
            await self._frames.aclose()

    async def _end(self, pump: "asyncio.Task[None]", gone: "asyncio.Task[None]", send: Send) -> None:
        if pump.done():
            # An error cuts the connection: the client comes back, and its status was sent long ago.
            pump.result()
            if not self._cut:
                await send({"type": "http.response.body", "body": b""})
        elif self._on_gone is not None and gone.done():
            self._on_gone()

    async def _beat(self, send: Send) -> None:
        if self._sending:
            # The client does not read; what is on its way to it says more than a comment.
            self._sent_at = asyncio.get_running_loop().time()
        else:
            await self._send(send, _COMMENT)

    async def _pump(self, send: Send) -> None:
        greeted = False
        async for piece in self._frames:
            if piece:
                await self._send(send, piece)
                if greeted and self._first_at is None:
                    self._first_at = time.monotonic()
            greeted = True

    async def _send(self, send: Send, body: bytes) -> None:
        self._sending = True
        try:
            await send({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            self._sending = False
            self._sent_at = asyncio.get_running_loop().time()


async def left(receive: Receive) -> None:
    """Return when the client has left."""
    while (await receive())["type"] != "http.disconnect":
        pass
