"""Every refusal and failure as one shape: RFC 9457 `application/problem+json`.

    {"type": "urn:outlast:problem:invalid_input", "title": "Unprocessable Content", "status": 422,
     "code": "invalid_input", "detail": "there is no agent 'docs' ...", "field": "agent"}

`code` is for programs and never changes. What went wrong inside us is told by an error id alone: the same id is in the
log, with everything else.
"""

import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from math import ceil
from typing import Any, Final, cast

import orjson
import uuid_utils.compat as uuid_utils
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from outlast.errors import Conflict, InvalidInput, OutlastError, StateError
from outlast.refusals import AdmissionRefused, RateLimited

log = logging.getLogger(__name__)

STATUS: Final[Mapping[str, HTTPStatus]] = {
    "invalid_input": HTTPStatus.UNPROCESSABLE_ENTITY,
    "unauthenticated": HTTPStatus.UNAUTHORIZED,
    "forbidden": HTTPStatus.FORBIDDEN,
    "not_supported": HTTPStatus.UNPROCESSABLE_ENTITY,
    "admission_refused": HTTPStatus.FORBIDDEN,
    "rate_limited": HTTPStatus.TOO_MANY_REQUESTS,
    "queue_full": HTTPStatus.TOO_MANY_REQUESTS,
    "overloaded": HTTPStatus.SERVICE_UNAVAILABLE,
    "budget_exceeded": HTTPStatus.PAYMENT_REQUIRED,
    "policy_refused": HTTPStatus.FORBIDDEN,
    "not_found": HTTPStatus.NOT_FOUND,
    "conflict": HTTPStatus.CONFLICT,
    "thread_conflict": HTTPStatus.CONFLICT,
    "thread_quarantined": HTTPStatus.CONFLICT,
    "thread_busy": HTTPStatus.CONFLICT,
    "nothing_to_resume": HTTPStatus.CONFLICT,
    "already_answered": HTTPStatus.CONFLICT,
    "question_changed": HTTPStatus.CONFLICT,
    "run_ended": HTTPStatus.CONFLICT,
    "lease_lost": HTTPStatus.CONFLICT,
    "state_unreadable": HTTPStatus.CONFLICT,
    "state_not_serializable": HTTPStatus.UNPROCESSABLE_ENTITY,
    "state_too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "database_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    "embedding_failed": HTTPStatus.SERVICE_UNAVAILABLE,
    # The server stands before a provider, as a gateway does. Its key is not the client's: a 401 would ask for that.
    "call_failed": HTTPStatus.BAD_GATEWAY,
    "provider_unauthorized": HTTPStatus.BAD_GATEWAY,
    "bad_answer": HTTPStatus.BAD_GATEWAY,
    "not_applied": HTTPStatus.BAD_GATEWAY,
    # The same request may succeed later; this one goes out with Retry-After.
    "provider_unavailable": HTTPStatus.SERVICE_UNAVAILABLE,
    # It is what the client asked for that the provider does not take.
    "provider_refused": HTTPStatus.UNPROCESSABLE_ENTITY,
    # The run is there, but not in a state to go on: somebody has to decide.
    "cap_reached": HTTPStatus.CONFLICT,
    "effect_unknown": HTTPStatus.CONFLICT,
    "effect_mismatch": HTTPStatus.CONFLICT,
    # Ours to repair: the detail stays in the log.
    "undecipherable": HTTPStatus.INTERNAL_SERVER_ERROR,
    "blocking_call": HTTPStatus.INTERNAL_SERVER_ERROR,
    "state_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "configuration_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "agent_load_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "database_setup_error": HTTPStatus.INTERNAL_SERVER_ERROR,
    "outlast_error": HTTPStatus.INTERNAL_SERVER_ERROR,
}

#: What HTTP itself refuses, as codes.
HTTP_CODES: Final[Mapping[int, str]] = {
    400: "bad_request",
    401: "unauthenticated",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    413: "body_too_large",
    415: "unsupported_media_type",
    422: "invalid_input",
}
# An auth handler may refuse with a status that has no name, like 440.
_TITLES: Final[Mapping[int, str]] = {status.value: status.phrase for status in HTTPStatus}
_RETRY_AFTER: Final = {"Retry-After": "1"}
# HTTP wants a 401 to say how one signs in.
_CHALLENGE: Final = {"WWW-Authenticate": "Bearer"}
_MOST_ERRORS = 20
_LONGEST_FIELD = 200
_ROUTES: Final = "GET /docs lists what there is"

#: For `responses=` of a router: what any route may answer instead, in the API's description.
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    code: {
        "description": description,
        "content": {
            "application/problem+json": {
                "schema": {
                    "type": "object",
                    "required": ["type", "title", "status", "detail", "code"],
                    "properties": {
                        **{name: {"type": "string"} for name in ("type", "title", "detail", "code", "field")},
                        "status": {"type": "integer"},
                        "errors": {"type": "array", "items": {"type": "object"}},
                    },
                }
            }
        },
    }
    for code, description in (("4XX", "The request was refused."), ("5XX", "It failed here; try again later."))
}


def problem(status: int, code: str, detail: str, *, headers: Mapping[str, str] | None = None, **more: Any) -> Response:
    """Return the response; members of `more` that are None are left out."""
    body = {
        "type": f"urn:outlast:problem:{code}",
        "title": _TITLES.get(status, "Error"),
        "status": int(status),
        "code": code,
        "detail": detail,
        **{name: value for name, value in more.items() if value is not None},
    }
    # Text that a user's code put into an error may hold anything.
    content = orjson.dumps(body, default=str)
    return Response(content, int(status), dict(headers or {}), "application/problem+json")


def failure(error: BaseException, request: str) -> Response:
    """Log an error that nobody expected and return a problem that names it by id."""
    error_id = uuid_utils.uuid7().hex
    # %r, so that a path cannot write lines of its own into the log.
    log.error("error %s in %r", error_id, request, exc_info=error)
    detail = f"Something went wrong here. It is in the log as error {error_id}."
    return problem(HTTPStatus.INTERNAL_SERVER_ERROR, "internal_error", detail, error_id=error_id)


def install(app: FastAPI) -> None:
    """Answer every exception with a problem."""
    # Starlette types a handler by Exception alone.
    for kind, handler in (
        (OutlastError, _refused),
        (RequestValidationError, _invalid),
        (HTTPException, _http),
    ):
        app.add_exception_handler(kind, cast("Any", handler))


async def _refused(request: Request, error: OutlastError) -> Response:
    return refusal_of(error, f"{request.method} {request.url.path}")


def refusal_of(error: OutlastError, request: str) -> Response:
    """Return the answer to a request that ended with this error; what is ours to repair goes to the log."""
    status = STATUS[error.code]
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return failure(error, request)
    field = error.field if isinstance(error, InvalidInput) else None
    path = error.path if isinstance(error, StateError) else None
    headers = refusal_headers(error) if isinstance(error, AdmissionRefused) else None
    if headers is None and error.retryable:
        headers = _RETRY_AFTER
    if status is HTTPStatus.UNAUTHORIZED:
        headers = _CHALLENGE
    details: Mapping[str, Any] = error.details if isinstance(error, Conflict | AdmissionRefused) else {}
    return problem(status, error.code, _text(str(error)), headers=headers, field=field, path=path, **details)


def refusal_headers(error: AdmissionRefused) -> Mapping[str, str]:
    """Return when to come back, and how much of a limit is left, in whole seconds that are never too few."""
    headers: dict[str, str] = {}
    if error.retry_after is not None:
        headers["Retry-After"] = str(max(1, ceil(error.retry_after)))
    if isinstance(error, RateLimited):
        window = ceil(error.window)
        headers["RateLimit-Limit"] = str(error.limit)
        headers["RateLimit-Remaining"] = str(error.remaining)
        headers["RateLimit-Reset"] = headers.get("Retry-After", str(window))
        headers["RateLimit-Policy"] = f"{error.limit};w={window}"
    return headers


async def _invalid(_request: Request, error: RequestValidationError) -> Response:
    # FastAPI's own detail repeats the input; that may be large, and it may be secret.
    found = cast("Sequence[dict[str, Any]]", error.errors()[:_MOST_ERRORS])
    errors = [{"field": _field(item["loc"]), "message": _message(item)} for item in found]
    first = errors[0]
    detail = "; ".join(f"{item['field']}: {item['message']}" for item in errors[:3])
    return problem(422, "invalid_input", detail, field=first["field"], errors=errors)


async def _http(request: Request, error: HTTPException) -> Response:
    code = HTTP_CODES.get(error.status_code, "http_error")
    detail = _unrouted(request, error) or _text(error.detail)
    return problem(error.status_code, code, detail, headers=error.headers, field=getattr(error, "field", None))


def _unrouted(request: Request, error: HTTPException) -> str | None:
    """Return what a client is told that no route is for; None for what a route has refused."""
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        allowed = (error.headers or {}).get("Allow", "")
        return f"{request.method} is not for this path, {allowed} is; {_ROUTES}"
    if error.status_code == HTTPStatus.NOT_FOUND and "endpoint" not in request.scope:
        return f"there is no {_text(request.url.path)[:_LONGEST_FIELD]}; {_ROUTES}"
    return None


def _message(item: Mapping[str, Any]) -> str:
    match item["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return "is missing"
        case "json_invalid":
            return f"is not valid JSON: {item['ctx']['error']}"
        case _:
            return _text(str(item["msg"]))


def _field(location: Sequence[str | int]) -> str:
    """Return `config.tags[0]` for ("body", "config", "tags", 0): the client knows where it wrote it.

    A field of the second item of a list is `body[1].input`; ("body", 17) is where the JSON broke off.
    """
    parts = list(location)
    nested = len(parts) > len(("body", 0))
    inner = parts[1:] if len(parts) > 1 and isinstance(parts[1], str) else parts[: None if nested else 1]
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in inner).removeprefix(".")
    return _text(path)[:_LONGEST_FIELD]


def _text(text: str) -> str:
    return text.encode("utf-8", "replace").decode()
