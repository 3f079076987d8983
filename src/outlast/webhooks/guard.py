"""Connections to public addresses only.

A webhook's address comes from whoever may start runs, and it is called from inside our network. So the name is
resolved once, each address it has is looked at, and the connection goes to the very address that was looked at:
a name that changes its mind between the two gains nothing. Redirects are not followed, and no proxy of the environment
is asked.
"""

import asyncio
import socket
from collections.abc import Iterable, Mapping
from datetime import timedelta
from ipaddress import ip_address
from typing import cast

import httpcore

from outlast.domain.webhook import Networks, WebhookTarget, is_allowed

_MOST_ANSWER_BYTES = 64 * 1024
_MOST_CONNECTIONS = 20


class RefusedAddressError(Exception):
    """The host leads to an address that is not public."""


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Opens TCP connections, to allowed addresses only."""

    def __init__(self, networks: Networks) -> None:
        self._networks = networks
        self._backend = cast("httpcore.AsyncNetworkBackend", httpcore.AnyIOBackend())

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to an address of the host; raises RefusedAddressError when one of them is not allowed."""
        addresses = await _resolved(host, port)
        for address in addresses:
            if not is_allowed(ip_address(address), self._networks):
                msg = f"{host} leads to {address}, which is no public address"
                raise RefusedAddressError(msg)
        return await self._backend.connect_tcp(addresses[0], port, timeout, local_address, socket_options)

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - as above
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Refuse: no webhook leads there."""
        del timeout, socket_options
        msg = f"no webhook goes to the socket {path}"
        raise RefusedAddressError(msg)

    async def sleep(self, seconds: float) -> None:
        """Wait between httpcore's own retries."""
        await asyncio.sleep(seconds)


class Outbound:
    """Posts to other hosts. No connection is used twice, so each request's address is looked at."""

    def __init__(self, networks: Networks, *, limit: timedelta) -> None:
        self._pool = httpcore.AsyncConnectionPool(
            network_backend=GuardedBackend(networks),
            max_connections=_MOST_CONNECTIONS,
            max_keepalive_connections=0,
        )
        self._limit = limit.total_seconds()

    async def __call__(self, target: WebhookTarget, headers: Mapping[str, str], body: bytes) -> int:
        """Post and return the status of the answer; raises RefusedAddressError, TimeoutError or httpcore's errors."""
        url = httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path)
        given = [(name.encode(), value.encode()) for name, value in {"host": target.netloc, **headers}.items()]
        async with (
            asyncio.timeout(self._limit),
            self._pool.stream("POST", url, headers=given, content=body) as answer,
        ):
            received = 0
            # Read so far that the receiver can finish its answer, and no further.
            async for part in answer.aiter_stream():
                received += len(part)
                if received > _MOST_ANSWER_BYTES:
                    break
            return answer.status

    async def aclose(self) -> None:
        """Close what is open."""
        await self._pool.aclose()


async def _resolved(host: str, port: int) -> list[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    # A scope ("%eth0") names an interface of this machine.
    return [str(address[0]).partition("%")[0] for *_, address in found]
