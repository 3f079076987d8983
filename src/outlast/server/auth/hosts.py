"""By which names a server is called that asks nobody who they are.

A web page may let the name of its own host lead to 127.0.0.1 (DNS rebinding): for the browser it then asks its own
host, so neither CORS nor the same-origin rule is in its way, and it could start runs on a developer's machine. What it
cannot do is to write another name into the Host header.
"""

from collections.abc import Iterable
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.server.problems import problem

_LONGEST_SHOWN: Final = 100


class LocalNames:
    """ASGI middleware: refuses requests for any other name than those of this machine, and those that are allowed."""

    def __init__(self, app: ASGIApp, *, allowed: Iterable[str] = ()) -> None:
        self._app = app
        self._allowed = frozenset(name.lower() for name in allowed)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Look at the Host header, for HTTP and for WebSockets."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        named = Headers(scope=scope).getlist("host")
        if len(named) == 1 and self._is_ours(_name(named[0])):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 4000 + HTTPStatus.MISDIRECTED_REQUEST})
        else:
            detail = (
                f"this server is not called {', '.join(named)[:_LONGEST_SHOWN]!r}; ask for localhost, or name it in "
                "server.allowed_hosts"
            )
            refusal = problem(HTTPStatus.MISDIRECTED_REQUEST, "misdirected_request", detail)
            await refusal(scope, receive, send)

    def _is_ours(self, name: str) -> bool:
        return name in self._allowed or name == "localhost" or name.endswith(".localhost") or _is_address(name)


def _name(host: str) -> str:
    """Return the name without the port; an IPv6 address stands in brackets."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].rstrip(".").lower()


def _is_address(name: str) -> bool:
    # No page can be at an address of this machine that is not of this machine.
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False
