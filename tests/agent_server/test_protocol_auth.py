"""The thread-centred protocol with the project's auth: what is somebody else's is not there."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from agent_server_api import Server, some_id
from auth_servers import bearer, guarded, sdk_of
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from outlast.testing.postgres import Databases
from runtimes import Opens

LIMIT = 10.0


@pytest.fixture(scope="module")
async def server(databases: Databases, open_runtime: Opens, tmp_path_factory: Any) -> AsyncIterator[Server]:
    async with guarded(databases, open_runtime, tmp_path_factory.mktemp("protocol_auth")) as server:
        yield server


START = {"id": 1, "method": "run.start", "params": {"assistant_id": "ask", "input": {"log": []}}}


@pytest.fixture
async def annas(server: Server) -> str:
    """A thread of Anna's that waits for an answer."""
    async with sdk_of(server, "anna").threads.stream(thread_id=some_id(), assistant_id="ask") as thread:
        await thread.run.start(input={"log": []})
        async for _ in thread.values:
            pass
        assert thread.interrupted
        return thread.thread_id


async def test_the_owner_follows_and_answers(server, annas):
    async with sdk_of(server, "anna").threads.stream(thread_id=annas, assistant_id="ask") as thread:
        async with asyncio.timeout(LIMIT):
            async for _ in thread.values:
                pass
        await thread.run.respond("yes")
        output = await asyncio.wait_for(thread.output, LIMIT)

    assert output["answers"] == ["yes"]


@pytest.mark.parametrize(
    ("method", "params"),
    [
        ("run.start", {"assistant_id": "ask", "input": "taken"}),
        ("input.respond", {"interrupt_id": "x", "response": 1}),
        ("state.get", {"namespace": []}),
        ("state.listCheckpoints", {}),
        ("state.fork", {"checkpoint_id": "x"}),
        ("agent.getTree", {}),
    ],
)
async def test_commands_on_the_thread_of_somebody_else(server, annas, method, params):
    path, frame = f"/threads/{annas}/commands", {"id": 1, "method": method, "params": params}

    answer = await server.http.post(path, json=frame, headers=bearer("bert"))

    assert answer.status_code == 404
    assert (await server.http.post(path, json=frame)).status_code == 401


async def test_streams_of_the_thread_of_somebody_else(server, annas):
    path, body = f"/threads/{annas}/stream/events", {"channels": ["values"]}

    assert (await server.http.post(path, json=body, headers=bearer("bert"))).status_code == 404
    assert (await server.http.post(path, json=body)).status_code == 401


@pytest.mark.parametrize(("headers", "code"), [({}, 4401), (bearer("bert"), 4404)])
async def test_sockets_of_the_thread_of_somebody_else(server, annas, headers, code):
    address = server.url.replace("http", "ws") + f"/threads/{annas}/stream/events"
    async with connect(address, additional_headers=headers) as socket:
        with pytest.raises(ConnectionClosed):
            await asyncio.wait_for(socket.recv(), LIMIT)

    assert socket.close_code == code
