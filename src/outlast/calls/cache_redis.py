"""Answers in Redis or Valkey, whose own clock ends their lives."""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

from outlast.errors import ConfigurationError
from outlast.storage.postgres.checkpoint_rows import Fence

if TYPE_CHECKING:
    from redis.asyncio import Redis

#: A cache that takes longer than this, in seconds, is no help.
_TIMEOUT: Final = 0.5
_SCHEMES: Final = {"valkey://": "redis://", "valkeys://": "rediss://"}
_PREFIX: Final = b"outlast:call:"


def clearing(url: str) -> Callable[[], Awaitable[int]] | None:
    """Return what deletes every answer from the server at an address; None without one."""
    if not url:
        return None

    async def clear() -> int:
        redis = RedisCache.at(url)
        try:
            return await redis.clear()
        finally:
            await redis.aclose()

    return clear


def answering(url: str) -> Callable[[], Awaitable[None]] | None:
    """Return what raises when the server at an address does not answer; None without one."""
    if not url:
        return None

    async def ask() -> None:
        redis = RedisCache.at(url)
        try:
            await redis.ping()
        finally:
            await redis.aclose()

    return ask


class RedisCache:
    """Bytes by key, until they expire. Raises whatever the client raises when the server does not answer."""

    def __init__(self, client: "Redis") -> None:
        # The client's stubs leave open whether its calls are awaited.
        self._client = cast("Any", client)

    @classmethod
    def at(cls, url: str) -> "RedisCache":
        """Use the server at redis://, rediss://, valkey:// or valkeys://; it is connected to when it is first asked.

        Raises ConfigurationError when the extra `redis` is not installed or the URL is none.
        """
        try:
            from redis.asyncio import Redis  # noqa: PLC0415 - an extra, and of no use without the setting
        except ImportError as error:
            msg = "calls.cache.redis_url needs the extra `redis`: pip install 'outlast[redis]'"
            raise ConfigurationError(msg) from error
        for scheme, known in _SCHEMES.items():
            url = url.replace(scheme, known, 1) if url.startswith(scheme) else url
        try:
            return cls(Redis.from_url(url, socket_timeout=_TIMEOUT, socket_connect_timeout=_TIMEOUT))  # pyright: ignore[reportUnknownMemberType]
        except ValueError as error:
            # The URL may hold a password.
            msg = "calls.cache.redis_url cannot be parsed; expected redis://host:6379/0 or valkey://host:6379/0"
            raise ConfigurationError(msg) from error

    async def get(self, key: bytes) -> bytes | None:
        """Return what is kept, None if nothing is or it has expired."""
        return await self._client.get(_PREFIX + key)

    async def put(self, key: bytes, body: bytes, *, ttl: timedelta, fence: Fence | None = None) -> None:  # noqa: ARG002 - Redis knows no runs
        """Keep it for so long, in the place of what was kept under the key."""
        await self._client.set(_PREFIX + key, body, px=ttl)

    async def ping(self) -> None:
        """Have the server answer."""
        await self._client.ping()

    async def clear(self) -> int:
        """Delete every answer, whosever; return how many that were."""
        deleted = 0
        async for key in self._client.scan_iter(match=_PREFIX + b"*", count=1000):
            deleted += await self._client.unlink(key)
        return deleted

    async def aclose(self) -> None:
        """Disconnect."""
        await self._client.aclose()
