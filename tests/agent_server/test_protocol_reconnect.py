"""Clients of `client.threads.stream` whose connections break, and many of them at once."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import pytest
from agent_server_api import Server
from langgraph_sdk import get_client
from protocol_api import INPUT, protocol_served

from outlast.testing.postgres import Databases
from runtimes import Opens

LIMIT = 20.0


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, tmp_path_factory: Any) -> AsyncIterator[Server]:
    async with protocol_served(databases, open_runtime, tmp_path_factory.mktemp("reconnect")) as server:
        yield server


class Breaking:
    """A proxy that cuts each stream of events once, in the middle of a frame, after so many bytes."""

    def __init__(self, url: str, *, after: int) -> None:
        self._target = urlsplit(url)
        self._after = after
        self._left = 2
        self.cuts = 0
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator["Breaking"]:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            server.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._target.hostname, self._target.port)
        request = asyncio.create_task(self._pipe(reader, back, limit=None))
        first = await there.read(1 << 16)
        breaks = b"text/event-stream" in first and self._left > 0
        self._left -= breaks
        writer.write(first)
        await self._pipe(there, writer, limit=self._after if breaks else None)
        request.cancel()
        await asyncio.gather(request, return_exceptions=True)
        back.close()

    async def _pipe(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, limit: int | None) -> None:
        with contextlib.suppress(ConnectionError):
            while data := await source.read(1 << 16):
                sink.write(data if limit is None else data[:limit])
                await sink.drain()
                limit = None if limit is None else limit - len(data)
                if limit is not None and limit <= 0:
                    self.cuts += 1
                    # Reset, not ended: the last chunk of the answer is missing.
                    sink.transport.abort()
                    return
        sink.close()


@pytest.mark.parametrize("after", [1, 700, 2000])
async def test_nothing_is_lost_when_streams_are_cut(server, after):
    async with (
        Breaking(server.url, after=after).open() as proxy,
        get_client(url=proxy.url, api_key=None) as client,
        client.threads.stream(assistant_id="slow") as thread,
    ):
        await thread.run.start(input={"items": []})

        async def spoken() -> list[str]:
            messages = [message async for message in thread.messages]
            return [(await message.output).text for message in messages]

        texts = await asyncio.wait_for(spoken(), LIMIT)
        output = await asyncio.wait_for(thread.output, LIMIT)

    assert proxy.cuts
    assert texts == ["a b c d e f"]
    assert output["items"] == ["slow"]


async def test_many_clients_see_everything_before_the_question(server):
    """The SDK's second stream says that there is a question, and ends what the first one still has to bring."""

    async def one() -> tuple[int, list[str]]:
        async with server.sdk.threads.stream(assistant_id="helper") as thread:
            await thread.run.start(input=INPUT)
            states = [state async for state in thread.values]
            return len(states), states[-1]["items"]

    seen = await asyncio.wait_for(asyncio.gather(*(one() for _ in range(16))), 60)

    assert {tuple(items) for _, items in seen} == {("begun", "begun", "inside")}
    assert len({count for count, _ in seen}) == 1
