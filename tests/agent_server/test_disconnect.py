"""What becomes of a run whose client leaves, and of a client that does not read."""

import asyncio
import socket
from typing import Any

import pytest
from agent_server_api import Server, parts_of, some_id
from agent_server_gates import has_arrived, open_door

from waiting import until


async def test_a_run_goes_on_without_its_client(server: Server, thread_id: str) -> None:
    door = some_id()
    body = {"assistant_id": "hold", "input": {"log": [], "at": door}}
    async with server.http.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as response:
        run = response.headers["content-location"]
        await until(lambda: has_arrived(door))
    open_door(door)

    async def succeeded() -> bool:
        return (await server.http.get(run)).json()["status"] == "success"

    await until(succeeded)


async def test_a_run_is_cancelled_with_its_client_if_that_is_wished(server: Server, thread_id: str) -> None:
    door = some_id()
    body = {"assistant_id": "hold", "input": {"log": [], "at": door}, "on_disconnect": "cancel"}
    async with server.http.stream("POST", f"/threads/{thread_id}/runs/stream", json=body) as response:
        run = response.headers["content-location"]
        await until(lambda: has_arrived(door))

    async def cancelled() -> bool:
        found = (await server.http.get(run)).json()
        return found["status"] == "interrupted" and "disconnected" in found["cancel_reason"]

    await until(cancelled)


@pytest.mark.parametrize(("cancel", "status"), [("1", "interrupted"), ("0", "success")])
async def test_joining_may_bind_a_run_to_a_client(server: Server, thread_id: str, cancel: str, status: str) -> None:
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"log": [], "at": door})
    await until(lambda: has_arrived(door))
    path = f"/threads/{thread_id}/runs/{run['run_id']}/stream"
    async with server.http.stream("GET", path, params={"cancel_on_disconnect": cancel}) as response:
        async for _ in response.aiter_lines():
            break
    if cancel == "0":
        open_door(door)

    assert (await server.ended(run))["status"] == status


async def test_a_run_that_ended_is_not_cancelled_by_its_client(server: Server, thread_id: str) -> None:
    stream = server.sdk.runs.stream(
        thread_id, "agent", input={"messages": [{"role": "user", "content": "hi"}]}, on_disconnect="cancel"
    )
    await parts_of(stream)
    (run,) = await server.sdk.runs.list(thread_id)
    assert run["status"] == "success"


async def test_nothing_is_left_of_clients_that_went(server: Server, thread_id: str) -> None:
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"log": [], "at": door})
    streams: list[Any] = []
    for _ in range(30):
        stream = server.sdk.runs.join_stream(thread_id, run["run_id"])
        await anext(stream)
        streams.append(stream)
    assert server.runtime.hub.gauges["followers"] >= 30
    for stream in streams:
        await stream.aclose()

    await until(lambda: _no_followers(server))
    open_door(door)
    await server.ended(run)


async def _no_followers(server: Server) -> bool:
    gauges = server.runtime.hub.gauges
    return (gauges["followers"], gauges["threads"], gauges["ring_bytes"]) == (0, 0, 0)


async def test_a_client_that_does_not_read_holds_nobody_up(server: Server, thread_id: str) -> None:
    """Its run ends, others hear all of it, and it gets the rest when it reads again."""
    host, port = server.url.removeprefix("http://").split(":")
    given = {"log": ["x" * 200_000] * 3}
    run = await server.sdk.runs.create(
        thread_id, "steps", input=given, stream_mode=["values", "updates", "debug"], stream_resumable=True,
        after_seconds=0.5,
    )  # fmt: skip
    path = f"/threads/{thread_id}/runs/{run['run_id']}/stream"
    with socket.socket() as stalled:
        # Before it connects, and more than one segment of the loopback device: below that a window opens by timer only.
        stalled.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 128 * 1024)
        stalled.connect((host, int(port)))
        stalled.sendall(f"GET {path} HTTP/1.1\r\nhost: {host}\r\nlast-event-id: -1\r\n\r\n".encode())
        others = await asyncio.gather(
            *(parts_of(server.sdk.runs.join_stream(thread_id, run["run_id"], last_event_id="-1")) for _ in range(3))
        )
        assert (await server.ended(run))["status"] == "success"
        assert [part.event for part in others[0]][-1] == "end"
        text = await asyncio.to_thread(_read_all, stalled)

    assert text.count(b"event: ") == len(others[0])
    assert all([part.id for part in one] == [part.id for part in others[0]] for one in others)


def _read_all(stalled: socket.socket) -> bytes:
    received = bytearray()
    stalled.settimeout(20)
    while not received.endswith(b"0\r\n\r\n"):
        piece = stalled.recv(1 << 20)
        assert piece, "cut off"
        received += piece
    return bytes(received)
