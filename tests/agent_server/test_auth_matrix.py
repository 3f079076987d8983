"""Every route of the API against every kind of credential: what the table says of it happens, and nothing else."""

import re
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
import websockets
from agent_server_api import Server, served
from api_operations import BODIES, BODIES_OF_OTHERS, QUERIES, filled
from websockets.exceptions import ConnectionClosed

from outlast.domain.access import ADMIN, READ_SCOPES, SCOPES
from outlast.domain.acting import acting_for
from outlast.server.app import create_app
from outlast.server.auth.scopes import AUTHENTICATED, COMMANDS, NEEDS, PUBLIC, WEBSOCKET
from outlast.server.routes import ROUTERS
from outlast.settings import AuthSettings
from outlast.storage.postgres.api_keys import ApiKeyStore

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
EVERYTHING = frozenset(SCOPES) - {ADMIN}
# They take away what other cells need.
ENDING = ("DELETE ", "POST /threads/prune", "POST /dlq/{letter_id}")


def declared(routes: Iterable[Any]) -> list[str]:
    return [
        f"{method} {route.path}"
        for route in routes
        for method in sorted(getattr(route, "methods", None) or (WEBSOCKET,))
    ]


ROUTES = [*declared(route for router in ROUTERS for route in router.routes), "GET /openapi.json"]
HTTP = [route for route in ROUTES if not route.startswith(WEBSOCKET)]
GUARDED = [route for route in HTTP if NEEDS.get(route) != PUBLIC]
#: What `made` makes of one tenant's own.
OWNED = {
    "thread_id", "run_id", "task_id", "checkpoint_id", "assistant_id", "cron_id", "key_id", "question_id", "letter_id"
}  # fmt: skip
# They may begin before their thread does: what they touch is one of the same name, in the caller's tenant.
BEFORE_THE_THREAD = ("/commands", "/stream/events")


def names_of(route: str) -> set[str]:
    return set(re.findall(r"\{(\w+)", route))


OF_ONE = [route for route in GUARDED if names_of(route) & OWNED]


def need_of(route: str) -> str:
    return COMMANDS["run.start"] if route.endswith("/commands") else NEEDS[route]


class Keys:
    """Keys of a tenant, made when a cell asks for one."""

    def __init__(self, server: Server, tenant: str) -> None:
        self._store = ApiKeyStore(server.runtime.pool)
        self._tenant = tenant
        self._made: dict[frozenset[str], str] = {}

    async def make(self, scopes: Iterable[str], **more: Any) -> tuple[str, str]:
        with acting_for(self._tenant):
            key, minted = await self._store.create(scopes=frozenset(scopes), **more)
        return key.key_id, minted.text

    async def having(self, scopes: Iterable[str]) -> str:
        wanted = frozenset(scopes)
        if wanted not in self._made:
            self._made[wanted] = (await self.make(wanted))[1]
        return self._made[wanted]

    async def revoked(self) -> str:
        key_id, text = await self.make(SCOPES)
        with acting_for(self._tenant):
            await self._store.revoke(key_id)
        return text

    async def expired(self) -> str:
        return (await self.make(SCOPES, lifetime=timedelta(seconds=-1)))[1]


@pytest.fixture(scope="module")
async def locked(databases, open_runtime) -> AsyncIterator[Server]:
    """A server that asks for keys, and a worker."""
    url = await databases.create()
    async with served(open_runtime, url, auth=AuthSettings(keys=True, failures_per_minute=0)) as server:
        yield server
    await databases.leave(url)


@pytest.fixture(scope="module")
async def keys(locked) -> Keys:
    return Keys(locked, "acme")


@pytest.fixture(scope="module")
async def wrong(keys) -> dict[str, dict[str, str]]:
    """Headers of callers who are not known."""
    _, right = await keys.make(SCOPES)
    last = "A" if right[-1] != "A" else "B"
    return {
        "no key": {},
        "malformed": {"x-api-key": right[:-1]},
        "another secret": {"x-api-key": right[:-1] + last},
        "unknown": {"x-api-key": f"ok_{'a' * 16}_{'A' * 43}"},
        "somebody else's kind": {"x-api-key": "lsv2_pt_0123456789"},
        "another scheme": {"authorization": f"Basic {right}"},
        "revoked": {"x-api-key": await keys.revoked()},
        "revoked bearer": {"authorization": f"Bearer {await keys.revoked()}"},
        "expired": {"x-api-key": await keys.expired()},
    }


async def made(server: Server, keys: Keys) -> dict[str, str]:
    """One of each, by a caller who may do everything."""
    http, headers = server.http, {"x-api-key": await keys.having(EVERYTHING)}

    async def post(path: str, body: Any) -> dict[str, Any]:
        response = await http.post(path, json=body, headers=headers)
        assert response.status_code < 300, response.text
        return response.json()

    thread_id = (await post("/threads", {}))["thread_id"]
    run = await http.post(
        f"/threads/{thread_id}/runs/wait", json={"assistant_id": "agent", "input": HELLO}, headers=headers
    )
    assert run.status_code == 200, run.text
    run_id = run.headers["content-location"].rpartition("/")[2]
    state = (await http.get(f"/threads/{thread_id}/state", headers=headers)).json()
    await http.put("/store/items", json={"namespace": ["n"], "key": "k", "value": {}}, headers=headers)
    asking = (await post("/threads", {}))["thread_id"]
    await post(f"/threads/{asking}/runs/wait", {"assistant_id": "ask", "input": {}})
    (question,) = (await http.get("/inbox", params={"thread_id": asking}, headers=headers)).json()
    return {
        "thread_id": thread_id,
        "run_id": run_id,
        "task_id": run_id,
        "checkpoint_id": state["checkpoint"]["checkpoint_id"],
        "assistant_id": (await post("/assistants", {"graph_id": "agent"}))["assistant_id"],
        "cron_id": (await post("/runs/crons", {"assistant_id": "agent", "schedule": "0 0 1 1 *"}))["cron_id"],
        "key_id": (await keys.make(()))[0],
        "question_id": question["id"],
        # Without any input the graph fails.
        "letter_id": (await post("/agent/run?wait=10", {"agent": "agent", "input": {}}))["run_id"],
        "namespace": "x",
    }


@pytest.fixture(scope="module")
async def things(locked, keys) -> dict[str, str]:
    return await made(locked, keys)


async def status(server: Server, route: str, ids: dict[str, str], headers: dict[str, str]) -> int:
    """Ask, and leave as soon as the status is there: some answers have no end."""
    method, _, path = route.partition(" ")
    path = path.replace(":path}", "}")
    body = filled({**BODIES, **BODIES_OF_OTHERS}.get(path, {}).get(method.lower()), ids)
    params = QUERIES.get(f"{path} {method.lower()}")
    address = re.sub(r"\{(\w+)\}", lambda name: ids.get(name[1], "some-name"), path)
    json = {} if body is None else {"json": body}
    async with server.http.stream(method, address, params=params, headers=headers, **json) as response:
        return response.status_code


def test_every_route_that_is_served_has_an_entry(locked):
    app = create_app(locked.runtime)
    assert sorted({*declared(app.routes)} - {"HEAD /openapi.json"}) == sorted(ROUTES)
    assert sorted({*declared(app.routes)} - NEEDS.keys()) == [], "say in server/auth/scopes.py who may ask for these"


def test_the_table_names_scopes():
    assert {*NEEDS.values(), *COMMANDS.values()} <= {*SCOPES, PUBLIC, AUTHENTICATED}


@pytest.mark.parametrize("route", GUARDED)
async def test_whoever_is_not_known_gets_401_everywhere(locked, things, wrong, route):
    got = {who: await status(locked, route, things, headers) for who, headers in wrong.items()}
    assert got == dict.fromkeys(wrong, 401)


@pytest.mark.parametrize("route", GUARDED)
async def test_without_the_scope_of_the_route_it_is_refused(locked, keys, things, route):
    need = need_of(route)
    if need == AUTHENTICATED:
        assert await status(locked, route, things, {"x-api-key": await keys.having(())}) < 300
        return
    assert await status(locked, route, things, {"x-api-key": await keys.having(EVERYTHING - {need})}) == 403
    assert await status(locked, route, things, {"x-api-key": await keys.having(())}) == 403


@pytest.mark.parametrize("route", GUARDED)
async def test_who_may_only_read_changes_nothing(locked, keys, things, route):
    got = await status(locked, route, things, {"x-api-key": await keys.having(READ_SCOPES)})
    if need_of(route) not in {*READ_SCOPES, AUTHENTICATED}:
        assert got == 403
    else:
        # Of a name that is not there, this too is told to those who may read.
        assert got < 300 or (got == 404 and not names_of(route) <= things.keys())


@pytest.mark.parametrize("route", GUARDED)
async def test_with_the_one_scope_of_the_route_it_is_done(locked, keys, things, route):
    need = need_of(route)
    text = await keys.having(() if need == AUTHENTICATED else (need,))
    ids = await made(locked, keys) if route.startswith(ENDING) else things
    got = await status(locked, route, ids, {"authorization": f"Bearer {text}"})
    refused = {401, 403, 404} if names_of(route) and names_of(route) <= ids.keys() else {401, 403}
    assert got not in refused
    assert got < 500


@pytest.mark.parametrize("route", GUARDED)
async def test_admin_is_every_scope(locked, keys, route):
    """With things that do not exist: what is there is needed by others."""
    nothing = dict.fromkeys(("thread_id", "run_id", "task_id", "cron_id"), "0190a000-0000-7000-8000-000000000000")
    got = await status(locked, route, nothing, {"x-api-key": await keys.having((ADMIN,))})
    assert got not in {401, 403}
    assert got < 500


@pytest.fixture
async def elsewhere(locked) -> dict[str, str]:
    """Headers of somebody who may do everything in another tenant; a new one, since some routes make a thread."""
    return {"x-api-key": await Keys(locked, f"globex-{uuid4()}").having(SCOPES)}


@pytest.mark.parametrize("route", OF_ONE)
async def test_what_belongs_to_another_tenant_is_not_there(locked, things, elsewhere, route):
    got = await status(locked, route, things, elsewhere)
    assert got == (200 if route.endswith(BEFORE_THE_THREAD) else 404)


@pytest.mark.parametrize("route", [route for route in HTTP if NEEDS.get(route) == PUBLIC])
async def test_what_is_public_asks_nobody(locked, things, route):
    assert await status(locked, route, {**things, "token": "x"}, {}) not in {401, 403}


# WebSockets


async def closed_with(server: Server, ids: dict[str, str], headers: dict[str, str]) -> int:
    url = f"{server.url.replace('http', 'ws')}/threads/{ids['thread_id']}/stream/events"
    async with websockets.connect(url, additional_headers=headers) as socket:
        with pytest.raises(ConnectionClosed):
            await socket.recv()
    assert socket.close_code is not None
    return socket.close_code


async def test_a_websocket_asks_the_same(locked, keys, things, wrong):
    assert {who: await closed_with(locked, things, headers) for who, headers in wrong.items()} == dict.fromkeys(
        wrong, 4401
    )
    assert await closed_with(locked, things, {"x-api-key": await keys.having(EVERYTHING - {"threads:read"})}) == 4403


@pytest.mark.parametrize(("method", "scope"), sorted(COMMANDS.items()))
async def test_each_command_needs_its_scope_on_a_websocket_too(locked, keys, things, method, scope):
    url = f"{locked.url.replace('http', 'ws')}/threads/{things['thread_id']}/stream/events"
    frame = f'{{"id": 1, "method": "{method}", "params": {{}}}}'
    for scopes, refused in ((EVERYTHING - {scope} | {"threads:read"}, scope != "threads:read"), (EVERYTHING, False)):
        headers = {"x-api-key": await keys.having(scopes)}
        async with websockets.connect(url, additional_headers=headers) as socket:
            await socket.send(frame)
            answer = await socket.recv()
        assert ("permission_denied" in str(answer)) is refused, answer


# what depends on the body


async def test_an_answer_needs_its_own_scope_whatever_route_it_comes_by(locked, keys, things):
    runs_only = {"x-api-key": await keys.having({"runs:write", "threads:read"})}
    body = {"assistant_id": "ask", "command": {"resume": "yes"}}
    for path in (f"/threads/{things['thread_id']}/runs", f"/threads/{things['thread_id']}/runs/stream"):
        response = await locked.http.post(path, json=body, headers=runs_only)
        assert response.status_code == 403
        assert "inbox:answer" in response.json()["detail"]
    answering = {"x-api-key": await keys.having({"runs:write", "inbox:answer"})}
    response = await locked.http.post(f"/threads/{things['thread_id']}/runs", json=body, headers=answering)
    assert response.status_code not in {401, 403}
