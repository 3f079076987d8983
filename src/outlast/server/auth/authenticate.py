"""Who is calling: the project's `@auth.authenticate`, asked with what it names in its signature."""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, cast

from langgraph_sdk import Auth
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request

from outlast.errors import ConfigurationError, Unauthenticated
from outlast.server.auth.cache import UserCache
from outlast.server.auth.users import User, as_user

STUDIO_USER: Final = "langgraph-studio-user"
_STUDIO_SCHEME: Final = "langsmith"


class Headers(dict[bytes, bytes]):
    """Headers as handlers expect them: the values are bytes, the names may be asked for as bytes or as text."""

    def __getitem__(self, name: bytes | str) -> bytes:
        return super().__getitem__(_name(name))

    def __contains__(self, name: object) -> bool:
        return isinstance(name, bytes | str) and super().__contains__(_name(name))

    def get(self, name: bytes | str, default: Any = None) -> Any:
        """Return the header's value."""
        return super().get(_name(name), default)


def _name(name: bytes | str) -> bytes:
    return (name.encode("latin-1", "replace") if isinstance(name, str) else name).lower()


async def _body(connection: HTTPConnection) -> Any:
    # A WebSocket has none.
    if not isinstance(connection, Request):
        return None
    try:
        return await connection.json() if await connection.body() else None
    except (ValueError, RecursionError):
        # The route says so, to those who may call it.
        return None


async def _given(value: Any) -> Any:
    return value


#: What a handler may name as a parameter.
PARAMETERS: Final[Mapping[str, Callable[[HTTPConnection], Awaitable[Any]]]] = {
    "request": _given,
    "body": _body,
    "path": lambda connection: _given(connection.url.path),
    "method": lambda connection: _given(connection.scope.get("method", "GET")),
    "path_params": lambda connection: _given(dict(connection.path_params)),
    "query_params": lambda connection: _given(dict(connection.query_params)),
    "headers": lambda connection: _given(Headers(connection.scope["headers"])),
    "authorization": lambda connection: _given(connection.headers.get("authorization")),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Authenticator:
    """The project's auth. `studio`: whoever says to be LangGraph Studio is believed, without any proof."""

    auth: Auth
    handler: Callable[..., Any]
    parameters: tuple[str, ...]
    studio: bool = False
    cache: UserCache | None = None

    def kept_user(self, connection: HTTPConnection) -> User | None:
        """Return the caller when nobody has to be asked, because of `auth.cache`."""
        key = None if self.cache is None else self.cache.key(connection.headers)
        return None if self.cache is None or key is None else self.cache.get(key)

    async def user_of(self, connection: HTTPConnection) -> User:
        """Return the caller.

        Raises Unauthenticated, or HTTPException where the handler raised the SDK's.
        """
        if self.studio and connection.headers.get("x-auth-scheme") == _STUDIO_SCHEME:
            studio = Auth.types.StudioUser(STUDIO_USER, is_authenticated=True)
            return User(STUDIO_USER, tuple(studio.permissions), studio)
        key = None if self.cache is None else self.cache.key(connection.headers)
        if self.cache is None or key is None:
            return await self._asked(connection)
        user = self.cache.get(key)
        if user is None:
            user = await self._asked(connection)
            self.cache.keep(key, user)
        return user

    async def _asked(self, connection: HTTPConnection) -> User:
        arguments = {name: await PARAMETERS[name](connection) for name in self.parameters}
        try:
            user = as_user(await self._ask(arguments))
        except Auth.exceptions.HTTPException as error:
            raise as_http(error) from error
        except AssertionError as error:
            raise Unauthenticated from error
        if user is None:
            raise Unauthenticated
        return user

    async def _ask(self, arguments: Mapping[str, Any]) -> object:
        if not inspect.iscoroutinefunction(self.handler):
            answer: object = await run_in_threadpool(self.handler, **arguments)
            return await answer if inspect.isawaitable(answer) else answer
        return cast("object", await self.handler(**arguments))


def as_http(error: Auth.exceptions.HTTPException) -> HTTPException:
    """Return what a handler raised as an answer; a status that is no refusal becomes 401."""
    status = error.status_code if 400 <= error.status_code < 600 else 401  # noqa: PLR2004 - HTTP's own classes
    # The SDK takes a detail of any type.
    return HTTPException(status, str(error.detail), headers=dict(error.headers or {}))


def parameters_of(handler: Callable[..., Any]) -> tuple[str, ...]:
    """Return which of PARAMETERS the handler takes; raises ConfigurationError when it needs anything else."""
    takes: list[str] = []
    for name, parameter in inspect.signature(handler).parameters.items():
        if name in PARAMETERS and parameter.kind is not parameter.POSITIONAL_ONLY:
            takes.append(name)
        elif parameter.kind is parameter.VAR_KEYWORD:
            return tuple(PARAMETERS)
        elif parameter.default is parameter.empty and parameter.kind is not parameter.VAR_POSITIONAL:
            raise ConfigurationError(
                f"the @auth.authenticate handler takes {name!r}, which nobody can fill; "
                f"it may take {', '.join(PARAMETERS)}, by name"
            )
    return tuple(takes)
