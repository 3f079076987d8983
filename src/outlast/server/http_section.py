"""What the section `http` of `langgraph.json` does to the server: its own app, what is disabled, CORS, a prefix.

From the outside in: the prefix, CORS, the middleware of the project's app, its routes, and where it has none, ours.
"""

import re
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final, cast
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.middleware.cors import CORSMiddleware
from starlette.routing import BaseRoute, Match
from starlette.types import ASGIApp, Receive, Scope, Send

from outlast.agents.loading import load_attribute
from outlast.agents.project import Project
from outlast.agents.sections import CorsSection, HttpSection
from outlast.domain.acting import acting_for
from outlast.errors import AgentLoadError
from outlast.server.auth.asgi import admit
from outlast.server.auth.callers import Callers
from outlast.server.auth.scopes import OPEN
from outlast.server.problems import problem

_OF_RUNS: Final = r"/threads/[^/]+/(?:runs|commands|stream/events)"
_DISABLED: Final[Mapping[str, str]] = {
    "disable_assistants": r"/assistants(?:/.*)?",
    "disable_threads": rf"(?!{_OF_RUNS}(?:/|$))/threads(?:/.*)?",
    "disable_runs": rf"(?:/runs|{_OF_RUNS})(?:/.*)?",
    "disable_store": r"/store(?:/.*)?",
    "disable_meta": r"/(?:openapi\.json|docs|info|metrics|usage)",
}
# What FastAPI adds to an app by itself; ours describe the API.
_FASTAPI_PAGES: Final = frozenset({"openapi", "swagger_ui_html", "swagger_ui_redirect", "redoc_html"})
_LOCAL_PAGES: Final = r"https?://(?:localhost|127\.0\.0\.1|\[::1\])(?::\d+)?"
#: What pages may read of an answer, besides what CORS always shows.
_SHOWN: Final = ("Content-Location", "Location", "X-Pagination-Total", "X-Pagination-Next", "X-Request-Id")


def disabled_paths(http: HttpSection) -> re.Pattern[str] | None:
    """Return what the paths look like that are not served; None when everything is."""
    patterns = [pattern for name, pattern in _DISABLED.items() if getattr(http, name)]
    return re.compile("|".join(patterns), re.DOTALL) if patterns else None


class Disabled:
    """Answers 404 where something is disabled."""

    def __init__(self, app: ASGIApp, *, paths: re.Pattern[str]) -> None:
        self._app = app
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through what is not disabled."""
        if scope["type"] == "http" and self._paths.fullmatch(scope["path"]):
            await problem(404, "not_found", "this part of the API is disabled (http)")(scope, receive, send)
        elif scope["type"] == "websocket" and self._paths.fullmatch(scope["path"]):
            await send({"type": "websocket.close", "code": 4404})
        else:
            await self._app(scope, receive, send)


class CustomApp:
    """The project's Starlette or FastAPI app round ours: its routes come first, its middleware sees everything."""

    def __init__(self, custom: Starlette, ours: ASGIApp, *, auth: Callers | None) -> None:
        self._custom = custom
        self._ours = ours
        self._auth = auth
        self._routes = [route for route in custom.routes if getattr(route, "name", None) not in _FASTAPI_PAGES]
        self._state: Mapping[str, Any] = {}
        router = custom.router
        # Built by itself, round our choice of routes instead of its own router.
        custom.router = cast("Any", self._dispatch)
        try:
            self._stack = custom.build_middleware_stack()
        finally:
            custom.router = router

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        scope["app"] = self._custom
        scope["state"] = {**self._state, **scope.get("state", {})}
        await self._stack(scope, receive, send)

    @asynccontextmanager
    async def lifespan(self) -> AsyncGenerator[None]:
        """Begin and end what the project's app begins and ends with."""
        lifespan = self._custom.router.lifespan_context(self._custom)
        self._state = dict(await lifespan.__aenter__() or {})
        try:
            yield
        finally:
            # Without our cancellation: what stands behind its `yield` is to be executed.
            await lifespan.__aexit__(None, None, None)

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        found = _matching(self._routes, scope)
        if found is None:
            await self._ours(scope, receive, send)
            return
        route, child = found
        if self._auth is None or "outlast.caller" in scope:
            await self._handle(route, child, scope, receive, send)
            return
        scope["path_params"] = child.get("path_params", {})
        admitted = await admit(self._auth, scope, receive, send)
        if admitted is not None:
            caller, receive = admitted
            with acting_for(caller.principal):
                await self._handle(route, child, scope, receive, send)

    async def _handle(self, route: BaseRoute, child: Scope, scope: Scope, receive: Receive, send: Send) -> None:
        scope.update({"router": self._custom.router, "route": route, **child})
        await route.handle(scope, receive, send)


def _matching(routes: Sequence[BaseRoute], scope: Scope) -> tuple[BaseRoute, Scope] | None:
    # A path of theirs with a method of ours is ours.
    for route in routes:
        match, child = route.matches(scope)
        if match is Match.FULL:
            return route, child
    return None


class AuthFirst:
    """Asks who is calling before the project's middleware sees the request."""

    def __init__(self, app: ASGIApp, *, auth: Callers, custom: Sequence[BaseRoute]) -> None:
        self._app = app
        self._auth = auth
        self._custom = custom

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through whom the project's auth knows, and what is open."""
        if OPEN.fullmatch(scope["path"]) or _matching(self._custom, scope) is not None:
            await self._app(scope, receive, send)
            return
        admitted = await admit(self._auth, scope, receive, send)
        if admitted is not None:
            caller, receive = admitted
            with acting_for(caller.principal):
                await self._app(scope, receive, send)


class Origins:
    """CORS, and the same rule for WebSockets, which browsers open to anywhere without asking."""

    def __init__(self, app: ASGIApp, section: CorsSection | None) -> None:
        self._app = app
        self._cors = CORSMiddleware(app, **_cors_options(section))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve what may be served to the page that asks."""
        if scope["type"] == "websocket" and not self._may_open(Headers(scope=scope)):
            await send({"type": "websocket.close", "code": 4403, "reason": "this page may not connect (http.cors)"})
            return
        await self._cors(scope, receive, send)

    def _may_open(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        # What is no browser sends none.
        return origin is None or urlsplit(origin).netloc == headers.get("host") or self._cors.is_allowed_origin(origin)


def _cors_options(section: CorsSection | None) -> dict[str, Any]:
    if section is None:
        # Pages of this machine: with more, any page on the web could start runs on a developer's machine.
        section = CorsSection(allow_origin_regex=_LOCAL_PAGES)
    options = section.model_dump()
    return {**options, "expose_headers": [*_SHOWN, *section.expose_headers]}


class Prefixed:
    """Serves under a prefix and nothing beside it."""

    def __init__(self, app: ASGIApp, *, prefix: str) -> None:
        self._app = app
        self._prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take the prefix off."""
        path = cast("str", scope["path"]).removeprefix(self._prefix)
        if path != scope["path"] and (not path or path.startswith("/")):
            scope = {**scope, "path": path or "/"}
        elif scope["type"] == "http":
            await problem(404, "not_found", f"everything here is under {self._prefix}")(scope, receive, send)
            return
        else:
            await send({"type": "websocket.close", "code": 4404})
            return
        await self._app(scope, receive, send)


def load_custom(project: Project) -> Starlette | None:
    """Return the app that the project names as `http.app`; raises AgentLoadError when it is none."""
    path = project.sections.http.app
    if path is None:
        return None
    target = project.target("http.app", path)
    _, app = load_attribute(project, target)
    if not isinstance(app, Starlette):
        raise AgentLoadError(
            f"http.app: {path} is of type {type(app).__name__!r}; it has to be a Starlette or FastAPI application"
        )
    return app


def wrapped(ours: ASGIApp, project: Project, auth: Callers | None) -> tuple[ASGIApp, CustomApp | None]:
    """Return the application as it is served, and the project's own part of it."""
    http = project.sections.http
    app: ASGIApp = ours
    paths = disabled_paths(http)
    if paths is not None:
        app = Disabled(app, paths=paths)
    starlette = load_custom(project)
    custom = None
    if starlette is not None:
        custom = CustomApp(starlette, app, auth=auth if http.enable_custom_route_auth else None)
        app = custom
    if auth is not None and http.middleware_order == "auth_first":
        if "path_params" in auth.parameters:
            raise AgentLoadError("http.middleware_order: with 'auth_first' there are no path_params to authenticate by")
        open_routes = [] if starlette is None or http.enable_custom_route_auth else starlette.routes
        app = AuthFirst(app, auth=auth, custom=open_routes)
    app = Origins(app, http.cors)
    return Prefixed(app, prefix=http.mount_prefix) if http.mount_prefix else app, custom
