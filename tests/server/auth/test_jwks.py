"""The keys of an identity provider: fetched when they are needed."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from identity_provider import AUDIENCE, EC, OTHER_RSA, RSA, Provider, jwk, providing, token
from starlette.exceptions import HTTPException

from outlast.errors import Unauthenticated
from outlast.server.auth.jwks import Jwks, KeysUnavailable
from outlast.server.auth.tokens import Tokens
from outlast.settings_auth import JwtSettings

HOUR = timedelta(hours=1)


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with providing() as provider:
        yield provider


def settings_of(provider: Provider, **more) -> JwtSettings:
    usual = {"issuer": provider.url, "audience": (AUDIENCE,), "jwks_url": f"{provider.url}/keys"}
    return JwtSettings(**{**usual, **more})


async def test_keys_are_fetched_once_for_all_who_ask(provider):
    tokens = Tokens(settings_of(provider))
    callers = await asyncio.gather(*(tokens.caller_of(token(provider.url)) for _ in range(20)))
    assert {caller.principal.user for caller in callers} == {"ann"}
    assert provider.asked == ["/keys"]


async def test_discovery_names_the_keys(provider):
    tokens = Tokens(settings_of(provider, jwks_url=""))
    assert (await tokens.caller_of(token(provider.url))).principal.user == "ann"
    assert provider.asked == ["/.well-known/openid-configuration", "/keys"]


@pytest.mark.parametrize("discovery", [{"issuer": "https://other"}, {"jwks_uri": "ftp://x"}, {"jwks_uri": None}])
async def test_a_discovery_that_is_another_ones_is_not_believed(provider, discovery):
    provider.discovery = discovery
    with pytest.raises(HTTPException) as refused:
        await Tokens(settings_of(provider, jwks_url="")).caller_of(token(provider.url))
    assert refused.value.status_code == 503


async def test_a_new_key_is_found_when_a_token_names_it(provider):
    tokens = Tokens(settings_of(provider, fetch_floor=timedelta(0)))
    await tokens.caller_of(token(provider.url))
    provider.keys = [jwk(OTHER_RSA, "two")]
    assert (await tokens.caller_of(token(provider.url, OTHER_RSA, kid="two"))).principal.user == "ann"
    with pytest.raises(Unauthenticated):
        await tokens.caller_of(token(provider.url))


async def test_names_that_are_made_up_cause_no_storm(provider):
    keys = Jwks(settings_of(provider, fetch_floor=HOUR))
    assert await keys.key("one", "RS256") is not None
    found = await asyncio.gather(*(keys.key(f"made-up-{number}", "RS256") for number in range(100)))
    assert found == [None] * 100
    assert len(provider.asked) == 1


async def test_a_name_that_was_looked_for_in_vain_is_not_looked_for_again(provider):
    keys = Jwks(settings_of(provider, fetch_floor=timedelta(0)))
    for _ in range(5):
        assert await keys.key("nobody", "RS256") is None
    # The first fetch, and one for the name.
    assert len(provider.asked) == 2


async def test_while_the_provider_is_away_the_known_keys_go_on(provider):
    keys = Jwks(settings_of(provider, refresh=timedelta(seconds=1), fetch_floor=timedelta(0)))
    assert await keys.key("one", "RS256") is not None
    provider.broken = True
    keys._fetched_at -= 3600
    assert await keys.key("one", "RS256") is not None
    assert len(provider.asked) == 2
    keys._fetched_at -= 24 * 3600
    with pytest.raises(KeysUnavailable):
        await keys.key("one", "RS256")


async def test_a_token_that_nobody_can_verify_is_not_wrong_for_that(provider):
    provider.broken = True
    with pytest.raises(HTTPException) as refused:
        await Tokens(settings_of(provider)).caller_of(token(provider.url))
    assert refused.value.status_code == 503
    assert refused.value.headers is not None
    assert "Retry-After" in refused.value.headers


async def test_only_keys_that_are_for_it_verify_a_token(provider):
    provider.keys = [
        jwk(RSA, "for-encryption", use="enc"),
        jwk(RSA, "other-algorithm", alg="RS512"),
        jwk(EC, "other-kind"),
        {"kty": "oct", "kid": "shared", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        "nonsense",
    ]
    keys = Jwks(settings_of(provider))
    for kid in ("for-encryption", "other-algorithm", "other-kind", "shared", "broken"):
        assert await keys.key(kid, "RS256") is None, kid


async def test_a_token_without_a_key_name_where_there_is_no_choice(provider):
    provider.keys = [jwk(RSA, None)]
    keys = Jwks(settings_of(provider))
    assert await keys.key(None, "RS256") is not None
    provider.keys = [jwk(RSA, "one"), jwk(OTHER_RSA, "two")]
    assert await Jwks(settings_of(provider)).key(None, "RS256") is None
