"""Tokens of an identity provider: who they say somebody is, when they are genuine."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from starlette.exceptions import HTTPException

from outlast.domain.access import SCOPES, checked_scopes, is_tenant, is_user
from outlast.domain.acting import DEFAULT_TENANT, Principal
from outlast.errors import ConfigurationError, InvalidInput, Unauthenticated
from outlast.server.auth.jwks import KEY_TYPES, Jwks, KeysUnavailable
from outlast.server.auth.users import Caller, known_user
from outlast.settings_auth import JwtSettings

_LONGEST: Final = 16 * 1024
_LEAST_RSA_BITS: Final = 2048
_REQUIRED: Final = ("exp", "iss", "aud")
_REASONS: Final[Mapping[type[jwt.PyJWTError], str]] = {
    jwt.ExpiredSignatureError: "it has expired",
    jwt.ImmatureSignatureError: "it is not valid yet",
    jwt.InvalidAudienceError: "it is made for another service (aud)",
    jwt.InvalidIssuerError: "it is another provider's (iss)",
    jwt.InvalidSignatureError: "its signature is wrong",
}


class Tokens:
    """Verifies tokens by the settings alone: what a token says of its algorithm must be among those, or it is none."""

    def __init__(self, settings: JwtSettings) -> None:
        """Raise ConfigurationError for a key or scopes that cannot be used."""
        self._settings = settings
        self._always = _scopes_of(settings)
        self._key = _public_key(settings) if settings.public_key else None
        self._jwks = None if settings.public_key else Jwks(settings)

    def is_ours(self, token: str) -> bool:
        """Whether a token says that it comes from our provider; believed by nobody until it is verified."""
        try:
            claims = jwt.decode(token[:_LONGEST], options={"verify_signature": False})
        except (jwt.PyJWTError, ValueError, RecursionError):
            return False
        return claims.get("iss") == self._settings.issuer

    async def caller_of(self, token: str) -> Caller:
        """Return whom the token describes.

        Raises Unauthenticated, which says what is wrong with it; HTTPException (503) when nobody can tell.
        """
        if len(token) > _LONGEST:
            raise Unauthenticated(f"the token is longer than {_LONGEST:,} characters")
        try:
            key, algorithm = await self._key_of(jwt.get_unverified_header(token))
            claims = jwt.decode(
                token,
                key=key,
                algorithms=[algorithm],
                issuer=self._settings.issuer,
                audience=list(self._settings.audience),
                leeway=self._settings.leeway,
                options={"require": list(_REQUIRED)},
            )
        except jwt.PyJWTError as error:
            raise Unauthenticated(f"the token is not valid: {_reason(error)}") from error
        except (ValueError, RecursionError) as error:
            raise Unauthenticated("the token is not valid: it cannot be read") from error
        return self._caller(claims)

    async def _key_of(self, header: Mapping[str, Any]) -> tuple[Any, str]:
        algorithm, kid = header.get("alg"), header.get("kid")
        if algorithm not in self._settings.algorithms:
            raise Unauthenticated(f"the token is not signed by {' or '.join(self._settings.algorithms)}")
        if self._jwks is None:
            return self._key, algorithm
        if kid is not None and not isinstance(kid, str):
            raise Unauthenticated("the token's key has no name")
        try:
            key = await self._jwks.key(kid, algorithm)
        except KeysUnavailable as error:
            # Neither right nor wrong: the client has done nothing that it could do better.
            detail = "the token cannot be verified, because the provider's keys cannot be fetched; try again"
            raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": "5"}) from error
        if key is None or _is_weak(key):
            raise Unauthenticated("the token is signed with a key that the provider does not have")
        return key, algorithm

    def _caller(self, claims: Mapping[str, Any]) -> Caller:
        settings = self._settings
        user = _claim(claims, settings.user_claim)
        if not is_user(user):
            raise Unauthenticated(f"the token's claim {settings.user_claim!r} names no user")
        tenant = _claim(claims, settings.tenant_claim) if settings.tenant_claim else DEFAULT_TENANT
        if not is_tenant(tenant):
            raise Unauthenticated(f"the token's claim {settings.tenant_claim!r} names no tenant")
        named = _claim(claims, settings.scopes_claim) if settings.scopes_claim else ()
        who = Principal(tenant=tenant, user=user, scopes=self._always | _listed(named))
        return Caller(known_user(who, identity=user), who)


def _public_key(settings: JwtSettings) -> Any:
    try:
        key = load_pem_public_key(settings.public_key.encode())
    except ValueError as error:
        raise ConfigurationError("auth.jwt.public_key is no public key in PEM form") from error
    if _is_weak(key):
        raise ConfigurationError(f"auth.jwt.public_key has less than {_LEAST_RSA_BITS} bits")
    for algorithm in settings.algorithms:
        try:
            jwt.get_algorithm_by_name(algorithm).prepare_key(cast("Any", key))
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            kind = KEY_TYPES[algorithm[:2]]
            raise ConfigurationError(f"auth.jwt: {algorithm} needs a key of kind {kind}, public_key is none") from error
    return key


def _is_weak(key: Any) -> bool:
    return isinstance(key, RSAPublicKey) and key.key_size < _LEAST_RSA_BITS


def _scopes_of(settings: JwtSettings) -> frozenset[str]:
    try:
        return checked_scopes(settings.scopes)
    except InvalidInput as error:
        raise ConfigurationError(f"auth.jwt.scopes: {error}") from error


def _claim(claims: Mapping[str, Any], name: str) -> Any:
    """Return a claim by its name, or by the way to it: `realm_access.roles`."""
    if name in claims:
        return claims[name]
    value: Any = claims
    for part in name.split("."):
        value = cast("Mapping[str, Any]", value).get(part) if isinstance(value, dict) else None
    return value


def _listed(given: Any) -> frozenset[str]:
    """Return the scopes among what a claim holds; others (`openid`) are other services'."""
    parts: Any = given.split() if isinstance(given, str) else given
    if not isinstance(parts, list):
        return frozenset()
    return frozenset(SCOPES) & {part for part in cast("list[Any]", parts) if isinstance(part, str)}


def _reason(error: jwt.PyJWTError) -> str:
    # Not the library's own words: some repeat what the token holds.
    if isinstance(error, jwt.MissingRequiredClaimError):
        return f"it has no claim {error.claim!r}"
    return next((said for kind, said in _REASONS.items() if isinstance(error, kind)), "it cannot be read")
