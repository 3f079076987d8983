"""Tokens of an identity provider: which are taken, and for whom."""

import base64
import json
import time
from datetime import timedelta

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from identity_provider import AUDIENCE, EC, ED, OTHER_RSA, RSA, pem, token
from pydantic import ValidationError

from outlast.domain.acting import DEFAULT_TENANT
from outlast.errors import ConfigurationError, Unauthenticated
from outlast.server.auth.tokens import Tokens
from outlast.settings_auth import JwtSettings

ISSUER = "https://login.example.com/"


def tokens(**settings):
    return Tokens(JwtSettings(**{"issuer": ISSUER, "audience": (AUDIENCE,), "public_key": pem(RSA), **settings}))


async def principal(text, **settings):
    return (await tokens(**settings).caller_of(text)).principal


async def test_a_token_says_who_somebody_is():
    who = await principal(token(ISSUER, scope="openid runs:read threads:write"))
    assert (who.tenant, who.user, who.key_id) == ("acme", "ann", None)
    assert who.scopes == {"runs:read", "threads:write"}


async def test_without_scopes_a_token_may_do_nothing():
    assert (await principal(token(ISSUER))).scopes == frozenset()


async def test_claims_may_have_other_names_and_stand_deeper():
    text = token(
        ISSUER, **{"https://example.com/org": "globex", "realm": {"roles": ["runs:read", "boss"]}, "email": "ann@x"}
    )
    settings = {"tenant_claim": "https://example.com/org", "scopes_claim": "realm.roles", "user_claim": "email"}
    who = await principal(text, **settings)
    assert (who.tenant, who.user, who.scopes) == ("globex", "ann@x", {"runs:read"})


async def test_every_token_may_have_scopes():
    assert (await principal(token(ISSUER, scope="runs:write"), scopes=("runs:read",))).scopes == {
        "runs:read",
        "runs:write",
    }


async def test_where_tokens_name_no_tenant_they_are_the_default_ones():
    assert (await principal(token(ISSUER, tenant="acme"), tenant_claim="")).tenant == DEFAULT_TENANT


@pytest.mark.parametrize(
    ("algorithm", "key"), [("RS256", RSA), ("RS512", RSA), ("PS256", RSA), ("ES256", EC), ("EdDSA", ED)]
)
async def test_every_algorithm_that_is_named(algorithm, key):
    text = token(ISSUER, key, algorithm=algorithm)
    assert (await principal(text, public_key=pem(key), algorithms=(algorithm,))).user == "ann"


def part(value):
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


def forged(algorithm, signature):
    header, claims = {"alg": algorithm, "typ": "JWT"}, {"iss": ISSUER, "aud": AUDIENCE, "sub": "eve", "tenant": "acme"}
    return f"{part(header)}.{part({**claims, 'exp': time.time() + 300})}.{signature}"


def signed_with_the_public_key():
    # What a server takes that lets the token choose: its public key as the secret of an HMAC.
    body = forged("HS256", "").rstrip(".")
    signature = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256).sign(body.encode(), pem(RSA).encode())
    return f"{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


now = time.time
REFUSED = {
    "no algorithm": lambda: forged("none", ""),
    "No algorithm": lambda: forged("None", "AAAA"),
    "an hmac of the public key": signed_with_the_public_key,
    "an algorithm that is not named": lambda: token(ISSUER, algorithm="RS384"),
    "another key": lambda: token(ISSUER, OTHER_RSA),
    "another kind of key": lambda: token(ISSUER, EC, algorithm="ES256"),
    "no signature": lambda: forged("RS256", ""),
    "changed": lambda: token(ISSUER)[:-12] + "AAAAAAAAAAAA",
    "expired": lambda: token(ISSUER, exp=now() - 61),
    "without an end": lambda: token(ISSUER, exp=None),
    "not yet": lambda: token(ISSUER, nbf=now() + 120),
    "for another service": lambda: token(ISSUER, aud="billing"),
    "for nobody": lambda: token(ISSUER, aud=None),
    "of another provider": lambda: token("https://login.example.com"),
    "of nobody": lambda: token(ISSUER, iss=None),
    "without a user": lambda: token(ISSUER, sub=None),
    "of a user without a name": lambda: token(ISSUER, sub=""),
    "without a tenant": lambda: token(ISSUER, tenant=None),
    "of all tenants": lambda: token(ISSUER, tenant="*"),
    "of a list of tenants": lambda: token(ISSUER, tenant=["acme"]),
    "nothing": lambda: "",
    "no token": lambda: "a.b.c",
    "too long": lambda: token(ISSUER, more="x" * 20_000),
    "too deep": lambda: f"{part({'alg': 'RS256'})}.{base64.urlsafe_b64encode(b'[' * 5000).decode()}.AAAA",
}


@pytest.mark.parametrize("kind", REFUSED)
async def test_what_is_not_right_is_nobody(kind):
    with pytest.raises(Unauthenticated) as refused:
        await tokens().caller_of(REFUSED[kind]())
    assert "eve" not in str(refused.value)


async def test_clocks_may_differ_by_a_minute_at_most():
    late = token(ISSUER, exp=time.time() - 50)
    assert (await principal(late, leeway=timedelta(seconds=60))).user == "ann"
    with pytest.raises(Unauthenticated, match="expired"):
        await principal(late, leeway=timedelta(seconds=10))
    with pytest.raises(ValidationError):
        JwtSettings(leeway=timedelta(seconds=61))


async def test_a_token_is_ours_by_what_it_says_and_taken_by_what_it_proves():
    assert tokens().is_ours(token(ISSUER, OTHER_RSA))
    assert not tokens().is_ours(token("https://other.example.com"))
    assert not tokens().is_ours("opaque-token")


# settings


@pytest.mark.parametrize("algorithm", ["HS256", "none", "HS512", "RS1"])
def test_no_setting_lets_in_a_shared_secret_or_nothing(algorithm):
    with pytest.raises(ValidationError):
        JwtSettings(algorithms=(algorithm,))


@pytest.mark.parametrize(
    "settings",
    [
        {"audience": ()},
        {"public_key": "", "jwks_url": "http://login.example.com/keys"},
        {"public_key": "", "issuer": "http://login.example.com"},
        {"jwks_url": "https://login.example.com/keys"},
        {"algorithms": ()},
    ],
)
def test_what_would_not_be_safe_is_refused(settings):
    with pytest.raises(ValidationError):
        tokens(**settings)


def test_a_key_that_cannot_be_used_is_said_at_the_start():
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)
    for settings in ({"public_key": "nonsense"}, {"public_key": pem(weak)}, {"algorithms": ("ES256",)}):
        with pytest.raises(ConfigurationError, match="public_key"):
            tokens(**settings)
    with pytest.raises(ConfigurationError, match=r"runs:raed"):
        tokens(scopes=("runs:raed",))
