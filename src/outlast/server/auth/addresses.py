"""From which address a request really comes."""

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.requests import HTTPConnection

Networks = Sequence[IPv4Network | IPv6Network]
#: Where there is none: a Unix socket, a call inside of this process.
UNKNOWN: Final = "unknown"


def client_address(connection: HTTPConnection, trusted: Networks) -> str:
    """Return the socket's address; behind proxies that are believed, the nearest one that is none of them.

    X-Forwarded-For is read from its end: what stands before the first address that is not a proxy's, anybody may have
    written.
    """
    peer = _address(connection.client.host) if connection.client is not None else None
    if peer is None:
        return UNKNOWN
    named = [part.strip() for line in connection.headers.getlist("x-forwarded-for") for part in line.split(",")]
    while named and _is_within(peer, trusted):
        before = _address(named.pop())
        if before is None:
            break
        peer = before
    return str(peer)


def subscriber(address: str) -> str:
    """Return what stands for everybody who can choose an address: of IPv6 whoever has one has 2^64 of them."""
    known = _address(address)
    return str(ip_network((known, 64), strict=False)) if isinstance(known, IPv6Address) else address


def _address(text: str) -> IPv4Address | IPv6Address | None:
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_within(address: IPv4Address | IPv6Address, networks: Networks) -> bool:
    return any(address in network for network in networks)
