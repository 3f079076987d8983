"""The server inside a process, on real sockets."""

import asyncio
import logging
import socket
from datetime import timedelta

import httpx
import pytest

from outlast.errors import ConfigurationError
from outlast.server.app import serve
from outlast.server.listening import address, listen
from outlast.settings import AuthSettings, ServerSettings
from waiting import until


class Serving:
    """A server as a task."""

    def __init__(self, runtime, **settings):
        self.url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self.task = asyncio.create_task(serve(runtime, ServerSettings(port=0, **settings), ready=self.url.set_result))

    async def __aenter__(self):
        await asyncio.wait({self.task, self.url}, return_when=asyncio.FIRST_COMPLETED)
        return await self.url

    async def __aexit__(self, *_):
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


async def test_it_serves_until_it_is_cancelled(api):
    async with Serving(api.runtime) as url, httpx.AsyncClient(base_url=url) as http:
        assert url.startswith("http://127.0.0.1:")
        assert (await http.get("/ok")).json() == {"ok": True}
        run = await http.post("/agent/run?wait=10", json={"agent": "echo", "input": 1})
        assert run.json()["status"] == "succeeded"
        assert "server" not in run.headers
    async with httpx.AsyncClient() as http:
        with pytest.raises(httpx.ConnectError):
            await http.get(f"{url}/ok")


async def test_a_request_under_way_ends_before_the_server(api):
    async with httpx.AsyncClient() as http:
        async with Serving(api.runtime) as url:
            waiting = asyncio.create_task(http.post(f"{url}/agent/run?wait=0.5", json={"agent": "hold", "input": 1}))
            await until(lambda: _waiting_clients(api, 1))
        response = await waiting
    assert response.status_code == 202
    await api.http.post(f"/agent/cancel/{response.json()['task_id']}")


async def test_fifty_waiting_clients_hold_no_connection(api):
    limits = httpx.Limits(max_connections=60)
    async with Serving(api.runtime) as url, httpx.AsyncClient(base_url=url, limits=limits, timeout=30) as http:
        started = (await http.post("/agent/start", json={"agent": "hold", "input": 1})).json()
        path = f"/agent/status/{started['task_id']}?wait=20"
        clients = [asyncio.create_task(http.get(path)) for _ in range(50)]
        await until(lambda: _waiting_clients(api, 50))
        # They look once a second, so at some moment nobody does; a connection held by one would stay out.
        await until(lambda: _all_at_rest(api), message="connections are held by clients that only wait")
        assert (await http.get("/health")).status_code == 200
        await http.post(f"/agent/cancel/{started['task_id']}")
        responses = await asyncio.gather(*clients)
    assert {response.json()["status"] for response in responses} == {"cancelled"}


async def _waiting_clients(api, count):
    return sum(map(len, api.runtime.queue._waiters.values())) == count


async def _all_at_rest(api):
    stats = api.runtime.pool._pool.get_stats()
    return stats["pool_available"] == stats["pool_size"] and not stats["requests_waiting"]


async def test_a_client_that_begins_and_does_not_go_on_is_cut(api):
    async with Serving(api.runtime, head_timeout=timedelta(milliseconds=50)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(b"GET /ok HTTP/1.1\r\n")
        assert (await asyncio.wait_for(reader.read(), 10)).startswith(b"HTTP/1.1 408 ")
        writer.close()


async def test_a_taken_port_names_the_next_free_one(api):
    with listen("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=rf"port {port} .* port (\d+) is free: use that one \(--port \1\)"):
            await serve(api.runtime, ServerSettings(port=port))


@pytest.mark.parametrize("host", ["203.0.113.1", "no-such-host.invalid"])
async def test_an_address_that_is_not_here(api, host):
    with pytest.raises(ConfigurationError, match=host):
        await serve(api.runtime, ServerSettings(host=host, port=0))


async def test_without_auth_other_machines_are_not_served(api):
    with pytest.raises(ConfigurationError, match="--allow-anonymous"):
        await serve(api.runtime, ServerSettings(host="0.0.0.0", port=0))


async def test_reachable_from_elsewhere_is_said_loudly(api, caplog):
    with caplog.at_level(logging.WARNING):
        async with Serving(api.runtime, host="0.0.0.0", allow_anonymous=True):
            pass
    assert "not authenticated" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        async with Serving(api.runtime):
            pass
    assert not caplog.text


async def test_a_page_that_lets_its_own_name_lead_here_gets_nothing(api):
    async with (
        Serving(api.runtime, allowed_hosts=("outlast.internal",)) as url,
        httpx.AsyncClient(base_url=url) as http,
    ):
        refused = await http.get("/ok", headers={"host": "evil.example"})
        assert (refused.status_code, refused.json()["code"]) == (421, "misdirected_request")
        for host in ("localhost:8123", "outlast.internal"):
            assert (await http.get("/ok", headers={"host": host})).status_code == 200


async def test_where_callers_are_asked_who_they_are_other_machines_are_served(databases, open_runtime):
    database_url = await databases.create()
    async with (
        open_runtime(database_url, auth=AuthSettings(keys=True)) as runtime,
        Serving(runtime, host="0.0.0.0") as url,
        httpx.AsyncClient(base_url=url.replace("0.0.0.0", "127.0.0.1")) as http,
    ):
        named = {"host": "outlast.example.com"}
        assert (await http.get("/ok", headers=named)).status_code == 200
        assert (await http.post("/threads/search", json={}, headers=named)).status_code == 401
    await databases.drop(database_url)


def test_an_ipv6_address_is_written_in_brackets():
    if not socket.has_ipv6:
        pytest.skip("no IPv6 here")
    try:
        with listen("::1", 0) as listening:
            assert address(listening).startswith("http://[::1]:")
    except ConfigurationError:
        pytest.skip("no IPv6 here")
