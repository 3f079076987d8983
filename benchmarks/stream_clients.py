"""Clients of streams: as little code as possible between the socket and the figure."""

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any
from urllib.parse import urlsplit

import orjson

HEARTBEATS_SECONDS = 30.0


@dataclass(slots=True)
class Heard:
    """What one client has heard."""

    numbers: list[int] = field(default_factory=list)
    cursor: str = "-1"
    connections: int = 0
    ended: bool = False


@dataclass(slots=True)
class Event:
    name: str = ""
    data: bytes = b""
    id: str | None = None


async def read_event(reader: asyncio.StreamReader) -> Event:
    """Return the next event of a chunked response; chunk sizes and comments are lines that are nothing to us."""
    event = Event()
    while True:
        line = await reader.readline()
        if not line:
            raise ConnectionResetError
        name, colon, value = line.rstrip(b"\r\n").partition(b": ")
        if name == b"event":
            event.name = value.decode()
        elif name == b"data":
            event.data = value
        elif name == b"id":
            event.id = value.decode()
        elif not name and not colon and event.name:
            return event


async def open_stream(
    url: str, path: str, *, headers: str = "", body: Any = None
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Send a request and read the head of its response."""
    target = urlsplit(url)
    reader, writer = await asyncio.open_connection(target.hostname, target.port, limit=1 << 20)
    send(writer, path, headers=headers, body=body)
    await read_head(reader)
    return reader, writer


def send(writer: asyncio.StreamWriter, path: str, *, headers: str = "", body: Any = None) -> None:
    data = b"" if body is None else orjson.dumps(body)
    method = "GET" if body is None else "POST"
    head = f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{headers}"
    if body is not None:
        head += f"content-type: application/json\r\ncontent-length: {len(data)}\r\n"
    writer.write(head.encode() + b"\r\n" + data)


async def read_head(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    return head


async def follow(urls: list[str], path: str, heard: Heard, rng: Random, *, cut: tuple[float, float]) -> None:
    """Listen until the run has ended, going to another of the servers after each cut."""
    turn = rng.randrange(len(urls))
    while not heard.ended:
        turn += 1
        heard.connections += 1
        writer = None
        with suppress(TimeoutError, ConnectionResetError):
            async with asyncio.timeout(rng.uniform(*cut)):
                reader, writer = await open_stream(
                    urls[turn % len(urls)], path, headers=f"last-event-id: {heard.cursor}\r\n"
                )
                await _listen(reader, heard)
        if writer is not None:
            # As a broken line does: no goodbye.
            writer.transport.abort()


async def _listen(reader: asyncio.StreamReader, heard: Heard) -> None:
    while not heard.ended:
        event = await read_event(reader)
        if event.name == "custom":
            heard.numbers.append(orjson.loads(event.data)["number"])
        heard.ended = event.name == "end"
        if event.id is not None:
            heard.cursor = event.id


async def first_event(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, body: Any
) -> tuple[float, float]:
    """Start a run over an open connection; return the milliseconds to its first event and to its end."""
    started = time.perf_counter()
    send(writer, path, body=body)
    await read_head(reader)
    first = 0.0
    while True:
        event = await read_event(reader)
        if not first and event.name not in {"metadata", "end", "error"}:
            first = (time.perf_counter() - started) * 1000
        if event.name in {"end", "error"}:
            assert event.name == "end", event.data
            # The last, empty chunk.
            while await reader.readline() != b"0\r\n":
                pass
            await reader.readline()
            return first, (time.perf_counter() - started) * 1000
