"""What may come in as a body, and how it is read.

The limit counts the bytes that arrive, whatever the headers promise; a compressed body is refused, since what it would
become is unknown. Only `application/json` is read: a browser sends that to another site after asking first, and so no
web page can start runs on a developer's machine.
"""

import re
from collections.abc import Callable, Coroutine
from http import HTTPStatus
from typing import Any, Final, cast

import orjson
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from outlast.admission.payload import check_depth
from outlast.errors import InvalidInput
from outlast.server.auth.access import require_no_owners, user_of
from outlast.server.current import runtime_of
from outlast.server.problems import problem

# An escaped pair, a lone surrogate, any other escape: in this order, so that only lone ones are found.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
# Far more than any model has; without a limit, each of a million unknown fields would become an error message.
_MOST_FIELDS = 100
_LONGEST_LENGTH = 18
# What stands round a value that may have `server.max_depth` levels: a list of runs, a run, its command.
_LEVELS_AROUND: Final = 8


class BodyLimit:
    """ASGI middleware: refuses bodies that are too large, compressed, or not JSON."""

    def __init__(self, app: ASGIApp, *, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the headers, then count what arrives."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        # Each of them: a header may come twice.
        if any(name == b"content-encoding" and value.lower() != b"identity" for name, value in scope["headers"]):
            return _unsupported("a compressed body is not read; send it without Content-Encoding")
        length = headers.get(b"content-length", b"0")
        if length == b"0" and b"transfer-encoding" not in headers:
            return None
        # int() refuses thousands of digits, and so do we.
        if len(length) > _LONGEST_LENGTH or (length.isdigit() and int(length) > self._max_bytes):
            return problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "body_too_large", self._too_large())
        if not _is_json(headers.get(b"content-type", b"")):
            return _unsupported("the body must be JSON; send the header Content-Type: application/json")
        return None

    def _counted(self, receive: Receive) -> Receive:
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            if message["type"] == "http.request":
                received += len(message.get("body", b""))
                if received > self._max_bytes:
                    # FastAPI lets this one exception pass while it reads a body.
                    raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, self._too_large())
            return message

        return counted

    def _too_large(self) -> str:
        return f"the body is larger than {self._max_bytes:,} bytes; keep large data elsewhere and send its address"


def _unsupported(detail: str) -> Response:
    return problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)


def _is_json(media: bytes) -> bool:
    kind = media.partition(b";")[0].strip().lower()
    return kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json"))


def parse(body: bytes, *, max_depth: int) -> Any:
    """Return the body's value; raises orjson.JSONDecodeError, also for NaN and for what no float holds, as 1e999.

    Half a surrogate pair, which some clients send when they cut a text, becomes U+FFFD. An integer of more than 64 bits
    becomes a float, as in JavaScript; of two fields of one name the last one counts, as there.
    Raises InvalidInput for more levels than a value may have and what stands round it.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        repaired, changes = _ESCAPE.subn(lambda escape: rb"\ufffd" if escape[1] else escape[0], body)
        if not changes or repaired == body:
            raise
        value = orjson.loads(repaired)
    check_depth(body, value, max_depth + _LEVELS_AROUND)
    return value


class _Refused(HTTPException):
    """The one kind of exception that FastAPI lets pass while it reads a body."""

    def __init__(self, error: InvalidInput) -> None:
        super().__init__(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        self.field = error.field


class JsonRequest(Request):
    """A request whose body is read by `parse`."""

    async def json(self) -> Any:
        """Return the body's value, parsed once."""
        if not hasattr(self, "_json"):
            try:
                value: Any = parse(await self.body(), max_depth=runtime_of(self).settings.server.max_depth)
            except InvalidInput as error:
                raise _Refused(error) from error
            if isinstance(value, dict) and len(cast("dict[str, Any]", value)) > _MOST_FIELDS:
                raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, f"the body has more than {_MOST_FIELDS} fields")
            self._json: Any = value
        return self._json


class OpenRoute(APIRoute):
    """A route for anybody, whose body is read by `parse`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Hand FastAPI a request that parses as we do."""
        handle = super().get_route_handler()

        async def read(request: Request) -> Response:
            return await handle(JsonRequest(request.scope, request.receive))

        return read


class JsonRoute(OpenRoute):
    """A route for those whom the project's auth knows; for everybody when it has none."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Ask who is calling before anything of the body is looked at."""
        handle = APIRoute.get_route_handler(self)

        async def read(request: Request) -> Response:
            request = JsonRequest(request.scope, request.receive)
            await self.admit(request)
            return await handle(request)

        return read

    async def admit(self, request: Request) -> None:
        """Raise Unauthenticated, or what the project's handler raises."""
        await user_of(request)


class PlainRoute(JsonRoute):
    """A route whose runs and threads have no owners: closed where the project's auth decides by owner."""

    async def admit(self, request: Request) -> None:
        """Refuse before anything of the body is looked at."""
        await super().admit(request)
        require_no_owners(request)


class Json(Response):
    """A response that orjson writes: dataclasses, UUIDs and times as they are."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the content as JSON."""
        return orjson.dumps(content)
