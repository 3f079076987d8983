"""The public keys of an identity provider, fetched when they are needed and not when somebody wants us to.

A token names the key that it was signed with, and anybody can write a name there. So a name that is not known leads to
one fetch at most in `fetch_floor`, of all requests together, and is remembered as unknown for a while. While the
provider does not answer, the keys that were there go on for a day.
"""

import asyncio
import logging
import time
from collections import OrderedDict
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final, cast

import httpx
import jwt
import orjson

from outlast.domain.acting import across_tenants
from outlast.settings_auth import JwtSettings

log = logging.getLogger(__name__)

#: What a key is to be for an algorithm: `alg` in a token never chooses how a key is used.
KEY_TYPES: Final[Mapping[str, str]] = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}
_MOST_BYTES: Final = 1024 * 1024
_MOST_KEYS: Final = 100
_MOST_UNKNOWN: Final = 1000
_UNKNOWN_SECONDS: Final = 60.0
_STALE_SECONDS: Final = 24 * 3600.0
_TIMEOUT_SECONDS: Final = 5.0
_DISCOVERY: Final = "/.well-known/openid-configuration"


class KeysUnavailable(Exception):
    """The provider's keys could not be fetched, and there are none from before."""


class Jwks:
    """The keys of one provider in this process."""

    def __init__(self, settings: JwtSettings) -> None:
        self._settings = settings
        self._url = settings.jwks_url
        self._keys: Mapping[str | None, Mapping[str, Any]] = {}
        self._fetched_at = self._tried_at = float("-inf")
        self._unknown: OrderedDict[str, float] = OrderedDict()
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, kid: str | None, algorithm: str) -> Any | None:
        """Return the key of this name, ready for this algorithm; None when there is none.

        Raises KeysUnavailable.
        """
        if time.monotonic() - self._fetched_at > self._settings.refresh.total_seconds():
            await self._refreshed()
            if time.monotonic() - self._fetched_at > _STALE_SECONDS:
                raise KeysUnavailable
        found = self._named(kid)
        if found is None and kid is not None and not self._is_known_unknown(kid) and await self._refreshed():
            found = self._named(kid)
            if found is None:
                self._remember_unknown(kid)
        return None if found is None else _usable(found, algorithm)

    def _named(self, kid: str | None) -> Mapping[str, Any] | None:
        if kid is not None:
            return self._keys.get(kid)
        # Without a name only where there is no choice.
        return next(iter(self._keys.values())) if len(self._keys) == 1 else None

    def _is_known_unknown(self, kid: str) -> bool:
        return self._unknown.get(kid, 0.0) > time.monotonic()

    def _remember_unknown(self, kid: str) -> None:
        self._unknown[kid] = time.monotonic() + _UNKNOWN_SECONDS
        self._unknown.move_to_end(kid)
        if len(self._unknown) > _MOST_UNKNOWN:
            self._unknown.popitem(last=False)

    async def _refreshed(self) -> bool:
        """Fetch the keys, once for all that ask; False when that was just tried or does not work."""
        if self._fetching is None:
            now = time.monotonic()
            if now - self._tried_at < self._settings.fetch_floor.total_seconds():
                return False
            self._tried_at = now
            self._fetching = asyncio.create_task(self._fetch(), name="outlast-jwks")
            self._fetching.add_done_callback(self._ended)
        before = self._fetched_at
        # A client that leaves takes nothing from the others.
        await asyncio.shield(self._fetching)
        return self._fetched_at > before

    def _ended(self, _task: "asyncio.Task[None]") -> None:
        self._fetching = None

    async def _fetch(self) -> None:
        with across_tenants():
            try:
                keys = await self._fetched()
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, TimeoutError) as error:
                issuer, kind = self._settings.issuer, type(error).__name__
                log.warning("the keys of %s cannot be fetched: %s: %s", issuer, kind, error)
                return
        self._keys, self._fetched_at = keys, time.monotonic()

    async def _fetched(self) -> dict[str | None, Mapping[str, Any]]:
        # One that redirects is not the provider that was named.
        async with (
            asyncio.timeout(_TIMEOUT_SECONDS),
            httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, follow_redirects=False) as client,
        ):
            if not self._url:
                self._url = await self._discovered(client)
            document = await _document(client, self._url)
        listed: list[Any] = document["keys"] if isinstance(document.get("keys"), list) else []
        keys = [cast("Mapping[str, Any]", key) for key in listed[:_MOST_KEYS] if _is_for_signatures(key)]
        if not keys:
            msg = f"{self._url} holds no key that signs"
            raise ValueError(msg)
        return {key.get("kid"): key for key in keys}

    async def _discovered(self, client: httpx.AsyncClient) -> str:
        document = await _document(client, self._settings.issuer.rstrip("/") + _DISCOVERY)
        if document.get("issuer") != self._settings.issuer:
            msg = f"the provider calls itself {document.get('issuer')!r} and not {self._settings.issuer!r}"
            raise ValueError(msg)
        url = str(document.get("jwks_uri"))
        if httpx.URL(url).scheme != httpx.URL(self._settings.issuer).scheme:
            msg = f"the provider's keys are at {url!r}, which is not as safe as the provider"
            raise ValueError(msg)
        return url


async def _document(client: httpx.AsyncClient, url: str) -> dict[str, Any]:
    body = bytearray()
    async with client.stream("GET", url, headers={"accept": "application/json"}) as response:
        if response.status_code != HTTPStatus.OK:
            msg = f"{url} answers {response.status_code}"
            raise ValueError(msg)
        async for part in response.aiter_bytes():
            body += part
            if len(body) > _MOST_BYTES:
                msg = f"{url} is larger than {_MOST_BYTES:,} bytes"
                raise ValueError(msg)
    document: Any = orjson.loads(bytes(body))
    if not isinstance(document, dict):
        msg = f"{url} is no object"
        raise ValueError(msg)  # noqa: TRY004 - it is wrong as text from outside is
    return cast("dict[str, Any]", document)


def _is_for_signatures(key: Any) -> bool:
    if not isinstance(key, dict):
        return False
    given = cast("dict[str, Any]", key)
    # `oct` is a shared secret: nobody publishes one.
    return given.get("kty") in KEY_TYPES.values() and given.get("use", "sig") == "sig"


def _usable(key: Mapping[str, Any], algorithm: str) -> Any | None:
    """Return the key for an algorithm; None when it is not one for it."""
    if key.get("kty") != KEY_TYPES[algorithm[:2]] or key.get("alg", algorithm) != algorithm:
        return None
    try:
        return jwt.PyJWK(dict(key), algorithm).key
    except (jwt.PyJWTError, ValueError):
        return None
