"""Clients that are cut off and come back, to this process or to another one."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Any

import pytest
from agent_server_api import Server, parts_of, served, serving, some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk import get_client
from langgraph_sdk.schema import Run

from outlast.testing.postgres import Databases
from runtimes import Opens
from waiting import until

INPUT = {"messages": [{"role": "user", "content": "hi"}]}
ALL = ["values", "updates", "tasks", "checkpoints"]


@pytest.fixture(scope="module")
async def servers(databases: Databases, open_runtime: Opens) -> AsyncIterator[list[Server]]:
    """Two API processes and a worker, each with connections of its own."""
    url = await databases.create()
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(served(open_runtime, url))
        second = await stack.enter_async_context(serving(await stack.enter_async_context(open_runtime(url))))
        yield [first, second]
    await databases.leave(url)


class Line:
    """A TCP connection through which everything goes, until it is cut."""

    def __init__(self, url: str) -> None:
        self._host, port = url.removeprefix("http://").split(":")
        self._port = int(port)
        self._writers: set[asyncio.StreamWriter] = set()
        self._pipes: set[asyncio.Task[None]] = set()
        self.url = ""

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> "AsyncIterator[Line]":
        line = cls(url)
        server = await asyncio.start_server(line._accept, "127.0.0.1", 0)
        line.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield line
        finally:
            server.close()
            line.cut()
            await asyncio.gather(*line._pipes, return_exceptions=True)

    def cut(self) -> None:
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(self._host, self._port)
        self._writers |= {writer, far_writer}
        for source, target in ((reader, far_writer), (far_reader, writer)):
            self._pipes.add(asyncio.create_task(self._pipe(source, target)))

    async def _pipe(self, source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await source.read(65536):
                target.write(data)
        target.close()


def shown(parts: list[Any]) -> list[tuple[str, str, Any]]:
    return [(part.id, part.event, part.data) for part in parts if part.event != "metadata"]


async def cut_after(stream: Any, count: int) -> list[Any]:
    """Take so many parts and leave."""
    parts: list[Any] = []
    async for part in stream:
        parts.append(part)
        if len(parts) == count:
            break
    await stream.aclose()
    return parts


async def test_wherever_it_is_cut_the_rest_follows(servers: list[Server]) -> None:
    first, second = servers
    thread = await first.sdk.threads.create()
    created: list[Any] = []
    whole = await parts_of(
        first.sdk.runs.stream(
            thread["thread_id"], "steps", input={"log": []}, stream_mode=ALL, stream_resumable=True,
            on_run_created=created.append,
        )
    )  # fmt: skip
    run_id = created[0]["run_id"]

    for server in servers:
        for index, part in enumerate(whole[:-1]):
            rest = await parts_of(
                server.sdk.runs.join_stream(thread["thread_id"], run_id, last_event_id=part.id, stream_mode=ALL)
            )
            assert shown(rest) == shown(whole[index + 1 :])
    again = await parts_of(second.sdk.runs.join_stream(thread["thread_id"], run_id, last_event_id="-1"))
    assert shown(again) == shown(whole)
    assert again[0].event == "metadata"


@pytest.mark.parametrize("last_event_id", ["garbage", "1-2-3", "", "9" * 40, "-5"])
async def test_a_position_that_is_none_means_from_now_on(servers: list[Server], last_event_id: str) -> None:
    thread = await servers[0].sdk.threads.create()
    run = await servers[0].sdk.runs.create(thread["thread_id"], "agent", input=INPUT, stream_resumable=True)
    await servers[0].ended(run)

    response = await servers[1].http.get(
        f"/threads/{thread['thread_id']}/runs/{run['run_id']}/stream", headers={"Last-Event-ID": last_event_id}
    )

    events = [line.removeprefix("event: ") for line in response.text.splitlines() if line.startswith("event")]
    assert (response.status_code, events) == (200, ["metadata", "end"])


async def is_heard(server: Server, run: Run) -> bool:
    statement = "SELECT 1 FROM run_events WHERE run_id = %s"
    async with server.runtime.pool.connection() as connection:
        return await (await connection.execute(statement, [run["run_id"]])).fetchone() is not None


async def test_joining_without_a_position_is_from_now_on(servers: list[Server]) -> None:
    thread, door = await servers[0].sdk.threads.create(), some_id()
    # Nobody streams it when it is made.
    run = await servers[0].sdk.runs.create(thread["thread_id"], "hold", input={"log": [], "at": door})
    await until(lambda: has_arrived(door))
    joined = servers[1].sdk.runs.join_stream(thread["thread_id"], run["run_id"])
    first = await anext(joined)
    # Its worker has heard that somebody listens.
    await until(lambda: is_heard(servers[0], run))
    open_door(door)
    rest = await parts_of(joined)

    assert first.event == "metadata"
    assert [(part.event, part.data.get("log")) for part in rest] == [("values", ["begun", "held"]), ("end", None)]


async def test_a_filter_shows_a_part_and_comes_back_with_it(servers: list[Server]) -> None:
    thread = await servers[0].sdk.threads.create()
    run = await servers[0].sdk.runs.create(
        thread["thread_id"], "steps", input={"log": []}, stream_mode=ALL, stream_resumable=True
    )
    path = f"/threads/{thread['thread_id']}/runs/{run['run_id']}/stream"
    joined = await parts_of(
        servers[1].sdk.runs.join_stream(
            thread["thread_id"], run["run_id"], stream_mode=["updates", "tasks"], last_event_id="-1"
        )
    )
    response = await servers[1].http.get(path, params={"stream_mode": ["updates", "tasks"]})

    assert {part.event for part in joined} == {"metadata", "updates", "tasks", "end"}
    assert response.headers["location"] == f"{path}?stream_mode=tasks&stream_mode=updates"


async def test_growing_messages_go_on_in_the_middle(servers: list[Server]) -> None:
    thread = await servers[0].sdk.threads.create()
    created: list[Any] = []
    whole = await parts_of(
        servers[0].sdk.runs.stream(
            thread["thread_id"], "tokens", input={}, stream_mode="messages", stream_resumable=True,
            on_run_created=created.append,
        )
    )  # fmt: skip
    partials = [part for part in whole if part.event == "messages/partial"]

    rest = await parts_of(
        servers[1].sdk.runs.join_stream(
            thread["thread_id"], created[0]["run_id"], stream_mode="messages", last_event_id=partials[1].id
        )
    )

    contents = [part.data[0]["content"] for part in rest if part.event.startswith("messages/")]
    assert contents == ["Hello big", "Hello big ", "Hello big world"], "nothing of the beginning is lost"


async def test_only_what_follows_a_checkpoint(servers: list[Server]) -> None:
    thread = await servers[0].sdk.threads.create()
    created: list[Any] = []
    whole = await parts_of(
        servers[0].sdk.runs.stream(
            thread["thread_id"], "steps", input={"log": []}, stream_mode=["checkpoints", "updates"],
            stream_resumable=True, on_run_created=created.append,
        )
    )  # fmt: skip
    path = f"/threads/{thread['thread_id']}/runs/{created[0]['run_id']}/stream"
    checkpoints = [part for part in whole if part.event == "checkpoints"]

    async def ids(checkpoint_id: str) -> list[str]:
        response = await servers[1].http.get(
            path, params={"checkpoint_id": checkpoint_id}, headers={"Last-Event-ID": "-1"}
        )
        return [line.removeprefix("id: ") for line in response.text.splitlines() if line.startswith("id: ")]

    second = checkpoints[1]
    behind = await ids(second.data["config"]["configurable"]["checkpoint_id"])
    assert behind == [part.id for part in whole if int(part.id) > int(second.id)]
    assert await ids(some_id()) == [part.id for part in whole if part.event != "metadata"]


async def test_the_sdk_comes_back_by_itself(servers: list[Server]) -> None:
    """The connection is reset under it; what it yields is whole."""
    thread, door = await servers[0].sdk.threads.create(), some_id()
    async with Line.to(servers[0].url) as line, get_client(url=line.url, api_key=None) as sdk:
        stream = sdk.runs.stream(
            thread["thread_id"], "hold", input={"log": [], "at": door}, stream_mode=["values", "updates"],
            stream_resumable=True,
        )  # fmt: skip
        parts = [await anext(stream) for _ in range(4)]
        line.cut()
        open_door(door)
        parts += await parts_of(stream)

    assert [part.event for part in parts] == ["metadata", "values", "updates", "values", "updates", "values", "end"]
    ids = [int(part.id) for part in parts]
    assert ids == sorted(set(ids))


async def test_clients_cut_at_random_hear_everything_once(servers: list[Server]) -> None:
    thread = await servers[0].sdk.threads.create()
    run = await servers[0].sdk.runs.create(
        thread["thread_id"], "steps", input={"log": []}, stream_mode=ALL, stream_resumable=True, after_seconds=0.5
    )

    async def listener(number: int) -> list[tuple[str, str, Any]]:
        rng, heard = Random(number), []
        last, turn = "-1", number
        while True:
            turn += 1
            stream = servers[turn % 2].sdk.runs.join_stream(
                thread["thread_id"], run["run_id"], last_event_id=last, stream_mode=ALL
            )
            parts = await cut_after(stream, rng.randint(1, 6))
            heard += shown(parts)
            last = heard[-1][0] if heard else "-1"
            if parts and parts[-1].event == "end":
                return heard

    heard = await asyncio.gather(*(listener(number) for number in range(20)))

    whole = shown(
        await parts_of(servers[0].sdk.runs.join_stream(thread["thread_id"], run["run_id"], last_event_id="-1"))
    )
    assert len(whole) > 10
    assert all(one == whole for one in heard)


async def test_a_server_that_stops_ends_its_streams_without_an_end(databases: Databases, open_runtime: Opens) -> None:
    url = await databases.create()
    async with served(open_runtime, url) as server:
        thread, door = await server.sdk.threads.create(), some_id()
        body = {"assistant_id": "hold", "input": {"log": [], "at": door}, "on_disconnect": "cancel"}
        async with server.http.stream("POST", f"/threads/{thread['thread_id']}/runs/stream", json=body) as response:
            run = response.headers["content-location"]
            await until(lambda: has_arrived(door))
            server.runtime.hub.close()
            text = (await response.aread()).decode()
        assert "event: end" not in text
        assert (await server.http.get(run)).json()["status"] == "running", "that is no client that has left"
        open_door(door)
    await databases.leave(url)
