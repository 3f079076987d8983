"""Every refusal has one shape, names the field, and tells nothing else."""

import json
import logging

import pytest

from outlast import errors, refusals
from outlast.server import problems

GOOD = {"agent": "echo", "input": 1}


def assert_problem(response, status, code, field=None):
    assert response.status_code == status, response.text
    assert response.headers["Content-Type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"urn:outlast:problem:{code}"
    assert (body["status"], body["code"]) == (status, code)
    assert body["title"]
    assert body["detail"]
    assert body.get("field") == field
    assert response.headers["Cache-Control"] == "no-store"
    assert response.headers["X-Request-Id"]
    return body


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "task"),
        ({"task": "x", "input": 1}, "task"),
        ({"task": ""}, "task"),
        ({"task": 7}, "task"),
        ({**GOOD, "agent": "ecko"}, "agent"),
        ({"input": 1}, "agent"),
        ({**GOOD, "theard_id": "x"}, "theard_id"),
        ({**GOOD, "thread_id": ""}, "thread_id"),
        ({**GOOD, "thread_id": "a\nb"}, "thread_id"),
        ({**GOOD, "thread_id": "a\0b"}, "thread_id"),
        ({**GOOD, "thread_id": "x" * 256}, "thread_id"),
        ({**GOOD, "thread_id": 7}, "thread_id"),
        ({**GOOD, "priority": True}, "priority"),
        ({**GOOD, "priority": 40_000}, "priority"),
        ({**GOOD, "priority": 2**70}, "priority"),
        ({**GOOD, "delay_seconds": -1}, "delay_seconds"),
        ({**GOOD, "delay_seconds": 1e300}, "delay_seconds"),
        ({**GOOD, "timeout_seconds": 0}, "timeout_seconds"),
        ({**GOOD, "max_attempts": "3"}, "max_attempts"),
        ({**GOOD, "metadata": []}, "metadata"),
        ({**GOOD, "config": {"recursion_limit": 0}}, "config.recursion_limit"),
        ({**GOOD, "config": {"callbacks": []}}, "config.callbacks"),
        ({**GOOD, "config": {"tags": ["a", 7]}}, "config.tags[1]"),
    ],
)
async def test_a_wrong_field_is_named(idle_api, body, field):
    response = await idle_api.http.post("/agent/start", json=body)
    assert_problem(response, 422, "invalid_input", field)


async def test_an_unknown_agent_gets_a_hint(idle_api):
    detail = (await idle_api.http.post("/agent/start", json={**GOOD, "agent": "ecko"})).json()["detail"]
    assert "did you mean 'echo'?" in detail
    assert "'count'" in detail


async def test_several_wrong_fields_are_all_named(idle_api):
    body = {**GOOD, "priority": "x", "one": 1, "two": 2}
    problem = (await idle_api.http.post("/agent/start", json=body)).json()
    assert {error["field"] for error in problem["errors"]} == {"priority", "one", "two"}


@pytest.mark.parametrize("content", [b"{", b"", b"[1,2", b'{"a": NaN}', b"\xff\xfe", b'"text"', b"[]", b"7", b"null"])
async def test_a_body_that_is_no_object(idle_api, content):
    response = await idle_api.http.post("/agent/start", content=content, headers={"Content-Type": "application/json"})
    assert_problem(response, 422, "invalid_input", "body")


@pytest.mark.parametrize(("depth", "status"), [(64, 202), (65, 422), (300, 422), (1000, 422), (100_000, 422)])
async def test_depth_is_limited_and_the_place_named(idle_api, depth, status):
    content = b'{"agent":"echo","input":' + b'{"a":[' * (depth // 2) + b"[]" * (depth % 2) + b"]}" * (depth // 2) + b"}"
    response = await idle_api.http.post("/agent/start", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    if 64 < depth < 1000:
        assert response.json()["field"] == "input"
        assert response.json()["detail"].startswith("input.a[0].a[0].a")


@pytest.mark.parametrize("where", ["metadata", "config"])
async def test_depth_is_limited_everywhere(idle_api, where):
    deep = json.loads('{"a":' * 70 + "1" + "}" * 70)
    body = {**GOOD, where: {"configurable": deep} if where == "config" else deep}
    assert_problem(await idle_api.http.post("/agent/start", json=body), 422, "invalid_input", where)


async def test_unknown_routes_and_methods(idle_api):
    assert_problem(await idle_api.http.get("/agents"), 404, "not_found")
    assert_problem(await idle_api.http.get("/agent/start/"), 404, "not_found")
    refused = await idle_api.http.get("/agent/start")
    assert_problem(refused, 405, "method_not_allowed")
    assert refused.headers["Allow"] == "POST"


async def test_who_misses_the_route_is_told_where_they_are_listed(idle_api):
    unknown = (await idle_api.http.post("/agent/strat", json=GOOD)).json()
    assert unknown["detail"] == "there is no /agent/strat; GET /docs lists what there is"
    refused = (await idle_api.http.get("/agent/start")).json()
    assert refused["detail"] == "GET is not for this path, POST is; GET /docs lists what there is"
    missing = (await idle_api.http.get("/agent/status/0190a000-0000-7000-8000-000000000000")).json()
    assert "/docs" not in missing["detail"], "the route is right, its run is not there"
    assert (await idle_api.http.get("/docs")).status_code == 200


@pytest.mark.parametrize("wait", ["-1", "nan", "inf", "x", ""])
async def test_a_wait_is_a_number_of_seconds(idle_api, wait):
    response = await idle_api.http.post("/agent/run", params={"wait": wait}, json=GOOD)
    assert_problem(response, 422, "invalid_input", "wait")


async def test_only_json_is_read(idle_api):
    form = await idle_api.http.post("/agent/start", data={"agent": "echo"})
    assert_problem(form, 415, "unsupported_media_type")
    plain = await idle_api.http.post("/agent/start", content=json.dumps(GOOD), headers={"Content-Type": "text/plain"})
    assert_problem(plain, 415, "unsupported_media_type")
    untold = await idle_api.http.post("/agent/start", content=json.dumps(GOOD))
    assert_problem(untold, 415, "unsupported_media_type")


async def test_compressed_bodies_are_refused(idle_api):
    headers = {"Content-Encoding": "gzip", "Content-Type": "application/json"}
    response = await idle_api.http.post("/agent/start", content=b"x", headers=headers)
    assert_problem(response, 415, "unsupported_media_type")


async def test_a_body_over_the_limit_is_refused(idle_api):
    limit = idle_api.runtime.settings.server.max_body_bytes
    response = await idle_api.http.post("/agent/start", json={**GOOD, "input": "x" * limit})
    assert_problem(response, 413, "body_too_large")
    just_fits = await idle_api.http.post("/agent/start", json={**GOOD, "input": "x" * (limit - 100)})
    assert just_fits.status_code == 202


async def test_bytes_are_counted_as_they_arrive(idle_api):
    sent = 0

    async def chunks():
        nonlocal sent
        yield b'{"agent":"echo","input":"'
        for _ in range(1000):
            sent += 1
            yield b"x" * 100_000

    response = await idle_api.http.post("/agent/start", content=chunks(), headers={"Content-Type": "application/json"})
    assert_problem(response, 413, "body_too_large")
    assert sent < 100, "the rest was not even read"


async def test_a_million_unknown_fields_are_one_error(idle_api):
    body = {str(number): 0 for number in range(100_000)}
    response = await idle_api.http.post("/agent/start", json=body)
    assert_problem(response, 422, "invalid_input")
    assert len(response.content) < 1000


async def test_a_request_id_is_kept_if_it_is_one(idle_api):
    given = await idle_api.http.get("/ok", headers={"X-Request-Id": "abc-1"})
    assert given.headers["X-Request-Id"] == "abc-1"
    wrong = await idle_api.http.get("/ok", headers={"X-Request-Id": "a b"})
    assert len(wrong.headers["X-Request-Id"]) == 32


async def test_what_nobody_expected_is_an_id_and_nothing_else(idle_api, monkeypatch, caplog):
    async def fail(_run_id):
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(type(idle_api.runtime.queue.store), "get", lambda _self, run_id: fail(run_id))
    with caplog.at_level(logging.ERROR):
        response = await idle_api.http.get("/agent/status/0190a000-0000-7000-8000-000000000000")
    problem = assert_problem(response, 500, "internal_error")
    assert "secret" not in response.text
    assert problem["error_id"] in caplog.text
    assert "secret of the house" in caplog.text


async def test_our_own_faults_are_an_id_and_nothing_else(idle_api, monkeypatch, caplog):
    async def fail(_run_id):
        raise errors.AgentLoadError("/home/someone/agent.py is broken")

    monkeypatch.setattr(type(idle_api.runtime.queue.store), "get", lambda _self, run_id: fail(run_id))
    with caplog.at_level(logging.ERROR):
        response = await idle_api.http.get("/agent/status/0190a000-0000-7000-8000-000000000000")
    assert_problem(response, 500, "internal_error")
    assert "someone" not in response.text
    assert "someone" in caplog.text


def test_every_error_has_a_status():
    def tree(kind):
        yield kind
        for below in kind.__subclasses__():
            yield from tree(below)

    ours = {errors.__name__, refusals.__name__}
    codes = {kind.code for kind in tree(errors.OutlastError) if kind.__module__ in ours}
    assert codes == problems.STATUS.keys()


async def test_the_description_names_the_bodies(idle_api):
    description = (await idle_api.http.get("/openapi.json")).json()
    start = description["paths"]["/agent/start"]["post"]
    assert start["requestBody"]["content"]["application/json"]["schema"]["$ref"].endswith("StartBody")
    assert start["responses"]["202"]["content"]["application/json"]["schema"]["$ref"].endswith("Started")
    assert "application/problem+json" in start["responses"]["4XX"]["content"]
    assert "422" not in start["responses"]
