"""What one connection may cost, on real sockets: slow clients are cut, large heads refused, nothing is mixed up."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.server import ServerState
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from outlast.server.connections import GuardedConfig, GuardedConnection
from outlast.settings import ServerSettings
from waiting import until

SOON = timedelta(milliseconds=150)
GET = b"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /a HTTP/1.1\r\nHost: x\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer with what was asked."""
    request = Request(scope, receive)
    body = (await request.body()).decode()
    shown = body if len(body) < 100 else len(body)
    await PlainTextResponse(f"<{request.url.path}:{shown}:{sorted(request.headers)}>")(scope, receive, send)


@dataclass(frozen=True, slots=True)
class Guarded:
    """A server of one application."""

    port: int
    state: ServerState

    async def asked(self, *sent: bytes, closed: bool = True) -> bytes:
        """Return all that the server says to this, up to its closing the connection."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for data in sent:
                writer.write(data)
                await writer.drain()
            async with asyncio.timeout(10):
                return await (reader.read() if closed else reader.readuntil(b">"))
        finally:
            writer.close()

    async def dripped(self, *sent: bytes, drop: bytes = b"x") -> bytes:
        """Send this, then byte after byte for as long as the server reads."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        said = b""
        try:
            writer.write(b"".join(sent))
            async with asyncio.timeout(10):
                while True:
                    writer.write(drop)
                    try:
                        more = await asyncio.wait_for(reader.read(1 << 16), 0.01)
                    except TimeoutError:
                        continue
                    except ConnectionError:
                        return said
                    said += more
                    if not more:
                        return said
        finally:
            writer.close()

    async def empty(self) -> None:
        async def gone() -> bool:
            return not self.state.connections

        await until(gone, message="the server keeps the connection")


@asynccontextmanager
async def guarded(app: ASGIApp = echo, **settings: Any) -> AsyncIterator[Guarded]:
    config = GuardedConfig(app, ServerSettings(**settings), log_config=None, lifespan="off")
    config.load()
    state = ServerState()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: GuardedConnection(config, state, {}), "127.0.0.1", 0)
    try:
        yield Guarded(server.sockets[0].getsockname()[1], state)
    finally:
        server.close()
        for connection in list(state.connections):
            connection.transport.abort()
        await asyncio.gather(*state.tasks, return_exceptions=True)


def problem(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"content-type: application/problem+json" in head.lower()
    assert b"connection: close" in head.lower()
    found = json.loads(body)
    assert int(head.split()[1]) == found["status"]
    return found["status"], found["code"]


async def test_a_connection_that_says_nothing_is_closed():
    async with guarded(head_timeout=SOON) as server:
        assert await server.asked() == b""


@pytest.mark.parametrize("begun", [b"GET /", b"GET /a HTTP/1.1\r\n", b"GET /a HTTP/1.1\r\nHost: x\r\nA: b\r\n"])
async def test_a_head_that_drips_in_is_cut_however_much_comes(begun):
    async with guarded(head_timeout=SOON) as server:
        assert problem(await server.dripped(begun)) == (408, "request_timeout")


async def test_the_head_of_a_second_request_has_the_same_time():
    async with guarded(head_timeout=SOON) as server:
        first, _, second = (await server.dripped(GET, b"GET /b HTTP/1.1\r\n")).partition(b">")
        assert first.startswith(b"HTTP/1.1 200")
        assert problem(second) == (408, "request_timeout")


async def test_a_connection_without_a_request_is_closed():
    async with guarded(keep_alive=SOON) as server:
        assert b"200 OK" in await server.asked(GET)


async def test_a_line_end_too_many_does_not_cut_a_request_that_takes_long():
    may_end = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await may_end.wait()
        await echo(scope, receive, send)

    async with guarded(slow, head_timeout=SOON) as server:
        asking = asyncio.create_task(server.asked(GET, b"\r\n", closed=False))
        asyncio.get_running_loop().call_later(2 * SOON.total_seconds(), may_end.set)
        assert b"200 OK" in await asking


async def test_a_body_that_drips_in_is_cut():
    async with guarded(stall_timeout=SOON) as server:
        answer = await server.dripped(POST, b"Content-Length: 1000000\r\n\r\n")
        assert problem(answer) == (408, "request_timeout")


async def test_a_body_that_comes_fast_enough_is_read():
    async with guarded(stall_timeout=SOON, min_bytes_per_second=1) as server:
        answer = await server.dripped(POST, b"Content-Length: 30\r\nConnection: close\r\n\r\n")
        assert b"</a:" + b"x" * 30 in answer


async def test_a_body_that_nobody_reads_yet_is_not_the_clients_fault():
    may_read = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await may_read.wait()
        await echo(scope, receive, send)

    async with guarded(slow, stall_timeout=SOON) as server:
        large = b"x" * 1_000_000
        asking = asyncio.create_task(server.asked(POST, b"Content-Length: 1000000\r\n\r\n", large, closed=False))
        asyncio.get_running_loop().call_later(3 * SOON.total_seconds(), may_read.set)
        assert b"200 OK" in await asking


async def test_who_waits_for_100_continue_is_not_slow():
    may_read = asyncio.Event()

    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await may_read.wait()
        await echo(scope, receive, send)

    async with guarded(slow, stall_timeout=SOON) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(POST + b"Content-Length: 2\r\nExpect: 100-continue\r\n\r\n")
        asyncio.get_running_loop().call_later(3 * SOON.total_seconds(), may_read.set)
        assert b"100 Continue" in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"ok")
        assert b"200 OK" in await reader.readuntil(b">")
        writer.close()


async def test_the_rest_of_a_body_that_has_its_answer_is_not_awaited_for_ever():
    async def hasty(scope: Scope, receive: Receive, send: Send) -> None:
        await Response(status_code=413)(scope, receive, send)

    async with guarded(hasty, head_timeout=SOON) as server:
        answer = await server.dripped(
            POST, b"Transfer-Encoding: chunked\r\n\r\n", drop=b"3e8\r\n" + b"x" * 1000 + b"\r\n"
        )
        assert answer.startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize("websocket", [False, True])
async def test_a_client_that_takes_no_answer_is_cut(websocket):
    sent = asyncio.Event()

    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        sent.set()
        if scope["type"] == "http":
            await PlainTextResponse(b"x" * 50_000_000)(scope, receive, send)
            return
        socket = WebSocket(scope, receive, send)
        await socket.accept()
        await socket.send_bytes(b"x" * 50_000_000)
        await socket.receive()

    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    async with guarded(large, stall_timeout=SOON) as server:
        with socket.create_connection(("127.0.0.1", server.port)) as client:
            client.sendall(b"GET /a HTTP/1.1\r\nHost: x\r\n" + (upgrade + key if websocket else b"\r\n"))
            await asyncio.wait_for(sent.wait(), 10)
            await server.empty()


async def test_a_client_that_takes_its_answer_bit_by_bit_gets_it():
    async def large(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(b"x" * 16_000_000)(scope, receive, send)

    async with guarded(large, stall_timeout=SOON, min_bytes_per_second=1) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        for _ in range(8):
            await reader.readexactly(2_000_000)
            # Here time is what is tested: this client takes three times as long as one may stall.
            await asyncio.sleep(SOON.total_seconds() * 3 / 8)
        writer.close()


LONG = b"x" * 3000


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ([b"GET /a HTTP/1.1\r\nA: " + LONG + b"\r\n\r\n"], (431, "head_too_large")),
        ([b"GET /a HTTP/1.1\r\n" + b"A: \r\n" * 100 + b"\r\n"], (431, "head_too_large")),
        ([b"GET /a HTTP/1.1\r\nA: ", LONG, LONG], (431, "head_too_large")),
        ([b"GET /", LONG, LONG], (431, "head_too_large")),
        ([LONG.upper()], (400, "bad_request")),
    ],
    ids=["one large", "many small", "one without end", "a url without end", "a method without end"],
)
async def test_a_large_head_is_refused(sent, expected):
    async with guarded(max_head_bytes=2048) as server:
        assert problem(await server.asked(*sent)) == expected


async def test_a_long_url_is_refused_and_one_that_is_not_so_long_read():
    async with guarded() as server:
        assert b"200 OK" in await server.asked(GET.replace(b"/a", b"/" + b"a" * 15_000), closed=False)
        assert problem(await server.asked(GET.replace(b"/a", b"/" + b"a" * 17_000))) == (414, "url_too_long")


async def test_heads_are_counted_one_by_one():
    async with guarded(max_head_bytes=2048) as server:
        answer = await server.asked(*[GET] * 200, GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        assert answer.count(b"200 OK") == 201


@pytest.mark.parametrize(
    "sent",
    [
        POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n0\r\n\r\n",
        POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\nxx",
        POST + b"Content-Length: 1, 1\r\n\r\nx",
        POST + b"Content-Length: +1\r\n\r\nx",
        POST + b"Content-Length: -1\r\n\r\nx",
        POST + b"Content-Length: 99999999999999999999999\r\n\r\nx",
        POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        POST + b"Transfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nx",
        POST + b"Transfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n",
        b"GET /a HTTP/1.1\nHost: x\n\n",
        b"GET /a HTTP/1.1\r\nA: a\r\n b\r\n\r\n",
        b"GET /a HTTP/1.1\r\nA: a\0b\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /a HTTP/9.9\r\nHost: x\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
    ids=range(20),
)
async def test_what_can_be_read_in_two_ways_is_not_read(sent):
    async with guarded() as server:
        assert problem(await server.asked(sent))[0] == 400


async def test_a_refusal_never_becomes_part_of_another_answer():
    may_end = asyncio.Event()

    async def halves(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"content-length", b"10")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        await may_end.wait()
        await send({"type": "http.response.body", "body": b"other"})

    async with guarded(halves) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(GET)
        assert b"200 OK" in await reader.readuntil(b"first")
        writer.write(b"GARBAGE\r\n\r\n")
        assert await asyncio.wait_for(reader.read(), 10) == b""
        may_end.set()
        writer.close()


async def test_headers_behind_a_chunked_body_are_dropped():
    async with guarded() as server:
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        answer = await server.asked(chunked, b"2\r\nok\r\n0\r\nX-Api-Key: secret\r\n\r\n", closed=False)
        assert b"</a:ok:['host', 'transfer-encoding']>" in answer


async def test_chunks_that_carry_little_are_refused():
    async with guarded() as server:
        chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
        assert problem(await server.asked(chunked, b"1;" + b"e" * 200_000))[0] == 400
        tiny = await server.asked(chunked, b"1\r\nx\r\n" * 10_000, b"0\r\n\r\n", closed=False)
        assert b"200 OK" in tiny


async def test_too_many_connections_are_closed_at_once_and_the_others_served():
    async with guarded(max_connections=2) as server:
        kept = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(2)]
        assert await server.asked() == b""
        reader, writer = kept[0]
        writer.write(GET)
        assert b"200 OK" in await reader.readuntil(b">")
        for _, writer in kept:
            writer.close()
        await server.empty()
        assert b"200 OK" in await server.asked(GET, closed=False)


async def test_one_address_may_have_fewer():
    async with guarded(max_connections_per_address=1) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", server.port)
        assert await server.asked() == b""
        other = socket.socket()
        other.bind(("127.0.0.2", 0))
        other.connect(("127.0.0.1", server.port))
        reader, another = await asyncio.open_connection(sock=other)
        another.write(GET)
        assert b"200 OK" in await reader.readuntil(b">")
        writer.close()
        another.close()


async def talk(scope: Scope, receive: Receive, send: Send) -> None:
    websocket = WebSocket(scope, receive, send)
    await websocket.accept()
    while (message := await websocket.receive())["type"] == "websocket.receive":
        await websocket.send_text(str(len(message["text"])))


async def test_a_websocket_takes_frames_up_to_the_size_of_a_body_and_none_compressed():
    async with guarded(talk, max_body_bytes=2000) as server, connect(f"ws://127.0.0.1:{server.port}/a") as client:
        assert client.protocol.extensions == []
        await client.send("x" * 2000)
        assert await client.recv() == "2000"
        await client.send(["x" * 1000, "x" * 1001])
        with pytest.raises(ConnectionClosed) as closed:
            await client.recv()
        assert closed.value.rcvd.code == 1009


@pytest.mark.parametrize(
    "poison",
    [
        lambda head: head.replace(b"/a", b"/\xff"),
        lambda head: head + b"A: " + b"x" * 10_000 + b"\r\n",
        lambda head: head + b"A: b\r\n" * 200,
        lambda head: head + b"Cookie: \xff\r\n",
        lambda head: head.replace(b"GET", b"POST"),
    ],
    ids=["path", "long header", "many headers", "no ascii", "method"],
)
async def test_a_poisoned_handshake_ends_the_connection_and_nothing_else(poison: Callable[[bytes], bytes], caplog):
    upgrade = b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhl\r\n"
    async with guarded(talk) as server:
        answer = await server.asked(poison(b"GET /a HTTP/1.1\r\nHost: x\r\n" + upgrade) + b"\r\n")
        assert answer.split()[1][:1] == b"4", answer
        await server.empty()
    assert "Traceback" not in caplog.text
