"""What a project's auth makes of runs: rewritten, refused, on one's own threads alone, in one's own name."""

from collections.abc import AsyncIterator

import pytest
from agent_server_api import Server, served, some_id, write_project
from langgraph_sdk import get_client
from langgraph_sdk.errors import NotFoundError, PermissionDeniedError, UnprocessableEntityError

from outlast.testing.postgres import Databases
from runtimes import Opens

AUTH = """
from langgraph_sdk import Auth

auth = Auth()


@auth.authenticate
async def who(authorization):
    return authorization and {"identity": authorization, "permissions": ["run"]}


@auth.on.threads
async def owned(ctx, value):
    return {"owner": ctx.user.identity}


@auth.on.assistants
async def no_assistants(ctx, value):
    return {"owner": ctx.user.identity}


@auth.on.threads.create_run
async def run(ctx, value):
    given = value["kwargs"].get("input") or {}
    if given.get("given") == "refuse":
        return False
    if given.get("given") == "rewrite":
        value["metadata"]["by"] = ctx.user.identity
        value["kwargs"]["input"] = {"given": "rewritten"}
        value["kwargs"]["config"] = {"configurable": {"tone": "theirs"}}
    if given.get("given") == "damage":
        value["kwargs"]["stream_mode"] = "nonsense"
    return {"owner": ctx.user.identity}
"""


@pytest.fixture(scope="module")
async def guarded(
    databases: Databases, open_runtime: Opens, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Server]:
    root = tmp_path_factory.mktemp("guarded")
    (root / "run_auth.py").write_text(AUTH)
    project = write_project(root, auth={"path": "./run_auth.py:auth"})
    url = await databases.create()
    async with served(lambda url, **more: open_runtime(url, project=project, **more), url) as server:
        yield server
    await databases.leave(url)


@pytest.fixture
async def ada(guarded: Server) -> AsyncIterator:
    async with get_client(url=guarded.url, api_key=None, headers={"Authorization": "ada"}) as client:
        yield client


@pytest.fixture
async def bob(guarded: Server) -> AsyncIterator:
    async with get_client(url=guarded.url, api_key=None, headers={"Authorization": "bob"}) as client:
        yield client


async def test_a_run_is_in_the_name_of_its_user(ada):
    seen = (await ada.runs.wait(None, "see", input={}))["seen"]
    assert seen["configurable"]["langgraph_auth_user_id"] == "ada"


async def test_a_handler_rewrites_what_is_run(ada):
    thread = await ada.threads.create()
    values = await ada.runs.wait(thread["thread_id"], "see", input={"given": "rewrite"}, metadata={"mine": 1})
    assert values["given"] == "rewritten"
    assert values["seen"]["configurable"]["tone"] == "theirs"
    (run,) = await ada.runs.list(thread["thread_id"])
    assert run["metadata"].items() >= {"mine": 1, "by": "ada"}.items()
    assert run["kwargs"]["input"] == {"given": "rewritten"}


async def test_a_handler_refuses(ada):
    with pytest.raises(PermissionDeniedError):
        await ada.runs.create(None, "see", input={"given": "refuse"})


async def test_what_a_handler_damages_is_named(ada):
    with pytest.raises(UnprocessableEntityError) as refused:
        await ada.runs.create(None, "see", input={"given": "damage"})
    assert refused.value.body["field"].startswith("stream_mode")


async def test_another_ones_thread_is_not_there(ada, bob):
    thread_id = (await ada.threads.create())["thread_id"]
    run = await ada.runs.create(thread_id, "see", input={})
    await ada.runs.join(thread_id, run["run_id"])
    for call in (
        lambda: bob.runs.create(thread_id, "see", input={}),
        lambda: bob.runs.create(thread_id, "see", input={}, if_not_exists="create"),
        lambda: bob.runs.create(thread_id, "see", input={}, multitask_strategy="rollback"),
        lambda: bob.runs.create_batch([{"assistant_id": "see", "thread_id": thread_id}]),
        lambda: bob.runs.list(thread_id),
        lambda: bob.runs.get(thread_id, run["run_id"]),
        lambda: bob.runs.cancel(thread_id, run["run_id"]),
        lambda: bob.runs.cancel_many(thread_id=thread_id, run_ids=[run["run_id"]]),
        lambda: bob.runs.cancel_many(status="all"),
        lambda: bob.runs.delete(thread_id, run["run_id"]),
    ):
        with pytest.raises(NotFoundError):
            await call()
    for path in ("join", "stream"):
        response = await bob.http.client.get(f"/threads/{thread_id}/runs/{run['run_id']}/{path}")
        assert response.status_code == 404
    for path in ("wait", "stream"):
        response = await bob.http.client.post(f"/threads/{thread_id}/runs/{path}", json={"assistant_id": "see"})
        assert response.status_code == 404
    assert len(await ada.runs.list(thread_id)) == 1


async def test_a_thread_that_a_run_makes_is_its_users(ada, bob):
    thread_id = some_id()
    run = await ada.runs.create(thread_id, "see", input={}, if_not_exists="create")
    await ada.runs.join(thread_id, run["run_id"])
    assert (await ada.threads.get(thread_id))["metadata"]["owner"] == "ada"
    with pytest.raises(NotFoundError):
        await bob.threads.get(thread_id)


async def test_a_graph_is_everybodys_and_an_assistant_is_its_owners(ada, bob):
    assistant = await ada.assistants.create("see", config={"configurable": {"tone": "hers"}})
    assert (await ada.runs.wait(None, assistant["assistant_id"], input={}))["seen"]["configurable"]["tone"] == "hers"
    with pytest.raises(NotFoundError):
        await bob.runs.create(None, assistant["assistant_id"], input={})
    assert (await bob.runs.wait(None, "see", input={}))["seen"]


async def test_nobody_runs_nothing(guarded):
    response = await guarded.http.post("/runs", json={"assistant_id": "see"})
    assert response.status_code == 401
