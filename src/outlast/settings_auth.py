"""The table `[auth]`: who may come in beside whom the project's own `langgraph_sdk.Auth` knows."""

from datetime import timedelta
from typing import Annotated, Final, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, model_validator

from outlast.setting_branch import Branch

#: Signatures by a key pair only: whoever can verify a token must not be able to make one.
Algorithm = Literal["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
_LOCAL: Final = ("localhost", "127.0.0.1", "::1")


class JwtSettings(Branch):
    """Tokens of an identity provider (JWT, OpenID Connect); on when `issuer` is given."""

    issuer: str = Field(default="", description="the `iss` of every token, exactly; empty: no tokens are taken")
    audience: tuple[str, ...] = Field(default=(), description="the `aud` that a token must have one of")
    algorithms: tuple[Algorithm, ...] = Field(
        default=("RS256",), min_length=1, description="how tokens may be signed, whatever they say of themselves"
    )
    jwks_url: str = Field(
        default="", description="where the provider's keys are; empty: as its OpenID Connect discovery says"
    )
    public_key: str = Field(default="", description="the provider's one public key as PEM, instead of `jwks_url`")
    leeway: timedelta = Field(
        default=timedelta(seconds=30), ge=timedelta(0), le=timedelta(seconds=60),
        description="by how much clocks may differ, at most 60 s",
    )  # fmt: skip
    tenant_claim: str = Field(
        default="tenant", description="the claim that names the tenant; empty: the tokens are the default tenant's"
    )
    user_claim: Annotated[str, Field(min_length=1, description="the claim that names the user")] = "sub"
    scopes_claim: str = Field(default="scope", description="the claim with the scopes, a list or a text; empty: none")
    scopes: tuple[str, ...] = Field(default=(), description="scopes that every token has")
    refresh: timedelta = Field(
        default=timedelta(minutes=10), ge=timedelta(seconds=1), description="age at which keys are fetched again"
    )
    fetch_floor: timedelta = Field(
        default=timedelta(seconds=10), ge=timedelta(0),
        description="shortest time between two fetches, whatever keys tokens name",
    )  # fmt: skip

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if not self.issuer:
            return self
        if not self.audience:
            msg = "auth.jwt.audience: without it, a token made for another service would be taken here; name this one"
            raise ValueError(msg)
        if self.jwks_url and self.public_key:
            msg = "auth.jwt: give either jwks_url or public_key"
            raise ValueError(msg)
        if not self.public_key:
            _require_https(self.jwks_url or self.issuer)
        return self


class AuthSettings(Branch):
    """Who may come in beside whom the project's own `langgraph_sdk.Auth` knows."""

    keys: bool = Field(default=False, description="ask for API keys (`outlast keys create`)")
    key_cache: timedelta = Field(
        default=timedelta(seconds=3), ge=timedelta(0), le=timedelta(seconds=5),
        description="how long a process believes what it read of a key; a revoked one is refused after that",
    )  # fmt: skip
    tenant_attribute: Annotated[
        str, Field(min_length=1, description="what names the tenant of a user of the project's own auth")
    ] = "tenant"
    permissions_are_scopes: bool = Field(
        # LangGraph's own examples have permissions like `threads:write`, for handlers of the project to look at.
        default=False,
        description="permissions of the project's own auth that are named like scopes are scopes",
    )
    failures_per_minute: Annotated[
        int, Field(ge=0, description="failed attempts from one address before it gets 429; 0: no limit")
    ] = 60
    jwt: JwtSettings = JwtSettings()


def _require_https(url: str) -> None:
    parts = urlsplit(url)
    if parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in _LOCAL):
        return
    msg = f"auth.jwt: {url!r} is not https://, so whoever is on the way could put keys of their own there"
    raise ValueError(msg)
