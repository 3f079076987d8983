"""The socket of the API, with errors that say what to do."""

import errno
import socket
from ipaddress import ip_address

from outlast.errors import ConfigurationError

_BACKLOG = 2048
_PORTS_TO_TRY = 100


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any free one.

    Raises ConfigurationError that names the next free port when this one is taken.
    """
    try:
        return _bound(host, port)
    except socket.gaierror as error:
        msg = f"server.host {host!r} is not an address of this machine: {error.strerror}"
        raise ConfigurationError(msg) from error
    except OSError as error:
        raise ConfigurationError(_explained(host, port, error)) from error


def address(listening: socket.socket) -> str:
    """Return the URL that leads to the socket."""
    host, port = listening.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def is_loopback(listening: socket.socket) -> bool:
    """Whether only this machine can reach the socket."""
    return ip_address(listening.getsockname()[0].partition("%")[0]).is_loopback


def _bound(host: str, port: int) -> socket.socket:
    family, kind, protocol, _, target = socket.getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listening = socket.socket(family, kind, protocol)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(target)
        # Here and not later: of two that bind with SO_REUSEADDR only one may listen.
        listening.listen(_BACKLOG)
    except OSError:
        listening.close()
        raise
    listening.setblocking(False)
    return listening


def _explained(host: str, port: int, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        free = _next_free(host, port)
        remedy = f"port {free} is free: use that one (--port {free})" if free else "choose another one (--port)"
        return f"port {port} of {host} is taken by another program; stop it, or {remedy}"
    if error.errno == errno.EACCES:
        return f"port {port} needs more rights than this process has; choose one above 1023 (--port)"
    return f"cannot listen on {host}:{port}: {error.strerror or error}"


def _next_free(host: str, port: int) -> int | None:
    for candidate in range(port + 1, min(port + 1 + _PORTS_TO_TRY, 65536)):
        try:
            _bound(host, candidate).close()
        except OSError:
            continue
        return candidate
    return None
