"""Who judges which credential, and what becomes of it."""

import pytest
from identity_provider import AUDIENCE, RSA, pem, token
from langgraph_sdk import Auth
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection

from outlast.domain.access import ADMIN
from outlast.domain.acting import DEFAULT_TENANT, across_tenants, acting_for
from outlast.errors import ConfigurationError, Unauthenticated
from outlast.refusals import RateLimited
from outlast.server.auth.authenticate import Authenticator, parameters_of
from outlast.server.auth.callers import Callers
from outlast.server.auth.keyring import KeyRing
from outlast.server.auth.throttle import Throttle
from outlast.server.auth.tokens import Tokens
from outlast.settings_auth import AuthSettings, JwtSettings
from outlast.storage.postgres.api_keys import ApiKeyStore
from outlast.storage.postgres.audit import AuditLog

ISSUER = "https://login.example.com/"


@pytest.fixture
def asked():
    """What the project's own auth was asked about."""
    return []


@pytest.fixture
def callers_with(pool, asked):
    def build(user=None, *, project=True, keys=True, jwt=True, **settings):
        auth = Auth()

        @auth.authenticate
        async def who(authorization: str | None):
            asked.append(authorization)
            if user is None:
                raise Auth.exceptions.HTTPException(detail="no")
            return user

        return Callers(
            settings=AuthSettings(**settings),
            project=Authenticator(auth=auth, handler=who, parameters=parameters_of(who)) if project else None,
            keys=KeyRing(ApiKeyStore(pool), seconds=3) if keys else None,
            tokens=Tokens(JwtSettings(issuer=ISSUER, audience=(AUDIENCE,), public_key=pem(RSA))) if jwt else None,
            throttle=Throttle(settings.get("failures_per_minute", 60)),
            audit=AuditLog(pool, b"k" * 32),
        )

    return build


def asking(address="198.51.100.1", **headers):
    encoded = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    return HTTPConnection({"type": "http", "headers": encoded, "client": (address, 1)})


async def made(pool, tenant="acme"):
    with acting_for(tenant):
        return await ApiKeyStore(pool).create(scopes=frozenset({"runs:read"}), user="ann")


async def entries(pool):
    with across_tenants():
        async with pool.connection() as connection:
            # The log itself speaks of addresses by pseudonyms.
            cursor = await connection.execute(
                "SELECT l.tenant, l.action, coalesce(n.kind || ':' || n.name, l.object) FROM audit_log l"
                " LEFT JOIN audit_names n ON n.tenant = l.tenant AND l.object = n.kind || ':' || n.pseudonym"
                " ORDER BY l.tenant, l.seq"
            )
            return await cursor.fetchall()


# who judges


async def test_a_key_is_judged_by_the_keys(callers_with, pool, asked):
    key, minted = await made(pool)
    callers = callers_with("ada")
    for headers in ({"x_api_key": minted.text}, {"authorization": f"Bearer {minted.text}"}):
        caller = await callers.caller_of(asking(**headers))
        assert (caller.principal.tenant, caller.principal.key_id) == ("acme", key.key_id)
    assert asked == []


async def test_what_the_keys_have_refused_no_other_is_asked_about(callers_with, pool, asked):
    key, minted = await made(pool)
    with acting_for("acme"):
        await ApiKeyStore(pool).revoke(key.key_id)
    for text in (minted.text, "ok_not-whole"):
        with pytest.raises(Unauthenticated):
            await callers_with("ada").caller_of(asking(x_api_key=text))
    assert asked == []


async def test_a_token_of_the_provider_is_judged_by_its_keys(callers_with, asked):
    callers = callers_with("ada")
    caller = await callers.caller_of(asking(authorization=f"Bearer {token(ISSUER)}"))
    assert (caller.principal.tenant, caller.principal.user) == ("acme", "ann")
    with pytest.raises(Unauthenticated):
        await callers.caller_of(asking(authorization=f"Bearer {token(ISSUER, exp=1)}"))
    assert asked == []


async def test_everything_else_is_the_projects(callers_with, asked):
    callers = callers_with("ada")
    for headers in ({"authorization": f"Bearer {token('https://other')}"}, {"x_api_key": "lsv2_pt_1"}, {}):
        assert (await callers.caller_of(asking(**headers))).principal.user == "ada"
    assert len(asked) == 3


async def test_a_langsmith_key_beside_a_bearer_key_is_no_matter(callers_with, pool):
    """langgraph_sdk sends what it finds in the environment."""
    _, minted = await made(pool)
    caller = await callers_with(project=False).caller_of(
        asking(x_api_key="lsv2_pt_1", authorization=f"Bearer {minted.text}")
    )
    assert caller.principal.tenant == "acme"


async def test_where_there_is_nothing_but_keys_it_says_so(callers_with):
    with pytest.raises(Unauthenticated, match="API key"):
        await callers_with(project=False, jwt=False).caller_of(asking())


# the project's own users


@pytest.mark.parametrize(
    ("user", "tenant"),
    [
        ("ada", DEFAULT_TENANT),
        ({"identity": "ada", "tenant": "acme"}, "acme"),
        ({"identity": "ada", "tenant": None}, DEFAULT_TENANT),
    ],
)
async def test_an_attribute_names_the_tenant(callers_with, user, tenant):
    assert (await callers_with(user).caller_of(asking())).principal.tenant == tenant


async def test_another_attribute_may_name_it(callers_with):
    user = {"identity": "ada", "tenant": "acme", "org": "globex"}
    assert (await callers_with(user, tenant_attribute="org").caller_of(asking())).principal.tenant == "globex"


@pytest.mark.parametrize("tenant", ["*", "", 7, ["acme"], "a b"])
async def test_what_names_no_tenant_is_nobodys(callers_with, tenant):
    """Least of all the default tenant's, where somebody else's things are."""
    with pytest.raises(ConfigurationError, match="tenant"):
        await callers_with({"identity": "ada", "tenant": tenant}).caller_of(asking())


@pytest.mark.parametrize(
    ("permissions", "settings", "scopes"),
    [
        (["runs:read", "blue"], {"permissions_are_scopes": True}, {"runs:read"}),
        (["admin"], {"permissions_are_scopes": True}, {"admin"}),
        (["blue"], {"permissions_are_scopes": True}, None),
        (["threads:write", "admin"], {}, None),
        ([], {}, None),
    ],
)
async def test_permissions_are_scopes_where_the_settings_say_so(callers_with, permissions, settings, scopes):
    user = {"identity": "ada", "permissions": permissions}
    got = (await callers_with(user, **settings).caller_of(asking())).principal.scopes
    if scopes is not None:
        assert got == scopes
    else:
        assert {"runs:write", "threads:write", "metrics:read"} <= got
        assert not {ADMIN, "keys:admin", "budgets:read"} & got, "being known is no reason to run the server"


# failures


async def test_who_fails_too_often_is_told_to_wait_and_the_project_is_asked_no_more(callers_with, asked):
    callers = callers_with(failures_per_minute=3)
    for _ in range(3):
        with pytest.raises(HTTPException) as refused:
            await callers.caller_of(asking(authorization="Bearer guess"))
        assert refused.value.status_code == 401
    with pytest.raises(RateLimited):
        await callers.caller_of(asking(authorization="Bearer guess"))
    assert len(asked) == 3
    with pytest.raises(HTTPException):
        await callers.caller_of(asking("198.51.100.2", authorization="Bearer guess"))


async def test_who_can_prove_it_is_let_in_whoever_else_has_that_address(callers_with, pool):
    _, minted = await made(pool)
    callers = callers_with(project=False, failures_per_minute=2)
    await callers.caller_of(asking(x_api_key=minted.text))
    for number in range(5):
        with pytest.raises((Unauthenticated, RateLimited)):
            await callers.caller_of(asking(x_api_key=f"ok_{'abcde'[number] * 16}_{'A' * 43}"))
    assert await callers.caller_of(asking(x_api_key=minted.text))
    assert await callers.caller_of(asking(authorization=f"Bearer {token(ISSUER)}"))


async def test_who_shows_nothing_guesses_nothing(callers_with, pool):
    callers = callers_with(project=False, failures_per_minute=2)
    for _ in range(5):
        with pytest.raises(Unauthenticated):
            await callers.caller_of(asking())
    assert await entries(pool) == []


async def test_failures_are_written_down_for_those_whom_they_concern(callers_with, pool):
    key, minted = await made(pool)
    with acting_for("acme"):
        await ApiKeyStore(pool).revoke(key.key_id)
    with pytest.raises(Unauthenticated):
        await callers_with(project=False).caller_of(asking(x_api_key=minted.text))
    assert await entries(pool) == [
        ("acme", "key.refused", f"key:{key.key_id}"),
        ("default", "auth.failed", "address:198.51.100.1"),
    ]
