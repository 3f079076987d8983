"""Who may do what: every operation of the API against every outcome of the project's handlers."""

import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets
from api_operations import BODIES, QUERIES, filled, guarded_operations, resource_operations
from auth_servers import bearer, guarded, sdk_of
from langgraph_sdk import Auth
from langgraph_sdk.errors import AuthenticationError, NotFoundError, PermissionDeniedError
from websockets.exceptions import ConnectionClosedError

from outlast.errors import ConfigurationError
from outlast.server.auth.authenticate import as_http, parameters_of
from outlast.server.auth.authorize import decided
from outlast.server.auth.users import User, as_user
from outlast.server.problems import problem

GUARDED = guarded_operations()
OF_RESOURCES = resource_operations()


@pytest.fixture(scope="module")
async def guard(databases, open_runtime, tmp_path_factory) -> AsyncIterator[Any]:
    async with guarded(databases, open_runtime, tmp_path_factory.mktemp("auth")) as server:
        yield server


@pytest.fixture(scope="module")
async def ids(guard) -> dict[str, str]:
    """One of each, owned by ada."""
    ada = sdk_of(guard, "ada")
    assistant = await ada.assistants.create("agent")
    thread = await ada.threads.create(thread_id="0190a000-0000-7000-8000-00000000ada0")
    run = await ada.runs.create(thread["thread_id"], "agent", input={"messages": [{"role": "user", "content": "hi"}]})
    await ada.runs.join(thread["thread_id"], run["run_id"])
    cron = await ada.crons.create_for_thread(thread["thread_id"], "agent", schedule="0 0 1 1 *")
    await ada.store.put_item(["n"], "k", {"of": "ada"})
    state = await ada.threads.get_state(thread["thread_id"])
    return {
        "assistant_id": assistant["assistant_id"],
        "thread_id": thread["thread_id"],
        "run_id": run["run_id"],
        "cron_id": cron["cron_id"],
        "checkpoint_id": state["checkpoint"]["checkpoint_id"],
        "namespace": "x",
    }


async def call(server, path, method, ids, user):
    body = filled(BODIES[path][method], ids)
    return await server.http.request(
        method.upper(),
        path.format(**ids),
        params=QUERIES.get(f"{path} {method}"),
        headers=bearer(user) if user else {},
        **({} if body is None else {"json": body}),
    )


def test_no_operation_is_forgotten_here():
    assert set(OF_RESOURCES) <= {(path, method) for path, methods in BODIES.items() for method in methods}


@pytest.mark.parametrize(("path", "method"), GUARDED, ids=lambda part: part)
async def test_without_credentials_nothing_is_said(guard, path, method):
    """Not even whether the body is valid or the thing exists."""
    filler = dict.fromkeys(re.findall(r"\{(\w+)\}", path), "0190a000-0000-7000-8000-000000000000")
    for content in (b"", b"{ not json"):
        response = await guard.http.request(
            method.upper(), path.format(**filler), content=content, headers={"content-type": "application/json"}
        )
        assert response.status_code == 401, response.text
        assert response.json()["detail"] == "say who you are"
        assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(("path", "method"), OF_RESOURCES, ids=lambda part: part)
@pytest.mark.parametrize("outcome", [("deny", 403), ("assert", 403), ("teapot", 418), ("wrong", 500)])
async def test_what_a_handler_refuses_is_refused_everywhere(guard, ids, path, method, outcome):
    mode, status = outcome
    # Where a filter cannot be applied at all, it is not looked at.
    status = 403 if mode == "wrong" and path.startswith("/store") else status
    response = await call(guard, path, method, ids, f"ada:{mode}")
    assert response.status_code == status, response.text
    if status == 418:
        assert response.json()["detail"] == "no coffee"


@pytest.mark.parametrize(("path", "method"), [(p, m) for p, m in OF_RESOURCES if "_id}" in p], ids=lambda part: part)
async def test_what_is_somebody_elses_is_not_there(guard, ids, path, method):
    response = await call(guard, path, method, ids, "eve")
    if path.endswith("/commands") and response.status_code == 200:
        # A command is answered in words of its own.
        assert response.json()["type"] == "error", response.text
    else:
        assert response.status_code == 404, response.text
    assert "ada" not in response.text.replace(ids["thread_id"], "")


@pytest.mark.parametrize(("user", "code"), [(None, 4401), ("ada:deny", 4403), ("eve", 4404)])
async def test_a_websocket_is_closed_with_the_reason(guard, ids, user, code):
    url = f"{guard.url.replace('http', 'ws')}/threads/{ids['thread_id']}/stream/events"
    async with websockets.connect(url, additional_headers=bearer(user) if user else {}) as socket:
        with pytest.raises(ConnectionClosedError) as closed:
            await socket.recv()
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code


async def test_it_is_all_still_there_for_its_owner(guard, ids):
    """After everything that others have tried."""
    ada = sdk_of(guard, "ada")
    thread = await ada.threads.get(ids["thread_id"])
    assert thread["metadata"]["owner"] == "ada"
    assert thread["status"] == "idle"
    [run] = await ada.runs.list(ids["thread_id"])
    assert (run["run_id"], run["status"]) == (ids["run_id"], "success")
    assert (await ada.assistants.get(ids["assistant_id"]))["name"] == "Untitled"
    assert (await ada.crons.search())[0]["cron_id"] == ids["cron_id"]
    assert (await ada.store.get_item(["ada", "n"], "k")) is None, "the namespace is rewritten once"
    assert (await ada.store.get_item(["n"], "k"))["value"] == {"of": "ada"}
    assert (await sdk_of(guard, "eve").store.get_item(["n"], "k")) is None


@pytest.mark.parametrize(
    ("path", "body"),
    [("/agent/start", {"agent": "agent", "input": {}}), ("/chat", {}),
     ("/inbox/019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e/answer", {"decision": "approve"})],
)  # fmt: skip
async def test_routes_without_owners_are_closed(guard, path, body):
    response = await guard.http.post(path, json=body, headers=bearer("ada"))
    assert response.status_code == 403
    assert "/threads" in response.json()["detail"]


async def test_a_broken_handler_lets_nobody_in_and_shows_nothing(guard, ids):
    for mode in ("broken", "broken-who"):
        response = await guard.http.get(f"/threads/{ids['thread_id']}", headers=bearer(f"ada:{mode}"))
        assert response.status_code == 500
        assert "provider" not in response.text
        assert "bug" not in response.text


async def test_the_sdk_raises_its_own_errors(guard, ids):
    with pytest.raises(AuthenticationError):
        await guard.sdk.threads.search()
    with pytest.raises(PermissionDeniedError):
        await sdk_of(guard, "ada:deny").threads.search()
    with pytest.raises(NotFoundError):
        await sdk_of(guard, "eve").threads.get(ids["thread_id"])


async def test_open_paths_ask_nobody(guard):
    for path in ("/ok", "/health", "/health/live"):
        assert (await guard.http.get(path)).status_code == 200, path


async def test_what_the_server_says_of_itself_it_says_to_whom_it_knows(guard):
    for path in ("/info", "/metrics", "/docs", "/openapi.json"):
        assert (await guard.http.get(path)).status_code == 401, path
        assert (await guard.http.get(path, headers=bearer("ada"))).status_code == 200, path


async def test_the_body_can_be_asked_for_and_is_still_there_for_the_route(guard):
    response = await guard.http.post("/assistants", json={"graph_id": "agent", "name": "zoe"}, headers=bearer("x:body"))
    assert response.status_code == 200
    assert response.json()["metadata"]["owner"] == "body-zoe"


async def test_a_handler_may_rewrite_what_was_sent(guard):
    made = await sdk_of(guard, "ada:rewrite").assistants.create("agent", name="helper")
    assert made["name"] == "helper of ada"
    assert made["metadata"]["rewritten"] is True


async def test_the_run_knows_who_asked_for_it(guard):
    ada = sdk_of(guard, "ada")
    values = await ada.runs.wait(None, "see", input={})
    configurable = values["seen"]["configurable"]
    assert configurable["langgraph_auth_user_id"] == "ada"


async def test_studio_is_nobody_special_unless_the_settings_say_so(databases, open_runtime, tmp_path, guard):
    from outlast.settings import ServerSettings

    studio = {"x-auth-scheme": "langsmith"}
    assert (await guard.http.post("/threads/search", json={}, headers=studio)).status_code == 401
    trusting = {"settings": {"server": ServerSettings(studio=True)}}
    async with guarded(databases, open_runtime, tmp_path, **trusting) as server:
        response = await server.http.post("/threads", json={}, headers=studio)
        assert response.status_code == 200, response.text
        assert response.json()["metadata"]["owner"] == "langgraph-studio-user"


async def test_studio_can_be_switched_off_by_the_project(databases, open_runtime, tmp_path):
    from outlast.settings import ServerSettings

    given = {"auth": {"disable_studio_auth": True}, "settings": {"server": ServerSettings(studio=True)}}
    async with guarded(databases, open_runtime, tmp_path, **given) as server:
        headers = {"x-auth-scheme": "langsmith"}
        assert (await server.http.post("/threads", json={}, headers=headers)).status_code == 401


# which handler is asked


def auth_with(*names: str) -> Auth:
    auth = Auth()
    places: dict[str, Any] = {
        "threads.create": auth.on.threads.create,
        "threads.*": auth.on.threads,
        "*.create": auth.on(actions="create"),
        "*": auth.on,
    }
    for name in names:

        async def handler(ctx, value, name=name):
            value["asked"] = name

        places[name](handler)
    return auth


@pytest.mark.parametrize(
    ("registered", "asked"),
    [
        (("threads.create", "threads.*", "*.create", "*"), "threads.create"),
        (("threads.*", "*.create", "*"), "threads.*"),
        (("*.create", "*"), "*.create"),
        (("*",), "*"),
        ((), None),
    ],
)
async def test_the_most_specific_handler_and_no_other(registered, asked):
    user = User("ada", (), as_user("ada"))
    decision = await decided(auth_with(*registered), user, "threads", "create", {})
    assert decision.value.get("asked") == asked


async def test_ids_are_uuids_for_handlers_and_texts_for_us():
    from uuid import UUID

    auth = Auth()
    seen = {}

    @auth.on.threads
    async def handler(ctx, value):
        seen.update(value)

    id_ = "0190a000-0000-7000-8000-00000000ada0"
    given = {"thread_id": id_, "assistant_id": "agent", "run_id": None}
    decision = await decided(auth, User("ada", (), as_user("ada")), "threads", "read", given)
    assert seen["thread_id"] == UUID(id_)
    assert decision.value == given


# what authenticate may answer


@pytest.mark.parametrize("answer", [None, "", {}, False, {"identity": "ada", "is_authenticated": False}])
def test_answers_that_are_nobody(answer):
    assert as_user(answer) is None


@pytest.mark.parametrize("answer", [{"name": "ada"}, {"identity": 7}, {"identity": ""}, object(), 7])
def test_answers_that_describe_no_user(answer):
    with pytest.raises(ConfigurationError, match="identity"):
        as_user(answer)


class Person:
    identity = "ada"
    display_name = "Ada"
    is_authenticated = True
    permissions = ("read",)


@pytest.mark.parametrize("answer", ["ada", {"identity": "ada"}, Person()])
def test_answers_that_are_somebody(answer):
    user = as_user(answer)
    assert user is not None
    assert user.identity == "ada"
    assert user.to_json()["identity"] == "ada"


def test_what_a_run_keeps_of_its_user_is_json():
    user = as_user({"identity": "ada", "roles": {"x"}, 7: object()})
    assert user is not None
    assert user.to_json()["permissions"] == []


def test_a_parameter_that_nobody_can_fill_is_an_error():
    async def handler(authorization, database): ...

    with pytest.raises(ConfigurationError, match="database"):
        parameters_of(handler)


def test_a_sync_handler_and_defaults_are_fine():
    def handler(headers, *, cache=None): ...

    assert parameters_of(handler) == ("headers",)


@pytest.mark.parametrize(("status", "title"), [(403, "Forbidden"), (440, "Error"), (599, "Error")])
def test_a_handler_may_refuse_with_any_status_and_any_detail(status, title):
    refused = as_http(Auth.exceptions.HTTPException(status, detail={"why": "late"}))  # pyright: ignore[reportArgumentType]

    answer = json.loads(problem(refused.status_code, "http_error", refused.detail).body)

    assert (answer["status"], answer["title"], answer["detail"]) == (status, title, "{'why': 'late'}")


async def test_the_auth_of_the_documentation_works_as_it_is_shown():
    from pathlib import Path

    page = (Path(__file__).parents[2] / "docs" / "langgraph-json.md").read_text()
    names: dict[str, Any] = {}
    exec(page.split("```python\n")[1].split("```")[0], names)
    auth = names["auth"]
    user = as_user(await names["authenticate"]("Bearer secret-of-ada"))
    assert user is not None
    made = await decided(auth, user, "threads", "create", {})
    assert made.value["metadata"] == {"owner": "ada"}
    assert made.access == 'strict ($."owner" == "ada")'
    assert (await decided(auth, user, "store", "put", {"namespace": ("a",)})).value["namespace"] == ("ada", "a")
