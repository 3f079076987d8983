"""No route reads a body that is deep, compressed, too large, or not the JSON that all parsers agree on."""

import json
import re
from uuid import UUID

import pytest

JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
async def routes(idle_api) -> list[tuple[str, str]]:
    """Every method and path that takes a body, from the API's own description."""
    paths = (await idle_api.http.get("/openapi.json")).json()["paths"]
    found = [
        (method.upper(), re.sub(r"\{.*?\}", "0190a000-0000-7000-8000-000000000000", path))
        for path, methods in paths.items()
        for method, operation in methods.items()
        if "requestBody" in operation
    ]
    assert len(found) > 30
    return found


async def answers(api, routes, content, **headers):
    """Return what each route says: status, code and field."""
    said = set()
    for method, path in routes:
        response = await api.http.request(method, path, content=content, headers=headers or JSON)
        problem = response.json() if response.content else {}
        said.add((method, path, response.status_code, problem.get("code"), problem.get("field")))
    return said


def all_are(said, *expected):
    return [answer for answer in said if answer[2:] != expected]


@pytest.mark.parametrize("depth", [73, 253, 255, 1000])
async def test_no_route_walks_into_a_deep_body(idle_api, routes, depth):
    content = b'{"metadata":' + b'{"a":' * (depth - 1) + b"{}" + b"}" * (depth - 1) + b"}"
    assert not all_are(await answers(idle_api, routes, content), 422, "invalid_input", "metadata")


@pytest.mark.parametrize("content", [b"[" * 80 + b"]" * 80, b"[" * 2000, b"[" * 2000 + b"]" * 2000, b'{"a":' * 500_000])
async def test_no_route_walks_into_deep_lists(idle_api, routes, content):
    assert not all_are(await answers(idle_api, routes, content), 422, "invalid_input", "body")


async def test_the_place_that_is_too_deep_is_named(idle_api):
    body = [{"assistant_id": "echo"}, {"assistant_id": "echo", "input": json.loads("[" * 90 + "]" * 90)}]
    problem = (await idle_api.http.post("/runs/batch", json=body)).json()
    assert (problem["code"], problem["field"]) == ("invalid_input", "body")
    assert problem["detail"].startswith("[1].input[0][0]")
    assert problem["detail"].endswith("is nested deeper than 72 levels")


async def test_brackets_in_a_text_are_no_levels(idle_api):
    body = {"agent": "echo", "input": '[{"\\' * 10_000}
    assert (await idle_api.http.post("/agent/start", json=body)).status_code == 202


@pytest.mark.parametrize(
    "number",
    [b"NaN", b"-Infinity", b"1e999", b"-1e999", b"1" * 400, b"-" + b"9" * 100_000, b"01", b"0x10", b"+1", b".5"],
)
async def test_no_route_reads_a_number_that_is_none(idle_api, routes, number):
    said = await answers(idle_api, routes, b'{"metadata":{"a":' + number + b"}}")
    assert not all_are(said, 422, "invalid_input", "body")


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br", "zstd", "GZIP", "gzip, identity", ""])
async def test_no_route_reads_a_compressed_body(idle_api, routes, encoding):
    said = await answers(idle_api, routes, b"{}", **JSON, **{"Content-Encoding": encoding})
    assert not all_are(said, 415, "unsupported_media_type", None)


async def test_an_encoding_is_not_hidden_behind_another(idle_api):
    headers = [("Content-Type", "application/json"), ("Content-Encoding", "gzip"), ("Content-Encoding", "identity")]
    response = await idle_api.http.post("/agent/start", content=b"{}", headers=headers)
    assert response.status_code == 415


@pytest.mark.parametrize(
    "media", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"]
)
async def test_no_route_reads_what_a_page_can_send_without_asking(idle_api, routes, media):
    said = await answers(idle_api, routes, b"{}", **{"Content-Type": media})
    assert not all_are(said, 415, "unsupported_media_type", None)


async def test_of_two_fields_of_one_name_the_last_one_counts_for_everybody(idle_api):
    content = b'{"agent":"no-such","agent":"echo","input":1,"metadata":{"a":1,"a":2}}'
    started = await idle_api.http.post("/agent/start", content=content, headers=JSON)
    assert started.status_code == 202
    run = await idle_api.runtime.queue.store.get(UUID(started.json()["task_id"]))
    assert (run.agent, run.metadata) == ("echo", {"a": 2})
