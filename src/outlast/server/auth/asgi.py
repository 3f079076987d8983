"""Authentication as ASGI: before our own routes, before the project's middleware, and before its own routes."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.authentication import AuthCredentials
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from outlast.errors import OutlastError
from outlast.server.auth.callers import Callers
from outlast.server.auth.users import Caller
from outlast.server.problems import HTTP_CODES, problem, refusal_of

# Kept in memory for the handler, before it is known who sends it.
_MOST_BYTES: Final = 8 * 1024 * 1024


async def identified(
    callers: Callers, scope: Scope, receive: Receive, *, reader: type[Request] = Request
) -> tuple[Caller, Receive]:
    """Return who is calling, and a way to read the body from its beginning.

    `scope["outlast.caller"]` says it from here on. `reader` reads the body for the project's handler, as the route
    will. Raises what `Callers.caller_of` raises.
    """
    kept, receive = _kept(callers, scope, receive)
    connection = reader(scope, kept) if scope["type"] == "http" else HTTPConnection(scope)
    caller = await callers.caller_of(connection)
    scope["outlast.caller"] = caller
    return caller, receive


async def admit(callers: Callers, scope: Scope, receive: Receive, send: Send) -> tuple[Caller, Receive] | None:
    """Let the caller in: `scope["user"]` and `scope["auth"]` say who it is, and the body can still be read.

    None when the refusal has been sent.
    """
    try:
        caller, receive = await identified(callers, scope, receive)
    except OutlastError as error:
        refusal = refusal_of(error, f"{scope.get('method', 'WS')} {scope['path']}")
    except HTTPException as error:
        code = HTTP_CODES.get(error.status_code, "http_error")
        refusal = problem(error.status_code, code, str(error.detail), headers=error.headers)
    else:
        scope["user"] = caller.user.given
        scope["auth"] = AuthCredentials(list(caller.user.permissions))
        return caller, receive
    await _refuse(refusal, scope, receive, send)
    return None


def _kept(callers: Callers, scope: Scope, receive: Receive) -> tuple[Receive, Receive]:
    """Return two ways to read the body: one for the handler, and one for whoever comes after it."""
    if scope["type"] != "http" or not {"body", "request"} & set(callers.parameters):
        return receive, receive
    messages: list[Message] = []
    size = 0

    async def reading() -> Message:
        nonlocal size
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > _MOST_BYTES:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"the body is larger than {_MOST_BYTES:,} bytes")
        return message

    async def again() -> Message:
        return messages.pop(0) if messages else await receive()

    return reading, again


async def _refuse(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "websocket":
        # Before it is accepted, closing is an answer of HTTP: 403.
        closing: Mapping[str, Any] = {"type": "websocket.close", "code": 4000 + refusal.status_code, "reason": ""}
        await send(dict(closing))
        return
    await refusal(scope, receive, send)
