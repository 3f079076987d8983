"""Which addresses a run's end may be reported to; no address is looked up here."""

import string
from dataclasses import dataclass
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from urllib.parse import SplitResult, urlsplit

from outlast.errors import InvalidInput, NotSupported

Networks = tuple[IPv4Network | IPv6Network, ...]

_DEFAULT_PORTS = {"http": 80, "https": 443}
_HOST_CHARACTERS = frozenset(string.ascii_letters + string.digits + "-._:")
_FIELD = "webhook"
# Their last 32 bits are an address of IPv4, which a gateway calls for us.
_TRANSLATED = tuple(ip_network(text) for text in ("64:ff9b::/96", "64:ff9b:1::/48"))


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookPolicy:
    """What a project allows. `disabled`: runs may name a webhook, and it is refused."""

    require_https: bool = False
    #: Hosts, or `*.example.com` for every subdomain of it; empty: any public host.
    allowed_domains: tuple[str, ...] = ()
    #: Empty: 80 for http and 443 for https.
    allowed_ports: tuple[int, ...] = ()
    max_url_length: int = 2048
    disable_loopback: bool = False
    disabled: bool = False
    #: Addresses that are allowed although they are not public, by the operator's settings.
    networks: Networks = ()


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """An address that the policy allows. `host` is empty for a path of the server's own app."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def netloc(self) -> str:
        """The host as the header `Host` names it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _DEFAULT_PORTS.get(self.scheme) else f"{host}:{self.port}"


def check_webhook(url: str, policy: WebhookPolicy) -> WebhookTarget:
    """Return where the URL leads; raises InvalidInput that says which rule it breaks.

    Nothing is resolved: that an allowed name leads to a public address is checked for each connection.
    """
    if policy.disabled:
        raise NotSupported("webhooks are disabled on this server (http.disable_webhooks)", field=_FIELD)
    if len(url) > policy.max_url_length:
        raise _refused(f"the address has more than {policy.max_url_length} characters")
    if not url.isascii() or any(character <= " " or character in "\x7f\\" for character in url):
        raise _refused("the address holds characters that must be percent-encoded")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _refused(f"this is no URL: {error}") from error
    if not parts.scheme and not parts.netloc:
        return _own(parts, policy)
    return _foreign(parts, port, policy)


def _own(parts: SplitResult, policy: WebhookPolicy) -> WebhookTarget:
    if not parts.path.startswith("/"):
        raise _refused("an address without a host is a path of this server and begins with '/'")
    if policy.disable_loopback:
        raise _refused("paths of this server are not allowed (webhooks.url.disable_loopback)")
    return WebhookTarget("", "", 0, _path(parts))


def _foreign(parts: SplitResult, port: int | None, policy: WebhookPolicy) -> WebhookTarget:
    if parts.scheme not in _DEFAULT_PORTS:
        raise _refused("the address has to begin with https:// or http://")
    if policy.require_https and parts.scheme != "https":
        raise _refused("only https:// is allowed (webhooks.url.require_https)")
    if "@" in parts.netloc:
        raise _refused("the address must not hold a user or password; sign in by headers (webhooks.headers)")
    host = (parts.hostname or "").removesuffix(".")
    if not host or not set(host) <= _HOST_CHARACTERS:
        raise _refused("the address has no valid host")
    port = _DEFAULT_PORTS[parts.scheme] if port is None else port
    allowed = policy.allowed_ports or tuple(_DEFAULT_PORTS.values())
    if port not in allowed:
        raise _refused(f"port {port} is not allowed; allowed are {', '.join(map(str, allowed))}")
    if policy.allowed_domains and not any(_is_under(host, domain) for domain in policy.allowed_domains):
        raise _refused(f"host {host!r} is not allowed (webhooks.url.allowed_domains)")
    _check_literal(host, policy.networks)
    return WebhookTarget(parts.scheme, host, port, _path(parts))


def _is_under(host: str, domain: str) -> bool:
    domain = domain.lower().removesuffix(".")
    return host.endswith(domain[1:]) and host != domain[2:] if domain.startswith("*.") else host == domain


def is_allowed(address: IPv4Address | IPv6Address, networks: Networks) -> bool:
    """Whether a webhook may be sent there: a public address, or one of these networks."""
    inner = _inner(address) if isinstance(address, IPv6Address) else None
    if inner is not None:
        return is_allowed(inner, networks)
    if any(address in network for network in networks):
        return True
    special = address.is_multicast or address.is_reserved or address.is_unspecified or address.is_link_local
    return address.is_global and not special


def _inner(address: IPv6Address) -> IPv4Address | None:
    """Return the address of IPv4 that packets to this one end at."""
    if any(address in network for network in _TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _check_literal(host: str, networks: Networks) -> None:
    try:
        address = ip_address(host)
    except ValueError:
        # `2130706433`, `127.1` and `0x7f.1` are 127.0.0.1 for some resolvers.
        if host.rpartition(".")[2][:1].isdigit():
            raise _refused("write an IP address as four numbers, or use a name") from None
        return
    if not is_allowed(address, networks):
        raise _refused(f"{host} is no public address")


def _path(parts: SplitResult) -> str:
    return (parts.path or "/") + (f"?{parts.query}" if parts.query else "")


def _refused(message: str) -> InvalidInput:
    return InvalidInput(f"webhook: {message}", field=_FIELD)
