"""What the server says of itself."""

import re

import pytest
from agent_server_api import serving, some_id
from agent_server_gates import has_arrived, open_door

from outlast import __version__
from socket_proxy import SocketProxy
from waiting import until

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


async def test_ok(server):
    assert (await server.http.get("/ok")).json() == {"ok": True}
    assert (await server.http.get("/ok", params={"check_db": 1})).json() == {"ok": True}
    assert (await server.http.get("/ok", params={"check_db": 2})).status_code == 422


async def test_ok_without_a_database(database_url, open_runtime):
    async with (
        SocketProxy.before(database_url) as proxy,
        open_runtime(proxy.url) as runtime,
        serving(runtime) as server,
    ):
        proxy.refuse = True
        proxy.cut()
        assert (await server.http.get("/ok")).json() == {"ok": True}
        response = await server.http.get("/ok", params={"check_db": 1})
        assert response.status_code == 503
        assert response.json()["code"] == "database_unavailable"


async def test_info(server):
    info = (await server.http.get("/info")).json()
    assert info["version"] == __version__
    assert re.fullmatch(r"1\.2\.\d+", info["langgraph_py_version"])
    assert info["flags"]["assistants"] is True
    assert info["flags"]["crons"] is True
    assert info["flags"]["langsmith"] is False


async def figure(server, name, **labels):
    figures = (await server.http.get("/metrics", params={"format": "json"})).json()
    return next(found["value"] for found in figures if found["name"] == name and found["labels"] == labels)


async def test_metrics_count_what_is_there(server):
    door = some_id()
    thread = await server.sdk.threads.create()
    held = await server.sdk.runs.create(thread["thread_id"], "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    behind = await server.sdk.runs.create(thread["thread_id"], "hold", input={"at": door})
    later = await server.sdk.runs.create(None, "agent", input=HELLO, after_seconds=3600)
    assert await figure(server, "outlast_runs", status="running") >= 1
    assert await figure(server, "outlast_runs", status="blocked") >= 1
    assert await figure(server, "outlast_runs", status="later") >= 1
    assert await figure(server, "outlast_workers") == 1
    assert await figure(server, "outlast_worker_slots") == 32
    open_door(door)
    for run in (held, behind):
        await server.ended(run)
    await server.sdk.runs.cancel(later["thread_id"], later["run_id"])
    assert await figure(server, "outlast_runs", status="blocked") == 0
    assert await figure(server, "outlast_runs", status="later") == 0


async def test_metrics_count_open_streams(server):
    thread = await server.sdk.threads.create()

    async def followers(count):
        return await figure(server, "outlast_stream_followers") == count

    async with server.http.stream("GET", f"/threads/{thread['thread_id']}/stream") as response:
        assert response.status_code == 200
        await until(lambda: followers(1))
    await until(lambda: followers(0))


async def test_metrics_as_prometheus_reads_them(server):
    response = await server.http.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = response.text.splitlines()
    names = {line.split()[2] for line in lines if line.startswith("# TYPE")}
    assert "outlast_runs" in names
    for line in lines:
        if not line.startswith("#"):
            found = re.fullmatch(r'(\w+)(\{\w+="[^"]*"(,\w+="[^"]*")*\})? [0-9.e+-]+', line)
            assert found, line
            assert re.sub(r"_(bucket|sum|count)$", "", found[1]) in names or found[1] in names
    assert (await server.http.get("/metrics", params={"format": "xml"})).status_code == 422


async def test_the_description_is_complete_and_the_page_needs_nothing_from_elsewhere(server):
    schema = (await server.http.get("/openapi.json")).json()
    assert schema["info"] == {"title": "Outlast", "version": __version__}
    page = await server.http.get("/docs")
    assert page.headers["content-type"].startswith("text/html")
    for path in schema["paths"]:
        assert path in page.text, path
    assert not re.search(r"<script|src=|https?://", page.text)
    assert {"/threads/{thread_id}/runs/stream", "/agent/start"} <= schema["paths"].keys()


@pytest.mark.parametrize("path", ["/mcp", "/a2a/x", "/ui/agent", "/nothing"])
async def test_what_is_not_there_is_not_found(server, path):
    response = await server.http.post(path, json={})
    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


async def test_an_error_is_a_problem_with_the_request_id(server):
    response = await server.http.get("/threads/nothing", headers={"x-request-id": "abc-1"})
    assert response.headers["x-request-id"] == "abc-1"
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert (problem["status"], problem["field"]) == (response.status_code, "thread_id")
