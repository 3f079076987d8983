"""The sections of langgraph.json that concern the server."""

import shutil
import sys
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import websockets
from agent_server_api import served, write_project
from auth_servers import bearer, guarded
from websockets.exceptions import InvalidStatus

from outlast.agents.project import load_project
from outlast.agents.sections import HeaderRules
from outlast.errors import AgentLoadError, ConfigurationError

HELLO = {"messages": [{"role": "user", "content": "hi"}]}
APP = {"app": "./project_app.py:app"}


@asynccontextmanager
async def serving_with(databases, open_runtime, root, **sections):
    shutil.copy(Path(__file__).parent / "custom_app_for_tests.py", root / "project_app.py")
    project = write_project(root, **sections)
    url = await databases.create()

    def opens(url, **more):
        return open_runtime(url, project=project, **more)

    async with served(opens, url) as server:
        yield server
    await databases.leave(url)


def module_of(file):
    """The module that a server of this process has made of a project's file."""
    return next(module for module in sys.modules.values() if getattr(module, "__file__", None) == str(file))


@pytest.fixture(scope="module")
async def custom(databases, open_runtime, tmp_path_factory):
    async with serving_with(databases, open_runtime, tmp_path_factory.mktemp("custom"), http=APP) as server:
        yield server


# the project's own app


async def test_its_routes_are_served_with_its_lifespan_and_its_middleware(custom):
    response = await custom.http.get("/own/hello/ada")
    assert response.json() == {"hello": "ada", "made": "at the start", "user": None}
    assert response.headers["x-marked"] == "nobody"
    assert (await custom.http.get("/own/teapot")).json() == {"divided": True}


async def test_its_middleware_sees_our_routes_too(custom):
    response = await custom.http.get("/ok")
    assert response.json() == {"ok": True}
    assert response.headers["x-marked"] == "nobody"
    assert response.headers["x-request-id"]


async def test_its_routes_come_first_and_ours_are_there_beside_them(custom):
    assert (await custom.http.get("/info")).json() == {"mine": True}
    assert (await custom.http.get("/openapi.json")).json()["info"]["title"] == "Outlast"
    assert "/threads" in (await custom.http.get("/docs")).text
    assert (await custom.http.get("/nothing")).json()["code"] == "not_found"
    assert (await custom.sdk.runs.wait(None, "agent", input=HELLO))["messages"]


async def test_its_bodies_are_its_own(custom):
    response = await custom.http.post("/own/echo", content="a=1", headers={"content-type": "text/plain"})
    assert response.json() == {"body": "a=1"}


async def test_streams_go_through_its_middleware(custom):
    events = [part.event async for part in custom.sdk.runs.stream(None, "agent", input=HELLO)]
    assert events[0] == "metadata"
    assert "values" in events


async def test_its_websockets(custom):
    url = custom.url.replace("http", "ws") + "/own/ws"
    async with websockets.connect(url) as socket:
        assert await socket.recv() == "hi"


async def test_its_lifespan_ends_with_the_server(databases, open_runtime, tmp_path):
    async with serving_with(databases, open_runtime, tmp_path, http=APP):
        events = module_of(tmp_path / "project_app.py").events
        assert events == ["began"]
    assert events == ["began", "ended"]


async def test_its_routes_are_open_until_auth_is_asked_for_them(databases, open_runtime, tmp_path):
    for enabled, status in ((False, 200), (True, 401)):
        root = tmp_path / str(enabled)
        root.mkdir()
        shutil.copy(Path(__file__).parent / "custom_app_for_tests.py", root / "project_app.py")
        http = {**APP, "enable_custom_route_auth": enabled}
        async with guarded(databases, open_runtime, root, http=http) as server:
            assert (await server.http.get("/own/hello/x")).status_code == status
            assert (await server.http.post("/threads/search", json={})).status_code == 401
            known = await server.http.get("/own/hello/x", headers=bearer("ada"))
            assert known.json()["user"] == ("ada" if enabled else None)
            echoed = await server.http.post("/own/echo", json={"name": "z"}, headers=bearer("ada:body"))
            assert echoed.json()["body"] == '{"name":"z"}'


async def test_auth_may_come_before_its_middleware(databases, open_runtime, tmp_path):
    (tmp_path / "project_auth.py").write_text(
        "from langgraph_sdk import Auth\n"
        "auth = Auth()\n"
        "@auth.authenticate\n"
        "async def who(authorization: str | None, body: object):\n"
        "    return authorization\n"
    )
    shutil.copy(Path(__file__).parent / "custom_app_for_tests.py", tmp_path / "project_app.py")
    http = {**APP, "middleware_order": "auth_first"}
    auth = {"path": "./project_auth.py:auth"}
    async with serving_with(databases, open_runtime, tmp_path, http=http, auth=auth) as server:
        refused = await server.http.post("/threads", json={})
        assert refused.status_code == 401
        assert "x-marked" not in refused.headers, "its middleware has not seen it"
        made = await server.http.post("/threads", json={"metadata": {"a": 1}}, headers={"authorization": "ada"})
        assert made.json()["metadata"] == {"a": 1}
        assert made.headers["x-marked"] == "ada"
        assert (await server.http.get("/ok")).status_code == 200
        assert (await server.http.get("/own/hello/x")).status_code == 200


# what is disabled


RUNS_OF_A_THREAD = "/threads/0190a000-0000-7000-8000-000000000000/runs"


@pytest.mark.parametrize(
    ("group", "paths"),
    [
        ("disable_assistants", (["/assistants/search"], ["/threads/search"])),
        ("disable_threads", (["/threads", "/threads/search"], ["/runs/crons/search"])),
        ("disable_runs", (["/runs", "/runs/crons/search", RUNS_OF_A_THREAD], ["/threads"])),
        ("disable_store", (["/store/items/search"], ["/threads/search"])),
    ],
)
async def test_a_disabled_group_is_not_there(databases, open_runtime, tmp_path, group, paths):
    closed, opened = paths
    async with serving_with(databases, open_runtime, tmp_path, http={group: True}) as server:
        for path in closed:
            assert (await server.http.post(path, json={})).status_code == 404, path
        for path in opened:
            assert (await server.http.post(path, json={})).status_code == 200, path
        described = (await server.http.get("/openapi.json")).json()["paths"]
        assert not set(closed) & set(described)
        assert set(opened) <= set(described)


async def test_without_meta_the_server_says_nothing_of_itself(databases, open_runtime, tmp_path):
    async with serving_with(databases, open_runtime, tmp_path, http={"disable_meta": True}) as server:
        for path in ("/info", "/metrics", "/docs", "/openapi.json", "/usage"):
            assert (await server.http.get(path)).status_code == 404, path
        assert (await server.http.get("/ok?check_db=1")).json() == {"ok": True}


async def test_disabled_webhooks_are_refused(databases, open_runtime, tmp_path):
    async with serving_with(databases, open_runtime, tmp_path, http={"disable_webhooks": True}) as server:
        body = {"assistant_id": "agent", "webhook": "https://example.com/"}
        response = await server.http.post("/runs", json=body)
        assert response.status_code == 422
        assert response.json()["code"] == "not_supported"


# the prefix, CORS, headers


async def test_everything_is_under_the_prefix(databases, open_runtime, tmp_path):
    from langgraph_sdk import get_client

    http = {**APP, "mount_prefix": "/api/v1"}
    async with serving_with(databases, open_runtime, tmp_path, http=http) as server:
        assert (await server.http.get("/ok")).status_code == 404
        assert (await server.http.get("/api/v1/ok")).json() == {"ok": True}
        assert (await server.http.get("/api/v1x/ok")).status_code == 404
        assert (await server.http.get("/api/v1/own/hello/x")).json()["hello"] == "x"
        async with get_client(url=f"{server.url}/api/v1", api_key=None) as sdk:
            assert (await sdk.runs.wait(None, "agent", input=HELLO))["messages"]
            events = [part.event async for part in sdk.runs.stream(None, "agent", input=HELLO)]
            assert events[0] == "metadata"


def preflight(origin, method="POST"):
    return {
        "origin": origin, "access-control-request-method": method, "access-control-request-headers": "content-type"
    }  # fmt: skip


async def test_pages_of_this_machine_may_call_and_no_others(server):
    for origin in ("http://localhost:3000", "http://127.0.0.1:5173", "https://localhost", "http://[::1]:3000"):
        response = await server.http.options("/threads", headers=preflight(origin))
        assert response.status_code == 200, origin
        assert response.headers["access-control-allow-origin"] == origin
    for origin in (
        "https://evil.example",
        "http://localhost.evil.example",
        "http://localhost:3000.evil.example",
        "null",
    ):
        response = await server.http.options("/threads", headers=preflight(origin))
        assert "access-control-allow-origin" not in response.headers, origin
    response = await server.http.post("/threads", json={}, headers={"origin": "http://localhost:3000"})
    shown = response.headers["access-control-expose-headers"].lower()
    assert "content-location" in shown
    assert "x-pagination-total" in shown


async def test_the_project_says_which_pages_may_call(databases, open_runtime, tmp_path):
    cors = {"allow_origins": ["https://ui.example"], "allow_credentials": True, "max_age": 5}
    async with serving_with(databases, open_runtime, tmp_path, http={"cors": cors}) as server:
        allowed = await server.http.options("/threads", headers=preflight("https://ui.example", "PUT"))
        assert allowed.headers["access-control-allow-origin"] == "https://ui.example"
        assert allowed.headers["access-control-max-age"] == "5"
        refused = await server.http.options("/threads", headers=preflight("http://localhost:3000"))
        assert "access-control-allow-origin" not in refused.headers


async def test_a_page_from_elsewhere_opens_no_websocket(custom):
    """Browsers ask nobody before they do."""
    url = custom.url.replace("http", "ws") + "/own/ws"
    with pytest.raises(InvalidStatus, match="403"):
        async with websockets.connect(url, origin="https://evil.example"):
            pass
    for origin in ("http://localhost:3000", custom.url):
        async with websockets.connect(url, origin=origin) as socket:
            assert await socket.recv() == "hi"


async def test_headers_reach_the_run_as_the_project_wants(databases, open_runtime, tmp_path):
    http = {"configurable_headers": {"includes": ["x-user-*"], "excludes": ["x-user-secret"]}}
    async with serving_with(databases, open_runtime, tmp_path, http=http) as server:
        headers = {"X-User-Name": "ada", "x-user-secret": "s", "x-other": "o"}
        response = await server.http.post("/runs/wait", json={"assistant_id": "see", "input": {}}, headers=headers)
        configurable = response.json()["seen"]["configurable"]
        assert configurable["x-user-name"] == "ada"
        assert "x-user-secret" not in configurable
        assert "x-other" not in configurable


def test_patterns_of_headers():
    rules = HeaderRules(include=("*-id", "X-A"), exclude=("x-secret-*",))
    headers = {"X-Secret-Id": "1", "user-id": "2", "x-a": "3", "x-ab": "4"}
    assert rules.chosen(headers) == {"user-id": "2", "x-a": "3"}


# what the file may say


def read(tmp_path, **sections):
    write_project(tmp_path, **sections)
    return load_project(tmp_path / "langgraph.json")


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"htpp": {}}, r"unknown key 'htpp' \(did you mean 'http'\?\)"),
        ({"http": {"disable_meda": True}}, r"http\.disable_meda: there is no such key"),
        ({"http": {"disable_meta": "yes"}}, r"http\.disable_meta"),
        ({"http": {"mount_prefix": "api"}}, r"http\.mount_prefix"),
        ({"http": {"app": "nowhere"}}, r"http\.app"),
        ({"auth": {}}, r"auth\.path"),
        ({"auth": {"path": "x"}}, r"auth\.path"),
        ({"checkpointer": {"path": "./x.py:y"}}, r"another checkpointer cannot be used"),
        ({"checkpointer": {"serde": {"allowed_json_modules": True}}}, r"never pickles"),
        ({"checkpointer": {"ttl": {"strategy": "archive"}}}, r"checkpointer\.ttl\.strategy"),
        ({"checkpointer": {"ttl": {"default_ttl": 0}}}, r"checkpointer\.ttl\.default_ttl"),
        ({"store": {"index": {"embed": "./e.py:f"}}}, r"store\.index\.dims"),
        ({"encryption": {"path": "./x.py:y"}}, r"'encryption' is not supported"),
        ({"webhooks": {"url": {"allowed_ports": [0]}}}, r"webhooks\.url\.allowed_ports"),
        ({"http": []}, r"http"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(tmp_path, sections, message):
    with pytest.raises(AgentLoadError, match=message):
        read(tmp_path, **sections)


def test_what_is_not_done_is_said_and_what_builds_images_is_not(tmp_path):
    project = read(tmp_path, ui={"a": "./a.tsx"}, python_version="3.12", dockerfile_lines=[], store=None)
    assert len(project.sections.notes) == 1
    assert "'ui' has no effect" in project.sections.notes[0]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("auth = 7", "not a langgraph_sdk.Auth"),
        ("from langgraph_sdk import Auth\nauth = Auth()", "no @auth.authenticate handler"),
        ("raise RuntimeError('boom')", "boom"),
        ("other = 1", "has no 'auth'"),
    ],
)
async def test_a_server_does_not_start_without_the_auth_it_was_given(
    database_url, open_runtime, tmp_path, source, message
):
    from outlast.server.app import create_app

    (tmp_path / "wrong_auth.py").write_text(source)
    project = write_project(tmp_path, auth={"path": "./wrong_auth.py:auth"})
    async with open_runtime(database_url, project=project) as runtime:
        with pytest.raises(ConfigurationError, match=message):
            create_app(runtime)


async def test_the_description_says_how_to_sign_in(databases, open_runtime, tmp_path):
    openapi = {
        "securitySchemes": {"key": {"type": "apiKey", "name": "x-key", "in": "header"}},
        "security": [{"key": []}],
        "paths": {"/threads": {"POST": [{"key": ["write"]}]}},
    }
    async with guarded(databases, open_runtime, tmp_path, auth={"openapi": openapi}) as server:
        schema = (await server.http.get("/openapi.json", headers=bearer("ada"))).json()
        assert schema["components"]["securitySchemes"] == openapi["securitySchemes"]
        assert schema["security"] == [{"key": []}]
        assert schema["paths"]["/threads"]["post"]["security"] == [{"key": ["write"]}]


async def test_a_known_caller_is_not_asked_for_again_for_a_while(databases, open_runtime, tmp_path):
    (tmp_path / "counting_auth.py").write_text(
        "from langgraph_sdk import Auth\n"
        "auth = Auth()\n"
        "asked = []\n"
        "@auth.authenticate\n"
        "async def who(authorization: str | None):\n"
        "    asked.append(authorization)\n"
        "    return authorization\n"
    )
    auth = {"path": "./counting_auth.py:auth", "cache": {"cache_keys": ["authorization"], "max_size": 2}}
    async with serving_with(databases, open_runtime, tmp_path, auth=auth) as server:
        for user in ("ada", "ada", "bob", "ada", "eve", "bob"):
            made = await server.http.post("/threads/search", json={}, headers={"authorization": user})
            assert made.status_code == 200
        assert (await server.http.post("/threads/search", json={})).status_code == 401
        # Two are kept: bob was forgotten when eve came.
        assert module_of(tmp_path / "counting_auth.py").asked == ["ada", "bob", "eve", "bob", None]
