"""The one place where a request is let in."""

import asyncio

import httpx
import pytest
from fastapi import APIRouter, FastAPI
from starlette.responses import PlainTextResponse, StreamingResponse

from outlast.domain.acting import ANYBODY, acting_for, principal
from outlast.server import problems
from outlast.server.auth.guard import guard
from outlast.server.auth.loading import load_callers
from outlast.settings import AuthSettings
from outlast.storage.postgres.api_keys import ApiKeyStore

router = APIRouter()


@router.get("/info")
async def streamed() -> StreamingResponse:
    async def parts():
        yield f"{principal().tenant} "
        await asyncio.sleep(0)
        yield await asyncio.create_task(_in_a_task())

    return StreamingResponse(parts())


@router.get("/usage")
def in_a_thread() -> PlainTextResponse:
    return PlainTextResponse(str(principal().tenant))


@router.get("/nobody/has/thought/of/this")
async def forgotten() -> PlainTextResponse:
    return PlainTextResponse("in")


@router.get("/ok")
async def public() -> PlainTextResponse:
    scopes = principal().scopes
    return PlainTextResponse(f"{principal().tenant} {'everything' if scopes is None else sorted(scopes)}")


async def _in_a_task() -> str:
    return str(principal().user)


def app_of(callers):
    app = FastAPI(openapi_url=None)
    app.state.auth = callers
    problems.install(app)
    guard(app, [router], callers)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")


@pytest.fixture
async def locked(open_runtime, database_url):
    """A client of an app that asks for keys, and a key of ann's."""
    async with open_runtime(database_url, auth=AuthSettings(keys=True)) as runtime:
        with acting_for("acme"):
            _, minted = await ApiKeyStore(runtime.pool).create(scopes=frozenset({"usage:read"}), user="ann")
        async with app_of(load_callers(runtime)) as http:
            yield http, {"x-api-key": minted.text}


async def test_a_request_acts_for_its_caller_to_the_last_byte_and_so_do_its_tasks(locked):
    http, key = locked
    assert (await http.get("/info", headers=key)).text == "acme ann"
    assert (await http.get("/usage", headers=key)).text == "acme"
    assert principal() == ANYBODY


async def test_requests_at_the_same_time_are_not_mixed_up(locked):
    http, key = locked
    answers = await asyncio.gather(
        *(http.get("/info" if number % 2 else "/ok", headers=key if number % 2 else {}) for number in range(40))
    )
    assert [answer.text for answer in answers] == ["default []", "acme ann"] * 20


async def test_a_route_that_nobody_has_thought_of_is_closed(locked):
    http, key = locked
    assert (await http.get("/nobody/has/thought/of/this", headers=key)).status_code == 403
    async with app_of(None) as open_to_all:
        refused = await open_to_all.get("/nobody/has/thought/of/this")
        assert refused.status_code == 403
        assert "outlast.server.auth.scopes" in refused.json()["detail"]
        assert (await open_to_all.get("/info")).text == "default None"


async def test_a_refusal_says_how_to_sign_in_and_what_is_missing(locked):
    http, _ = locked
    refused = await http.get("/usage")
    assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
    assert refused.json()["code"] == "unauthenticated"


async def test_on_public_routes_nobody_acts_with_any_scope(locked):
    http, key = locked
    assert (await http.get("/ok", headers=key)).text == "default []"


async def test_a_method_that_is_not_there_is_still_405(locked):
    http, key = locked
    assert (await http.post("/usage", headers=key)).status_code == 405
