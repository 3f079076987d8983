"""API keys over HTTP: nobody hands out more than they have."""

from collections.abc import AsyncIterator

import pytest
from server_api import Api, client_of

from outlast.domain.access import CLIENT_SCOPES
from outlast.domain.acting import across_tenants, acting_for
from outlast.settings import AuthSettings
from outlast.storage.postgres.api_keys import ApiKeyStore


@pytest.fixture(scope="module")
async def locked(databases, open_runtime) -> AsyncIterator[Api]:
    url = await databases.create()
    auth = AuthSettings(keys=True, failures_per_minute=0)
    async with open_runtime(url, auth=auth) as runtime, client_of(runtime) as http:
        yield Api(runtime, http)
    await databases.leave(url)


@pytest.fixture
async def admin(locked) -> dict[str, str]:
    """Headers of whoever looks after a tenant's keys."""
    with acting_for("acme"):
        scopes = {*CLIENT_SCOPES, "keys:admin"}
        _, minted = await ApiKeyStore(locked.runtime.pool).create(scopes=frozenset(scopes), user="root")
    return {"x-api-key": minted.text}


async def test_a_new_key_opens_what_it_is_for(locked, admin):
    body = {"name": "ci", "user": "ann", "scopes": ["threads:read"], "expires_in_seconds": 60}
    made = await locked.http.post("/keys", json=body, headers=admin)
    assert made.status_code == 201, made.text
    details = made.json()["details"]
    assert (details["tenant"], details["user"], details["scopes"]) == ("acme", "ann", ["threads:read"])
    assert details["expires_at"] is not None
    key = {"x-api-key": made.json()["key"]}
    assert (await locked.http.post("/threads/search", json={}, headers=key)).status_code == 200
    assert (await locked.http.post("/threads", json={}, headers=key)).status_code == 403


async def test_a_key_is_told_once(locked, admin):
    made = (await locked.http.post("/keys", json={}, headers=admin)).json()
    secret = made["key"].split("_", 2)[2]
    listed = await locked.http.get("/keys", headers=admin)
    assert made["details"]["key_id"] in listed.text
    assert secret not in listed.text


async def test_nobody_hands_out_what_they_do_not_have(locked, admin):
    for scope in ("admin", "metrics:read"):
        refused = await locked.http.post("/keys", json={"scopes": [scope]}, headers=admin)
        assert refused.status_code == 403, scope
        assert scope in refused.json()["detail"]
    with acting_for("acme"):
        strong, _ = await ApiKeyStore(locked.runtime.pool).create(scopes=frozenset({"admin"}))
    assert (await locked.http.post(f"/keys/{strong.key_id}/rotate", headers=admin)).status_code == 403


async def test_without_scopes_a_new_key_has_what_its_maker_has_and_a_client_needs(locked):
    with acting_for("acme"):
        _, minted = await ApiKeyStore(locked.runtime.pool).create(scopes=frozenset({"keys:admin", "runs:read"}))
    made = await locked.http.post("/keys", json={}, headers={"x-api-key": minted.text})
    assert made.json()["details"]["scopes"] == ["runs:read"]


async def test_both_keys_open_until_the_old_one_ends(locked, admin):
    old = (await locked.http.post("/keys", json={"scopes": ["threads:read"]}, headers=admin)).json()
    path = f"/keys/{old['details']['key_id']}/rotate"
    new = (await locked.http.post(path, json={"grace_seconds": 3600}, headers=admin)).json()
    for text in (old["key"], new["key"]):
        answer = await locked.http.post("/threads/search", json={}, headers={"x-api-key": text})
        assert answer.status_code == 200
    assert (await locked.http.post(path, headers=admin)).status_code == 409


async def test_a_revoked_key_is_gone_from_the_list_and_opens_nothing(locked, admin):
    made = (await locked.http.post("/keys", json={}, headers=admin)).json()
    path = f"/keys/{made['details']['key_id']}"
    assert (await locked.http.delete(path, headers=admin)).status_code == 204
    assert (await locked.http.delete(path, headers=admin)).status_code == 204
    assert path.rpartition("/")[2] not in (await locked.http.get("/keys", headers=admin)).text
    revoked = (await locked.http.get("/keys?all=true", headers=admin)).json()
    assert {key["state"] for key in revoked if key["key_id"] == path.rpartition("/")[2]} == {"revoked"}
    # It was never used here, so no process believes anything of it.
    assert (await locked.http.get("/info", headers={"x-api-key": made["key"]})).status_code == 401


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"scopes": ["runs:raed"]}, "scopes"),
        ({"user": ""}, "user"),
        ({"user": "a\x1b[2J"}, "user"),
        ({"expires_in_seconds": 0}, "expires_in_seconds"),
        ({"expires_in_seconds": 1e12}, "expires_in_seconds"),
        ({"tenant": "globex"}, "tenant"),
        ({"name": "a\0"}, "name"),
    ],
)
async def test_a_wrong_field_is_named(locked, admin, body, field):
    refused = await locked.http.post("/keys", json=body, headers=admin)
    assert refused.status_code == 422
    assert refused.json()["field"] == field


@pytest.mark.parametrize("key_id", ["aaaaaaaaaaaaaaaa", "%00", "x" * 3000])
async def test_a_key_that_is_not_there(locked, admin, key_id):
    assert (await locked.http.delete(f"/keys/{key_id}", headers=admin)).status_code == 404
    assert (await locked.http.post(f"/keys/{key_id}/rotate", headers=admin)).status_code == 404


async def test_what_was_done_is_in_the_audit_log(locked, admin):
    made = (await locked.http.post("/keys", json={}, headers=admin)).json()["details"]["key_id"]
    await locked.http.delete(f"/keys/{made}", headers=admin)
    with across_tenants():
        async with locked.runtime.pool.connection() as connection:
            rows = await (
                await connection.execute(
                    b"SELECT tenant, action FROM audit_log WHERE object = %(object)s ORDER BY seq",
                    {"object": f"key:{made}"},
                )
            ).fetchall()
    assert rows == [("acme", "key.created"), ("acme", "key.revoked")]
