"""The one place where a request is let in: it is known who is calling, and they have the scope that the route needs.

Round each route of the API, HTTP and WebSocket alike. What is inside acts for the caller until the last byte of its
answer is sent (`domain.acting`), and so do the tasks that it starts.
"""

import copy
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any, Final, cast

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from outlast.domain.access import require_scope
from outlast.domain.acting import ANYBODY, Principal, acting_for
from outlast.errors import Forbidden, OutlastError
from outlast.server.auth.asgi import identified
from outlast.server.auth.callers import Callers
from outlast.server.auth.scopes import AUTHENTICATED, NEEDS, PUBLIC, WEBSOCKET
from outlast.server.auth.users import Caller
from outlast.server.bodies import JsonRequest
from outlast.server.problems import STATUS

# Both SDKs take a code of 4000 + an HTTP status as final.
_REFUSED: Final = 4000
_LONGEST_REASON: Final = 100
_NOBODY: Final = Principal(scopes=frozenset())


def guard(app: FastAPI, routers: Iterable[APIRouter], callers: Callers | None) -> None:
    """Give the app the routes of the routers, each with a guard, and put one before those that it has already."""
    routes = [*app.router.routes, *(route for router in routers for route in router.routes)]
    app.router.routes[:] = [guarded(route, callers) for route in routes]


def guarded(route: BaseRoute, callers: Callers | None) -> BaseRoute:
    """Return a copy of the route with a guard; the routers are those of all apps of the process."""
    theirs: Any = copy.copy(route)
    methods: Iterable[str] = getattr(route, "methods", None) or (WEBSOCKET,)
    needs = {method: NEEDS.get(f"{method} {theirs.path}") for method in methods}
    theirs.app = _Guarded(theirs.app, needs, callers)
    return cast("BaseRoute", theirs)


class _Guarded:
    """One route with what it needs, by method."""

    def __init__(self, app: ASGIApp, needs: Mapping[str, str | None], callers: Callers | None) -> None:
        self._app = app
        self._needs = needs
        self._callers = callers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let in whoever may come in, and act for them."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
            return
        who, receive = await self._admitted(scope, receive)
        with acting_for(who):
            await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            who, _ = await self._admitted(scope, receive)
        except (OutlastError, HTTPException) as error:
            if isinstance(error, OutlastError) and STATUS[error.code] is HTTPStatus.INTERNAL_SERVER_ERROR:
                # Of what is ours to repair a client learns that it is: uvicorn answers 500, and logs the rest.
                raise
            status = error.status_code if isinstance(error, HTTPException) else STATUS[error.code]
            detail = error.detail if isinstance(error, HTTPException) else str(error)
            # Browsers tell a page nothing of a refusal before it is accepted.
            socket = WebSocket(scope, receive, send)
            await socket.accept()
            await socket.close(_REFUSED + status, detail[:_LONGEST_REASON])
            return
        with acting_for(who):
            await self._app(scope, receive, send)

    async def _admitted(self, scope: Scope, receive: Receive) -> tuple[Principal, Receive]:
        """Return for whom to act; raises what refuses them."""
        need = self._needs.get(scope.get("method", WEBSOCKET))
        if need is None:
            raise Forbidden("nobody has said who may do this; it needs a line in outlast.server.auth.scopes")
        if self._callers is None:
            return ANYBODY, receive
        if need == PUBLIC:
            return _NOBODY, receive
        caller = cast("Caller | None", scope.get("outlast.caller"))
        if caller is None:
            caller, receive = await identified(self._callers, scope, receive, reader=JsonRequest)
        if need != AUTHENTICATED:
            with acting_for(caller.principal):
                require_scope(need)
        return caller.principal, receive
