"""A receiver of effects on a real port, which counts what it applies: the outside witness.

python effect_receiver.py          serves until stdin ends; the first line on stdout is its URL
"""

import asyncio
import json
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx

#: What happens to a request: "apply", "reset" (applied, no answer), "drop" (not applied, no answer), "hold" (applied,
#: the answer waits), or a status that refuses it.
Fate = str | int


@dataclass(slots=True)
class EffectReceiver:
    """Applies what it gets; with `honours_keys`, the same key only once."""

    honours_keys: bool = True
    port: int = 0
    #: The fates of the next requests; afterwards all are applied.
    fates: list[Fate] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)
    #: How often each key was applied, and with which body first.
    applied: Counter[str] = field(default_factory=Counter)
    answers: dict[str, Any] = field(default_factory=dict)
    held: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)
    on_request: Callable[[], None] = lambda: None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def keys(self) -> list[str]:
        return [request["key"] for request in self.requests]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            try:
                await self._serve(reader, writer)
            finally:
                writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v for k, _, v in (line.partition(": ") for line in head[1:] if line)}
        raw = await reader.readexactly(int(headers.get("content-length", "0")))
        if method == "GET":
            key = path.rsplit("/", 1)[-1]
            self._answer(writer, 200 if key in self.answers else 404, self.answers.get(key))
            return
        key, body = headers.get("idempotency-key", ""), json.loads(raw)
        self.requests.append({"key": key, "body": body})
        self.on_request()
        fate = self.fates.pop(0) if self.fates else "apply"
        if isinstance(fate, int):
            self._answer(writer, fate, {"error": "refused"})
            return
        if fate == "drop":
            return
        if not (self.honours_keys and key in self.applied):
            self.applied[key] += 1
            self.answers.setdefault(key, {"number": sum(self.applied.values()), "of": body})
        if fate == "reset":
            return
        if fate == "hold":
            self.held.set()
            await self.release.wait()
        self._answer(writer, 200, self.answers[key])

    def _answer(self, writer: asyncio.StreamWriter, status: int, body: Any) -> None:
        raw = json.dumps(body).encode()
        writer.write(f"HTTP/1.1 {status} x\r\ncontent-length: {len(raw)}\r\nconnection: close\r\n\r\n".encode() + raw)


@asynccontextmanager
async def receiving(*, honours_keys: bool = True) -> AsyncIterator[EffectReceiver]:
    receiver = EffectReceiver(honours_keys=honours_keys)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        receiver.release.set()
        server.close()
        await server.wait_closed()


async def send(url: str, key: str, **body: Any) -> Any:
    """Apply something there."""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        answer = await client.post(f"{url}/effects", json=body, headers={"idempotency-key": key})
        answer.raise_for_status()
        return answer.json()


def send_in_thread(url: str, key: str, **body: Any) -> Any:
    with httpx.Client(timeout=20, trust_env=False) as client:
        answer = client.post(f"{url}/effects", json=body, headers={"idempotency-key": key})
        answer.raise_for_status()
        return answer.json()


async def look_up(url: str, key: str) -> Any:
    """Return the answer that the receiver gave for a key; None: it does not know the key."""
    async with httpx.AsyncClient(timeout=20, trust_env=False) as client:
        answer = await client.get(f"{url}/effects/{key}")
        return answer.json() if answer.status_code == 200 else None


async def _main() -> None:
    async with receiving() as receiver:
        sys.stdout.write(receiver.url + "\n")
        sys.stdout.flush()
        await asyncio.to_thread(sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(_main())
