"""Who is calling, by whatever they prove it with.

    x-api-key: ok_...                       one of our API keys, where they are asked for (`auth.keys`)
    Authorization: Bearer ok_...            the same
    Authorization: Bearer eyJ...            a token of the identity provider (`auth.jwt`)
    anything else                           for the project's own `langgraph_sdk.Auth` to judge

What a credential looks like decides who judges it, once: what one of them has refused, no other is asked about. So a
revoked key is not tried on the project's own auth.
"""

from dataclasses import dataclass
from typing import Final

from langgraph_sdk import Auth
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.status import HTTP_401_UNAUTHORIZED

from outlast.domain.access import OPERATOR_SCOPES, SCOPES, is_tenant
from outlast.domain.acting import DEFAULT_TENANT, Principal, acting_for
from outlast.domain.api_key import looks_like_key, parse
from outlast.errors import ConfigurationError, Unauthenticated
from outlast.server.auth.addresses import Networks, client_address
from outlast.server.auth.authenticate import Authenticator
from outlast.server.auth.keyring import KeyRing
from outlast.server.auth.throttle import Throttle
from outlast.server.auth.tokens import Tokens
from outlast.server.auth.users import Caller, User
from outlast.settings_auth import AuthSettings
from outlast.storage.postgres.audit import AuditLog

#: Headers that hold what somebody wants to be known by.
_CREDENTIALS: Final = ("authorization", "x-api-key", "cookie")
#: What the project's users may do of whom its auth says nothing more: all that its own handlers can decide about. Being
#: known is no reason to run the server (keys, budgets, erasure).
_OF_PROJECT: Final = frozenset(SCOPES) - OPERATOR_SCOPES


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """All ways to be known in this process; at least one of the three is there."""

    settings: AuthSettings
    project: Authenticator | None
    keys: KeyRing | None
    tokens: Tokens | None
    throttle: Throttle
    audit: AuditLog
    proxies: Networks = ()

    @property
    def auth(self) -> Auth | None:
        """The project's own, whose handlers decide about resources, whoever is calling."""
        return None if self.project is None else self.project.auth

    @property
    def parameters(self) -> tuple[str, ...]:
        """What of a request the project's handler wants to see."""
        return () if self.project is None else self.project.parameters

    async def caller_of(self, connection: HTTPConnection) -> Caller:
        """Return who is calling.

        Raises Unauthenticated, RateLimited after too many failures from this address, DatabaseUnavailable, or the
        HTTPException that the project's handler raised.
        """
        address = client_address(connection, self.proxies)
        try:
            return await self._known(connection, address)
        except Unauthenticated as error:
            await self._failed(connection, address, str(error))
            raise
        except HTTPException as error:
            if error.status_code == HTTP_401_UNAUTHORIZED:
                await self._failed(connection, address, "the project's auth refused it")
            raise

    async def _known(self, connection: HTTPConnection, address: str) -> Caller:
        bearer = _bearer(connection)
        given = connection.headers.get("x-api-key", "")
        key = next((text for text in (given, bearer) if looks_like_key(text)), None)
        if self.keys is not None and key is not None:
            return await self._by_key(self.keys, key, address)
        if self.tokens is not None and bearer and (self.project is None or self.tokens.is_ours(bearer)):
            return await self.tokens.caller_of(bearer)
        if self.project is not None:
            return await self._by_project(self.project, connection, address)
        raise Unauthenticated(f"say who you are: {self._wanted()}")

    async def _by_key(self, keys: KeyRing, text: str, address: str) -> Caller:
        presented = parse(text)
        if presented is None:
            raise Unauthenticated("the API key is not whole; it looks like ok_<16 characters>_<43 characters>")
        checked = await keys.check(presented, may_ask=lambda: self.throttle.check(address))
        if checked.caller is not None:
            return checked.caller
        if checked.tenant is not None:
            # Whose key it is may want to know.
            with acting_for(checked.tenant):
                await self.audit.sample("key.refused", f"key:{presented.key_id}", {"address": address})
        raise Unauthenticated(checked.refusal)

    async def _by_project(self, project: Authenticator, connection: HTTPConnection, address: str) -> Caller:
        user = project.kept_user(connection)
        if user is None:
            self.throttle.check(address)
            user = await project.user_of(connection)
        return Caller(user, self._principal(user))

    def _principal(self, user: User) -> Principal:
        name = self.settings.tenant_attribute
        tenant = getattr(user.given, name, None)
        tenant = DEFAULT_TENANT if tenant is None else tenant
        if not is_tenant(tenant):
            raise ConfigurationError(
                f"the @auth.authenticate handler answered a user whose {name!r} is no name of a tenant: a text of up "
                "to 128 letters, digits, '.', '_', '@', '/' and '-' (auth.tenant_attribute says which attribute it is)"
            )
        named = user.permissions if self.settings.permissions_are_scopes else ()
        ours = frozenset(permission for permission in named if permission in SCOPES)
        return Principal(tenant=tenant, user=user.identity, scopes=ours or _OF_PROJECT)

    async def _failed(self, connection: HTTPConnection, address: str, why: str) -> None:
        """Count it, unless nothing was shown at all: that costs nothing and guesses nothing."""
        if any(name in connection.headers for name in _CREDENTIALS):
            self.throttle.failed(address)
            await self.audit.sample("auth.failed", f"address:{address}", {"why": why})

    def _wanted(self) -> str:
        ways = ("an API key as x-api-key or as Bearer" if self.keys else "", "a Bearer token" if self.tokens else "")
        return " or ".join(way for way in ways if way)


def _bearer(connection: HTTPConnection) -> str:
    scheme, _, token = connection.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""
