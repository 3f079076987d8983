"""What the API tells of its requests: templates and closed words, never a path or an id."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import pytest
from starlette.types import Message

from outlast import telemetry
from outlast.server.sse import EventStream
from outlast.telemetry import surroundings

Told = list[tuple[str, Mapping[str, Any], Mapping[str, Any]]]


@pytest.fixture
def told() -> Iterator[Told]:
    heard: Told = []
    unsubscribe = telemetry.subscribe(lambda point, fields: heard.append((point, dict(fields), surroundings())))
    yield heard
    unsubscribe()


def _answered(told: Told) -> list[tuple[str, str, int]]:
    return [
        (fields["route"], fields["method"], fields["status"]) for point, fields, _ in told if point == "http.answered"
    ]


async def test_a_request_is_told_by_the_template_of_its_route(api, told: Told) -> None:
    response = await api.http.get("/agent/status/11111111-1111-1111-1111-111111111111")

    assert response.status_code == 404
    assert _answered(told) == [("/agent/status/{task_id}", "GET", 404)]


async def test_a_path_or_a_method_that_nobody_knows_is_not_repeated(api, told: Told) -> None:
    await api.http.get("/a/path/that/somebody/made/up")
    await api.http.request("FROBNICATE", "/agent/start")

    assert _answered(told)[0] == ("other", "GET", 404)
    assert _answered(told)[1][1:] == ("other", 405)


async def test_what_happens_within_a_request_knows_its_id(api, told: Told) -> None:
    response = await api.http.get("/health/live", headers={"X-Request-Id": "of-the-caller"})

    assert response.headers["X-Request-Id"] == "of-the-caller"
    [where] = [where for point, _, where in told if point == "http.answered"]
    assert where["request_id"] == "of-the-caller"
    assert "request_id" not in surroundings()


async def _stream(told: Told, frames: Any, *, gone: bool = False) -> tuple[Mapping[str, Any], list[bytes]]:
    sent: list[bytes] = []

    async def receive() -> Message:
        if not gone:
            await _never()
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message.get("body", b""))

    async with aclosing(frames):
        await EventStream(frames, agent="echo")({"type": "http"}, receive, send)
    [ended] = [fields for point, fields, _ in told if point == "stream.ended"]
    return ended, sent


async def _never() -> None:
    await asyncio.Event().wait()


async def _pieces(*given: bytes) -> AsyncIterator[bytes]:
    for piece in given:
        yield piece


async def _endless() -> AsyncIterator[bytes]:
    yield b"greeting"
    await _never()


async def _breaking() -> AsyncIterator[bytes]:
    yield b"greeting"
    raise ValueError("broken")


async def test_a_stream_that_came_to_its_end_is_complete_and_its_greeting_is_not_its_first_byte(told: Told) -> None:
    ended, sent = await _stream(told, _pieces(b"greeting", b"", b"token"))

    assert sent[1:3] == [b"greeting", b"token"]
    assert (ended["outcome"], ended["protocol"], ended["agent"]) == ("complete", "v1", "echo")
    assert 0 <= ended["first_byte_seconds"] <= ended["seconds"]


async def test_a_stream_that_said_nothing_has_no_first_byte(told: Told) -> None:
    ended, _ = await _stream(told, _pieces(b"greeting"))

    assert ended["first_byte_seconds"] is None


async def test_a_stream_whose_client_left_is_no_failure(told: Told) -> None:
    ended, _ = await _stream(told, _endless(), gone=True)

    assert ended["outcome"] == "client_gone"


async def test_a_stream_that_broke_is_an_error(told: Told) -> None:
    with pytest.raises(ValueError, match="broken"):
        await _stream(told, _breaking())

    assert [fields["outcome"] for point, fields, _ in told if point == "stream.ended"] == ["error"]
