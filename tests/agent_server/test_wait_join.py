"""Clients that stay for the result."""

import asyncio

import httpx
import orjson
import pytest
from agent_server_api import serving, some_id
from agent_server_gates import has_arrived, open_door
from langgraph_sdk.errors import NotFoundError

from outlast.server import app, eventually
from waiting import until


async def test_wait_returns_the_values(client, thread_id):
    values = await client.runs.wait(thread_id, "agent", input={"messages": [{"role": "user", "content": "hello"}]})
    assert values["messages"][-1]["content"] == "1: hello"
    assert values["messages"][-1]["type"] == "ai"


async def test_wait_says_where_the_run_is_before_it_has_ended(server, thread_id):
    door = some_id()
    body = {"assistant_id": "hold", "input": {"at": door}}
    async with server.http.stream("POST", f"/threads/{thread_id}/runs/wait", json=body) as response:
        assert response.status_code == 200
        run = response.headers["content-location"]
        assert response.headers["location"] == f"{run}/join"
        assert (await server.http.get(run)).json()["status"] in ("pending", "running")
        open_door(door)
        assert orjson.loads(await response.aread())["log"] == ["begun", "held"]


async def test_a_failed_run_is_an_answer(client, server, thread_id):
    values = await client.runs.wait(thread_id, "broken", input={}, raise_error=False)
    assert values == {"__error__": {"error": "ValueError", "message": "boom"}}
    with pytest.raises(Exception, match="ValueError: boom"):
        await client.runs.wait(thread_id, "broken", input={})


async def test_a_question_is_in_the_answer(client, thread_id):
    values = await client.runs.wait(thread_id, "ask", input={"log": ["start"]})
    (question,) = values["__interrupt__"]
    assert question["value"] == {"question": "which one?", "log": ["start", "begun"]}
    assert question["id"]
    assert values["log"] == ["start", "begun"]


async def test_join_waits_for_the_end_and_tells_it_afterwards(client, server, thread_id):
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door})
    joining = asyncio.create_task(client.runs.join(thread_id, run["run_id"]))
    await until(lambda: has_arrived(door))
    assert not joining.done()
    open_door(door)
    assert (await joining)["log"] == ["begun", "held"]
    assert (await client.runs.join(thread_id, run["run_id"]))["log"] == ["begun", "held"]


async def test_each_run_has_its_own_result(client, thread_id):
    first = await client.runs.create(thread_id, "steps", input={"log": ["first"]})
    await client.runs.join(thread_id, first["run_id"])
    second = await client.runs.wait(thread_id, "steps", input={"log": ["second"]})
    assert len(second["log"]) == 8
    assert (await client.runs.join(thread_id, first["run_id"]))["log"] == ["first", "one", "two", "three"]


async def test_a_result_that_was_forgotten_is_the_threads(client, server, thread_id):
    run = await client.runs.create(thread_id, "steps", input={"log": []})
    await server.ended(run)
    await server.rows("UPDATE run_details SET output = NULL WHERE run_id = %s", run["run_id"])
    assert (await client.runs.join(thread_id, run["run_id"]))["log"] == ["one", "two", "three"]


async def test_a_cancelled_run_leaves_what_it_did(client, server, thread_id):
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    joining = asyncio.create_task(client.runs.join(thread_id, run["run_id"]))
    await client.runs.cancel(thread_id, run["run_id"], wait=True)
    assert (await joining)["log"] == ["begun"]


async def test_who_waits_for_a_run_that_is_rolled_back_is_told(client, thread_id):
    door = some_id()
    run = await client.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    joining = asyncio.create_task(client.runs.join(thread_id, run["run_id"]))
    await client.runs.cancel(thread_id, run["run_id"], wait=True, action="rollback")
    assert (await joining)["__error__"]["error"] == "run_deleted"


async def test_join_of_nothing_is_404(server, thread_id):
    with pytest.raises(httpx.HTTPStatusError) as refused:
        await server.sdk.runs.join(thread_id, some_id())
    assert refused.value.response.status_code == 404
    with pytest.raises(NotFoundError):
        await server.sdk.runs.get(thread_id, some_id())


async def test_a_functional_graphs_result_is_what_it_returned(client):
    assert await client.runs.wait(None, "echo", input={"a": [1, None]}) == {"got": {"a": [1, None]}}


async def test_newlines_keep_the_connection_open(server, thread_id, monkeypatch):
    monkeypatch.setattr(eventually, "_HEARTBEAT_SECONDS", 0.05)
    door = some_id()
    body = {"assistant_id": "hold", "input": {"at": door}}
    async with server.http.stream("POST", f"/threads/{thread_id}/runs/wait", json=body) as response:
        received = b""
        async for part in response.aiter_raw():
            received += part
            if received == b"\n\n\n":
                open_door(door)
    assert received.startswith(b"\n\n\n")
    assert orjson.loads(received)["log"] == ["begun", "held"]


@pytest.mark.parametrize(("mode", "after"), [("cancel", "interrupted"), ("continue", "success")])
async def test_what_becomes_of_a_run_whose_client_leaves(server, thread_id, mode, after):
    door = some_id()
    body = {"assistant_id": "hold", "input": {"at": door}, "on_disconnect": mode}
    async with server.http.stream("POST", f"/threads/{thread_id}/runs/wait", json=body) as response:
        run_id = response.headers["content-location"].rpartition("/")[2]
        await until(lambda: has_arrived(door))
    run = {"thread_id": thread_id, "run_id": run_id}
    if mode == "continue":
        open_door(door)
    ended = await server.ended(run)
    assert ended["status"] == after
    assert ended["cancel_reason"] == ("the client disconnected" if mode == "cancel" else None)


async def test_join_can_take_the_run_with_it(server, thread_id):
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    path = f"/threads/{thread_id}/runs/{run['run_id']}/join"
    async with server.http.stream("GET", path, params={"cancel_on_disconnect": "1"}):
        pass
    assert (await server.ended(run))["status"] == "interrupted"


async def test_a_server_that_stops_is_no_client_that_leaves(server, open_runtime, thread_id, monkeypatch):
    """The client comes back to another process; its run must not be cancelled meanwhile."""
    monkeypatch.setattr(app, "_GRACE_SECONDS", 0.2)
    door = some_id()
    body = {"assistant_id": "hold", "input": {"at": door}, "on_disconnect": "cancel"}
    url = server.runtime.settings.database.url
    async with httpx.AsyncClient(timeout=30) as http:
        async with open_runtime(url) as runtime, serving(runtime) as other:
            waiting = asyncio.create_task(http.post(f"{other.url}/threads/{thread_id}/runs/wait", json=body))
            await until(lambda: has_arrived(door))
        with pytest.raises(httpx.RemoteProtocolError):
            await waiting
    (run,) = await server.sdk.runs.list(thread_id)
    assert run["status"] == "running"
    open_door(door)
    assert (await server.ended(run))["status"] == "success"
    assert (await server.sdk.runs.join(thread_id, run["run_id"]))["log"] == ["begun", "held"]


async def test_fifty_clients_that_wait_hold_no_connection(server, thread_id):
    door = some_id()
    run = await server.sdk.runs.create(thread_id, "hold", input={"at": door})
    await until(lambda: has_arrived(door))
    waiting = [asyncio.create_task(server.sdk.runs.join(thread_id, run["run_id"])) for _ in range(50)]
    pool = server.runtime.pool._pool

    async def all_wait() -> bool:
        return sum(map(len, server.runtime.queue._waiters.values())) == 50

    async def at_rest() -> bool:
        stats = pool.get_stats()
        return stats["pool_available"] == stats["pool_size"] and not stats["requests_waiting"]

    await until(all_wait)
    await until(at_rest)
    open_door(door)
    assert {tuple(values["log"]) for values in await asyncio.gather(*waiting)} == {("begun", "held")}
