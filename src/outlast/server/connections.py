"""What one connection may cost: how long its requests take to come, how large their heads are, how many there are.

uvicorn waits for ever for a request that comes byte by byte and for a client that takes no answer, and keeps a head of
any size in memory. Here each of these has an end; the body's size is counted in `bodies`.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final, cast

import uvicorn
from starlette.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from outlast.server.problems import problem
from outlast.settings import ServerSettings

_LONGEST_URL: Final = 16 * 1024
# What a header costs besides its bytes, as in RFC 7541: a thousand empty ones are not free.
_PER_HEADER: Final = 32
# Chunks of one byte cost six; what costs more hides something in the chunks' extensions.
_WIRE_RATIO: Final = 16
_WIRE_ALLOWANCE: Final = 64 * 1024
# For what a client still sends when it has its answer: closed at once, it might never read that.
_LINGER_SECONDS: Final = 2.0


class GuardedConfig(uvicorn.Config):
    """uvicorn's configuration, with connections that are guarded."""

    def __init__(self, app: ASGIApp, settings: ServerSettings, **options: Any) -> None:
        super().__init__(
            app,
            http=GuardedConnection,
            ws=GuardedWebSocket,
            # Of a compressed frame it is not known what it becomes.
            ws_per_message_deflate=False,
            ws_max_size=settings.max_body_bytes,
            # Who asks is whom the socket is connected with; which proxies are believed is said elsewhere.
            proxy_headers=False,
            **options,
        )
        self.guard = settings
        # uvicorn wants whole seconds and needs none.
        self.timeout_keep_alive = cast("int", settings.keep_alive.total_seconds())


class _Taking:
    """Watches a client that lets its answer wait, and cuts it when it takes nearly nothing."""

    def __init__(self, guard: ServerSettings, loop: asyncio.AbstractEventLoop) -> None:
        self._seconds = guard.stall_timeout.total_seconds()
        self._least = guard.min_bytes_per_second * self._seconds
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None

    def begin(self, transport: asyncio.Transport) -> None:
        """Watch from now on."""
        self._look_later(transport, transport.get_write_buffer_size())

    def end(self) -> None:
        """Watch no more."""
        self._timer = _cancelled(self._timer)

    def _look_later(self, transport: asyncio.Transport, left: int) -> None:
        self._timer = self._loop.call_later(self._seconds, self._look, transport, left)

    def _look(self, transport: asyncio.Transport, before: int) -> None:
        left = transport.get_write_buffer_size()
        if before - left >= self._least:
            self._look_later(transport, left)
            return
        self._timer = None
        # Not close(): that would wait for the client to take the rest.
        transport.abort()


class GuardedWebSocket(WebSocketsSansIOProtocol):
    """A WebSocket that is cut when its client takes nothing of what it is sent, or sends what is no handshake."""

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._writing = _Taking(cast("GuardedConfig", config).guard, self.loop)

    def data_received(self, data: bytes) -> None:
        """Refuse headers that are more or longer than the library reads; uvicorn would wait for others, for ever."""
        super().data_received(data)
        if self.conn.handshake_exc is not None and not self.handshake_initiated:
            detail = f"the handshake of the WebSocket cannot be read: {self.conn.handshake_exc}"
            self.transport.write(_answer(HTTPStatus.BAD_REQUEST, "bad_request", detail))
            self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timer."""
        self._writing.end()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to watch."""
        super().pause_writing()
        self._writing.begin(self.transport)

    def resume_writing(self) -> None:
        """Watch no more: it has taken enough."""
        self._writing.end()
        super().resume_writing()


class _Refusal(Exception):
    """Stops the parser; what the client gets is in the connection's `_refusal`."""


class GuardedConnection(HttpToolsProtocol):
    """One client's connection. It is cut when the client is too slow, or sends a head that is too large."""

    def __init__(self, config: uvicorn.Config, *args: Any, **kwargs: Any) -> None:
        super().__init__(config, *args, **kwargs)
        self._guard = cast("GuardedConfig", config).guard
        self._refusal: tuple[HTTPStatus, str, str] | None = None
        # Bytes of the head: of what is complete, and of what came while nothing was.
        self._head_bytes = self._loose_bytes = 0
        self._in_head = self._in_body = False
        # Whether the last look at the body found that we kept it waiting.
        self._idle = False
        self._body_bytes = self._wire_bytes = self._seen_bytes = 0
        self._reading: asyncio.TimerHandle | None = None
        self._writing = _Taking(self._guard, self.loop)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection, or close it when there are too many."""
        super().connection_made(transport)
        if self._is_one_too_many():
            transport.close()
            return
        self._await_head()

    @property
    def _last(self) -> RequestResponseCycle | None:
        # uvicorn says that there always is one; before the first request there is none.
        return cast("RequestResponseCycle | None", self.cycle)

    def _is_one_too_many(self) -> bool:
        # This one is among them.
        if len(self.connections) > self._guard.max_connections:
            return True
        most = self._guard.max_connections_per_address
        if most is None or self.client is None:
            return False
        mine = self.client[0]
        # Of what uvicorn counts, all are connections of the two classes here.
        others = (cast("GuardedConnection | GuardedWebSocket", other).client for other in self.connections)
        return sum(other is not None and other[0] == mine for other in others) > most

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the timers."""
        self._reading = _cancelled(self._reading)
        self._writing.end()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse, and count what did not become a request."""
        was_in_body = self._in_body
        if not self._in_body and self._reading is None:
            self._await_head()
        if was_in_body:
            self._wire_bytes += len(data)
        else:
            self._loose_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._in_head and self._loose_bytes > self._guard.max_head_bytes:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", self._head_too_large())
        elif was_in_body and self._in_body and self._wire_bytes > _WIRE_RATIO * self._body_bytes + _WIRE_ALLOWANCE:
            self._refuse(HTTPStatus.BAD_REQUEST, "bad_request", "the chunks carry too little for their size")

    def handle_websocket_upgrade(self) -> None:
        """Hand the connection to the protocol of WebSockets, which has timers of its own."""
        self._reading = _cancelled(self._reading)
        super().handle_websocket_upgrade()

    # What the parser finds.

    def on_message_begin(self) -> None:
        """Begin a head; one behind another request's body in the same packet is counted from its next packet on."""
        super().on_message_begin()
        if self._last is not None:
            self._loose_bytes = 0
        self._head_bytes = 0
        self._in_head = True

    def on_url(self, url: bytes) -> None:
        """Take a piece of the URL."""
        super().on_url(url)
        self._count(len(url))
        if len(self.url) > _LONGEST_URL:
            detail = f"the URL is longer than {_LONGEST_URL:,} bytes; send what is long in a body"
            self._stop(HTTPStatus.REQUEST_URI_TOO_LONG, "url_too_long", detail)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header; those behind a chunked body are dropped: the request has been judged by what stood before."""
        self._count(len(name) + len(value) + _PER_HEADER)
        if self._in_head:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Wait for the body now."""
        super().on_headers_complete()
        self._in_head = False
        self._in_body = True
        self._loose_bytes = self._body_bytes = self._wire_bytes = self._seen_bytes = 0
        self._idle = False
        self._arm(self._guard.stall_timeout.total_seconds(), self._look_at_body)

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body."""
        self._body_bytes += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Wait for nothing more."""
        super().on_message_complete()
        self._in_body = False
        self._reading = _cancelled(self._reading)

    def on_response_complete(self) -> None:
        """Go on with the next request; a client that has not sent all of this one gets little time for it."""
        super().on_response_complete()
        # Not for the body of a request that waited behind the one that has its answer.
        if self._in_body and self.cycle.response_complete and not self.transport.is_closing():
            self._arm(min(_LINGER_SECONDS, self._guard.head_timeout.total_seconds()), self.transport.close)

    # What takes too long.

    def _await_head(self) -> None:
        self._arm(self._guard.head_timeout.total_seconds(), self._no_head)

    def _no_head(self) -> None:
        self._reading = None
        if self._in_head:
            self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the request's head did not come in time")
        elif self._last is None or self._last.response_complete:
            self.transport.close()

    def _look_at_body(self) -> None:
        came, self._seen_bytes = self._body_bytes - self._seen_bytes, self._body_bytes
        seconds = self._guard.stall_timeout.total_seconds()
        # Nothing can come while nobody reads: then it is we who are slow.
        idle = self.flow.read_paused or bool(self.cycle.body) or self.cycle.waiting_for_100_continue
        # Who was let go on a moment ago has had no time yet.
        was_idle, self._idle = self._idle, idle
        if idle or was_idle or came >= self._guard.min_bytes_per_second * seconds:
            self._arm(seconds, self._look_at_body)
            return
        self._reading = None
        self._refuse(HTTPStatus.REQUEST_TIMEOUT, "request_timeout", "the request's body comes too slowly")

    def pause_writing(self) -> None:
        """Begin to watch how fast the client takes what is there."""
        super().pause_writing()
        self._writing.begin(self.transport)

    def resume_writing(self) -> None:
        """Watch no more: it has taken enough."""
        self._writing.end()
        super().resume_writing()

    def _arm(self, seconds: float, then: Callable[[], None]) -> None:
        _cancelled(self._reading)
        self._reading = self.loop.call_later(seconds, then)

    # What is refused.

    def _count(self, more: int) -> None:
        self._head_bytes += more
        if self._head_bytes > self._guard.max_head_bytes:
            self._stop(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "head_too_large", self._head_too_large())

    def _head_too_large(self) -> str:
        return f"the request's line and headers are larger than {self._guard.max_head_bytes:,} bytes"

    def _stop(self, status: HTTPStatus, code: str, detail: str) -> None:
        # uvicorn answers an error of the parser by send_400_response.
        self._refusal = status, code, detail
        raise _Refusal(detail)

    def _refuse(self, status: HTTPStatus, code: str, detail: str) -> None:
        self._refusal = status, code, detail
        self.send_400_response(detail)

    def send_400_response(self, msg: str) -> None:
        """Send the refusal as a problem, unless an answer is on its way, whose part it would become; then close."""
        status, code, detail = self._refusal or (HTTPStatus.BAD_REQUEST, "bad_request", f"{msg} It is not HTTP/1.1.")
        if self._may_answer():
            self.transport.write(_answer(status, code, detail))
        self.transport.close()

    def _may_answer(self) -> bool:
        if self._last is None or self._last.response_complete:
            return True
        # The request that is refused is the one under way, and nobody has begun to answer it.
        return self._in_body and not self.pipeline and not self.cycle.response_started


def _answer(status: HTTPStatus, code: str, detail: str) -> bytes:
    response = problem(status, code, detail, headers={"Connection": "close", "Cache-Control": "no-store"})
    head = b"".join(b"%b: %b\r\n" % header for header in response.raw_headers)
    return b"".join([STATUS_LINE[status], head, b"\r\n", bytes(response.body)])


def _cancelled(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
