"""Authentication outside of our own routes: in front of the project's middleware, and of its own routes."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.authentication import AuthCredentials
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from outlast.errors import Unauthenticated
from outlast.server.auth.authenticate import Authenticator
from outlast.server.problems import HTTP_CODES, problem

# Kept in memory for the handler, before it is known who sends it.
_MOST_BYTES: Final = 8 * 1024 * 1024


async def admit(authenticator: Authenticator, scope: Scope, receive: Receive, send: Send) -> Receive | None:
    """Let the caller in: `scope["user"]` and `scope["auth"]` say who it is, and the body can still be read.

    None when the refusal has been sent.
    """
    kept, receive = await _kept(authenticator, scope, receive)
    connection = Request(scope, kept) if scope["type"] == "http" else HTTPConnection(scope)
    try:
        user = await authenticator.user_of(connection)
    except Unauthenticated as error:
        refusal = problem(HTTPStatus.UNAUTHORIZED, error.code, str(error))
    except HTTPException as error:
        code = HTTP_CODES.get(error.status_code, "http_error")
        refusal = problem(error.status_code, code, str(error.detail), headers=error.headers)
    else:
        scope["outlast.user"] = user
        scope["user"] = user.given
        scope["auth"] = AuthCredentials(list(user.permissions))
        return receive
    await _refuse(refusal, scope, receive, send)
    return None


async def _kept(authenticator: Authenticator, scope: Scope, receive: Receive) -> tuple[Receive, Receive]:
    """Return two ways to read the body: one for the handler, and one for whoever comes after it."""
    if scope["type"] != "http" or not {"body", "request"} & set(authenticator.parameters):
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
