"""By which names a server is called that asks nobody who they are."""

import httpx
import pytest
from starlette.responses import PlainTextResponse

from outlast.server.auth.hosts import LocalNames


async def status(host, *, allowed=()):
    app = LocalNames(PlainTextResponse("in"), allowed=allowed)
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://127.0.0.1") as http:
        return (await http.get("/", headers={"host": host})).status_code


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:8123", "LOCALHOST", "127.0.0.1:8123", "127.1.2.3", "[::1]:8123", "app.localhost"]
)
async def test_names_of_this_machine(host):
    assert await status(host) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8123", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1", "",
        "evil.example@localhost", "[::2]", "0.0.0.0", "evillocalhost",
    ],
)  # fmt: skip
async def test_a_page_that_lets_its_name_lead_here_gets_nothing(host):
    assert await status(host) == 421


async def test_a_name_may_be_allowed():
    assert await status("outlast.internal:80", allowed=["Outlast.Internal"]) == 200


async def test_two_names_are_none():
    app = LocalNames(PlainTextResponse("in"))
    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"localhost"), (b"host", b"evil.example")]
    await app({"type": "http", "method": "GET", "path": "/", "headers": headers}, None, send)  # pyright: ignore[reportArgumentType]
    assert sent[0]["status"] == 421


async def test_a_websocket_is_refused_as_well():
    app = LocalNames(PlainTextResponse("in"))
    sent = []

    async def send(message):
        sent.append(message)

    await app({"type": "websocket", "path": "/", "headers": [(b"host", b"evil.example")]}, None, send)  # pyright: ignore[reportArgumentType]
    assert sent == [{"type": "websocket.close", "code": 4421}]
