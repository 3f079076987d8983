"""A proxy in front of PostgreSQL's Unix socket that can lose replies, go silent, or cut everything."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

from psycopg.conninfo import conninfo_to_dict, make_conninfo


class SocketProxy:
    """Forwards until told otherwise; `url` is the server's with this proxy as its host."""

    def __init__(self, url: str, directory: Path) -> None:
        given = conninfo_to_dict(url)
        self._port = given.get("port") or 5432
        self._target = f"{given['host']}/.s.PGSQL.{self._port}"
        self._directory = directory
        self._pipes: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._replies_to_lose = 0
        self.connections = 0
        # Whether new connections are closed at once, as by a server that is down.
        self.refuse = False
        # Set: bytes pass. Clear: both directions hang, as behind a firewall that drops everything.
        self.passing = asyncio.Event()
        self.passing.set()
        self.url = make_conninfo(url, host=str(directory))

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator[Self]:
        directory = Path(tempfile.mkdtemp(prefix="outlast-"))
        proxy = cls(url, directory)
        server = await asyncio.start_unix_server(proxy._accept, directory / f".s.PGSQL.{proxy._port}")
        try:
            yield proxy
        finally:
            server.close()
            proxy.passing.set()
            proxy.cut()
            await asyncio.gather(*proxy._pipes, return_exceptions=True)
            shutil.rmtree(directory)

    def lose_next_reply(self) -> None:
        """Cut a connection when the server answers on it next: what it did is done, nobody hears of it."""
        self._replies_to_lose += 1

    def cut(self) -> None:
        """Close every open connection."""
        for writer in list(self._writers):
            writer.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.refuse:
            writer.close()
            return
        server_reader, server_writer = await asyncio.open_unix_connection(self._target)
        self._writers |= {writer, server_writer}
        for source, sink, replies in ((reader, server_writer, False), (server_reader, writer, True)):
            task = asyncio.create_task(self._pipe(source, sink, replies=replies))
            self._pipes.add(task)
            task.add_done_callback(self._pipes.discard)

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, replies: bool) -> None:
        with contextlib.suppress(ConnectionError, OSError):
            while data := await source.read(1 << 16):
                await self.passing.wait()
                if replies and self._replies_to_lose:
                    self._replies_to_lose -= 1
                    break
                sink.write(data)
                await sink.drain()
        sink.close()
