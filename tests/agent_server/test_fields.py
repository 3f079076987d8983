"""Every field that an SDK can send is in the documentation and in the server, and nothing else is taken."""

import re
import shutil
from pathlib import Path
from typing import Any

import orjson
import pytest
from agent_server_api import some_id
from javascript import SCRIPTS, node
from sdk_requests import Sent, sent_by_python

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "agent-server.md"
_ROUTE = re.compile(r"`(GET|POST|PUT|PATCH|DELETE) (/[^`]*)`")
_NAME = re.compile(r"`(\??[a-z_]+)`")


async def sent_by_javascript(packages: Path) -> set[Sent]:
    script = packages / "fields.mjs"
    shutil.copy(SCRIPTS / "fields.mjs", script)
    return {
        Sent(request["method"], request["path"], field)
        for request in orjson.loads(await node(script))
        for field in request["fields"] or [""]
    }


def documented() -> dict[tuple[str, str], dict[str, str]]:
    """Return (method, path) -> field -> what the documentation says of it."""
    section = PAGE.read_text().split("## Fields", 1)[1].split("\n## ", 1)[0]
    routes: dict[tuple[str, str], dict[str, str]] = {}
    here: list[dict[str, str]] = []
    for line in section.splitlines():
        if line.startswith("### "):
            here = [routes.setdefault(route, {}) for route in _ROUTE.findall(line)]
        elif line.startswith("| `"):
            names, text = line[1:].split("|", 1)
            for fields in here:
                fields.update(dict.fromkeys(_NAME.findall(names), text))
    return routes


@pytest.fixture
async def described(server):
    """(method, path) -> fields, as the server's own description has them."""
    schema = (await server.http.get("/openapi.json")).json()
    return {
        (method.upper(), _plain(path)): _query(operation) | _body(schema, operation)
        for path, methods in schema["paths"].items()
        for method, operation in methods.items()
    }


def _plain(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "{}", path)


def _query(operation) -> set[str]:
    return {f"?{item['name']}" for item in operation.get("parameters", ()) if item["in"] == "query"}


def _body(schema, operation) -> set[str]:
    body = operation.get("requestBody")
    return set() if body is None else _properties(schema, body["content"]["application/json"]["schema"])


def _properties(schema, part) -> set[str]:
    if "$ref" in part:
        part = schema["components"]["schemas"][part["$ref"].rpartition("/")[2]]
    found = set(part.get("properties", ()))
    for inner in (*part.get("anyOf", ()), *part.get("allOf", ()), *part.get("oneOf", ())):
        found |= _properties(schema, inner)
    return found | (_properties(schema, part["items"]) if "items" in part else set())


def missing_from(pages: dict[tuple[str, str], dict[str, str]], sent: set[Sent]) -> list[Sent]:
    return [
        item
        for item in sorted(sent)
        if (item.method, item.path) not in pages or (item.field and item.field not in pages[item.method, item.path])
    ]


async def test_the_documentation_has_every_field_of_the_python_sdk():
    sent = await sent_by_python()
    assert len({(item.method, item.path) for item in sent}) > 45
    assert not missing_from(documented(), sent)


async def test_the_documentation_has_every_field_of_the_javascript_sdk(packages):
    sent = await sent_by_javascript(packages)
    assert len({(item.method, item.path) for item in sent}) > 45
    # A batch may be spelled as JavaScript spells it; a test of batches sends it.
    assert not missing_from(documented(), {item._replace(field=_snake(item)) for item in sent})


def _snake(sent: Sent) -> str:
    if sent.path != "/runs/batch":
        return sent.field
    return re.sub(r"[A-Z]", lambda letter: f"_{letter[0].lower()}", sent.field)


@pytest.mark.parametrize("page", ["README.md", "docs/agent-server.md"])
async def test_the_example_of_the_documentation_works(server, page):
    shown = re.findall(r"^```python\n(.*?)^```", (ROOT / page).read_text(), re.DOTALL | re.MULTILINE)
    (example,) = [text for text in shown if "langgraph_sdk" in text]
    lines = example.replace("http://localhost:8123", server.url).splitlines()
    printed: list[tuple[object, ...]] = []
    scope: dict[str, Any] = {"print": lambda *words: printed.append(words)}
    exec("async def main():\n" + "\n".join(f"    {line}" for line in lines) + "\n    await client.aclose()", scope)
    await scope["main"]()
    events = [words[0] for words in printed]
    assert events[0] == "metadata"
    assert "values" in events


async def test_the_server_has_every_field_of_the_documentation(described):
    missing = [
        (*route, field)
        for route, fields in documented().items()
        for field in (fields or {"": ""})
        if (route[0], _plain(route[1])) not in described
        or (field and field not in described[route[0], _plain(route[1])])
    ]
    assert not missing


async def test_the_documentation_has_every_field_of_the_server(described):
    pages = {(method, _plain(path)): set(fields) for (method, path), fields in documented().items()}
    extra = [(*route, field) for route, known in pages.items() for field in described[route] - known]
    assert not extra


def _sample(path: str) -> str:
    return re.sub(r"\{[^}]*\}", "00000000-0000-4000-8000-000000000000", path)


async def test_an_unknown_field_is_named_on_every_route(server, described):
    with_bodies = [
        (method, path)
        for method, path in documented()
        if {field for field in described[method, _plain(path)] if not field.startswith("?")}
    ]
    assert len(with_bodies) > 25
    for method, path in with_bodies:
        body = {"no_such_field": 1}
        response = await server.http.request(method, _sample(path), json=[body] if path.endswith("/batch") else body)
        assert response.status_code == 422, (method, path, response.text)
        assert "no_such_field" in str(response.json()["errors"]), (method, path)


_RUN = {"assistant_id": "steps", "input": {}}
_CHECKPOINT = {"checkpoint_ns": "", "checkpoint_id": "1f0c0000-0000-6000-8000-000000000000"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/runs", {**_RUN, "checkpoint": _CHECKPOINT}, "checkpoint"),
        ("/runs/wait", {**_RUN, "checkpoint_id": "x"}, "checkpoint_id"),
        ("/runs", {**_RUN, "stream_mode": "tools"}, "stream_mode"),
        ("/runs/wait", {**_RUN, "stream_mode": ["values", "lifecycle"]}, "stream_mode"),
        ("/runs", {**_RUN, "on_disconnect": "cancel"}, "on_disconnect"),
        ("/threads/{}/runs", {**_RUN, "on_completion": "delete"}, "on_completion"),
        ("/runs", {**_RUN, "langsmith_tracer": {"project_name": "p"}}, "langsmith_tracer"),
        ("/store/items/search", {"namespace_prefix": ["a"], "query": "near"}, "query"),
    ],
)
async def test_what_is_not_carried_out_is_refused(server, thread_id, path, body, field):
    response = await server.http.post(path.format(thread_id), json=body)
    assert response.status_code == 422, response.text
    assert response.json()["code"] == "not_supported"
    assert response.json()["field"] == field


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"assistant_id": None}, "assistant_id"),
        ({"assistant_id": ""}, "assistant_id"),
        ({"stream_mode": "everything"}, "stream_mode"),
        ({"stream_subgraphs": "yes"}, "stream_subgraphs"),
        ({"multitask_strategy": "later"}, "multitask_strategy"),
        ({"if_not_exists": "maybe"}, "if_not_exists"),
        ({"durability": "never"}, "durability"),
        ({"durability": "sync", "checkpoint_during": False}, "checkpoint_during"),
        ({"after_seconds": -1}, "after_seconds"),
        ({"after_seconds": 1e308}, "after_seconds"),
        ({"config": {"recursion_limit": 0}}, "config.recursion_limit"),
        ({"config": {"recursion": 1}}, "config.recursion"),
        ({"config": {"configurable": {"checkpoint_id": 5}}}, "config.configurable.checkpoint_id"),
        ({"command": {"resumes": 1}, "input": None}, "command.resumes"),
        ({"checkpoint": {"id": "x"}}, "checkpoint.id"),
        ({"webhook": "ftp://example.com"}, "webhook"),
        ({"webhook": "http://127.0.0.1:1/x"}, "webhook"),
        ({"interrupt_before": "talk"}, "interrupt_before"),
        ({"interrupt_before": ["one", "four"]}, "interrupt_before"),
        ({"interrupt_after": ["\0"]}, "interrupt_after"),
        ({"command": {"goto": "four"}, "input": None}, "command.goto"),
        ({"command": {"goto": ["one", {"node": "four", "input": 1}]}, "input": None}, "command.goto"),
        ({"metadata": {"a": [[[[[[[[0]]]]]]]] * 1}, "context": "x"}, "context"),
    ],
)
async def test_a_wrong_field_is_named(server, thread_id, change, field):
    response = await server.http.post(f"/threads/{thread_id}/runs", json={**_RUN, **change})
    assert response.status_code == 422, response.text
    assert response.json()["field"].startswith(field)


async def test_javascripts_patch_of_a_state_merges_the_threads_metadata(server, thread_id):
    for metadata in ({"a": 1}, {"b": 2}):
        path = f"/threads/{thread_id}/state"
        assert (await server.http.patch(path, json={"metadata": metadata})).status_code == 204
    thread = await server.sdk.threads.get(thread_id)
    assert {"a": 1, "b": 2}.items() <= thread["metadata"].items()
    missing = await server.http.patch(f"/threads/{some_id()}/state", json={"metadata": {}})
    assert missing.status_code == 404


async def test_what_is_too_deep_is_refused(server, thread_id):
    deep: object = 0
    for _ in range(70):
        deep = [deep]
    for field in ("input", "metadata", "context", "config", "command"):
        value = {"configurable": {"x": deep}} if field == "config" else {"x": deep}
        body = {"assistant_id": "steps", field: {"update": value} if field == "command" else value}
        response = await server.http.post(f"/threads/{thread_id}/runs", json=body)
        assert response.status_code == 422, (field, response.text)
        assert "deeper" in response.json()["detail"]
