"""One client's connection, with a hand on the socket: an answer can be cut, reset or dripped anywhere."""

import asyncio
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias, cast

import h11

# Close with a RST instead of a FIN, as a crashed peer or a load balancer that lost its table does.
_NO_LINGER: Final = struct.pack("ii", 1, 0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Incoming:
    """An HTTP request that was read completely."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


Handle: TypeAlias = Callable[[Incoming, "Connection"], Awaitable[None]]


class Connection(asyncio.Protocol):
    """Reads requests one after the other and has each answered by `handle`, which is cancelled if the client goes."""

    def __init__(self, handle: Handle, open_connections: "set[Connection]") -> None:
        self._handle = handle
        self._open = open_connections
        self._http = h11.Connection(h11.SERVER)
        self._head: h11.Request | None = None
        self._body = bytearray()
        self._task: asyncio.Future[None] | None = None
        self._written = asyncio.Event()
        self._written.set()
        self._transport: asyncio.Transport
        self.ended = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Accept the client."""
        # Not checked: uvloop's transports are none of asyncio's classes.
        self._transport = cast("asyncio.Transport", transport)
        # Whatever is not in the kernel yet counts as not sent: `written` waits for it.
        self._transport.set_write_buffer_limits(high=0)
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop answering somebody who is not there any more."""
        del exc
        self._open.discard(self)
        self._written.set()
        if self._task is not None:
            self._task.cancel()
        else:
            self._end()

    def pause_writing(self) -> None:
        """Note that something waits for the client."""
        self._written.clear()

    def resume_writing(self) -> None:
        """Note that all is in the kernel's hands."""
        self._written.set()

    def data_received(self, data: bytes) -> None:
        """Take in what the client sends."""
        self._http.receive_data(data)
        self._read()

    def eof_received(self) -> bool:
        """Close with the client."""
        return False

    def _read(self) -> None:
        try:
            while self._task is None:
                event = self._http.next_event()
                if isinstance(event, h11.Request):
                    self._head = event
                elif isinstance(event, h11.Data):
                    self._body += event.data
                elif isinstance(event, h11.EndOfMessage):
                    self._begin()
                else:
                    return
        except h11.RemoteProtocolError:
            self.reset()

    def _begin(self) -> None:
        assert self._head is not None  # noqa: S101 - a body has a head
        incoming = Incoming(
            method=self._head.method.decode(),
            path=self._head.target.decode().partition("?")[0],
            headers={name.decode().lower(): value.decode("latin-1") for name, value in self._head.headers},
            body=bytes(self._body),
        )
        self._body.clear()
        self._task = asyncio.ensure_future(self._handle(incoming, self))
        # Not a `finally` around it: a task that is cancelled before its first step never gets there.
        self._task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Future[None]) -> None:
        self._task = None
        error = None if task.cancelled() else task.exception()
        if error is not None:
            context = {"message": "the provider could not answer", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
        if self not in self._open:
            self._end()
        elif task.cancelled() or error is not None:
            self._transport.abort()
        elif self._http.our_state is h11.DONE and self._http.their_state is h11.DONE:
            self._http.start_next_cycle()
            self._read()
        else:
            self.close()

    def _end(self) -> None:
        if not self.ended.done():
            self.ended.set_result(None)

    def start(self, status: int, headers: dict[str, str]) -> None:
        """Send the head of an answer; without a content-length its body is sent in chunks."""
        self._send(h11.Response(status_code=status, headers=list(headers.items())))

    async def write(self, data: bytes) -> None:
        """Send a part of the body and wait until the kernel has it."""
        self._send(h11.Data(data=data))
        await self.written()

    async def finish(self) -> None:
        """End the answer as HTTP wants it."""
        self._send(h11.EndOfMessage())
        await self.written()

    async def written(self) -> None:
        """Return when the kernel has all. Raises ConnectionResetError when the client is gone."""
        await self._written.wait()
        if self._transport.is_closing():
            raise ConnectionResetError

    def close(self) -> None:
        """Hang up, whatever was promised."""
        self._transport.close()

    def reset(self) -> None:
        """Hang up with a RST."""
        if not self._transport.is_closing():
            # Not the transport's own socket object: uvloop's is a stand-in. Options belong to what is behind both.
            with socket.socket(fileno=os.dup(self._transport.get_extra_info("socket").fileno())) as twin:
                twin.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGER)
        self._transport.abort()

    def _send(self, event: h11.Event) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError
        if data := self._http.send(event):
            self._transport.write(data)


class Listener:
    """Listens on a port of the loopback interface, and can stop to without giving the port away."""

    def __init__(self, port: int, handle: Handle) -> None:
        self.port = port
        self._handle = handle
        self._open: set[Connection] = set()
        self._claim: socket.socket | None = None
        self._server: asyncio.Server | None = None

    async def open(self) -> None:
        """Take the port, a free one for 0, and listen."""
        self._claim = _bound(self.port)
        self.port = self._claim.getsockname()[1]
        await self.come_up()

    def close(self) -> None:
        """Give the port away."""
        if self._claim is not None:
            self._claim.close()

    async def come_up(self) -> None:
        """Listen, if it does not."""
        if self._server is None:
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(
                lambda: Connection(self._handle, self._open), sock=_bound(self.port), backlog=1024
            )

    async def go_down(self) -> None:
        """Refuse connections, reset those that are open, and wait until nothing is answered any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        connections = list(self._open)
        for connection in connections:
            connection.reset()
        await asyncio.gather(*(connection.ended for connection in connections))


def _bound(port: int) -> socket.socket:
    """Return a socket bound to the port, as several may be: one listens, one keeps the port while none does."""
    # With the protocol named: asyncio sets TCP_NODELAY only then, and without it every answer takes 40 ms.
    bound = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(("127.0.0.1", port))
    return bound
