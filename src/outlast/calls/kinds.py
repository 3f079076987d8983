"""What an exception of a provider means, whichever SDK raised it.

Errors are recognised by what they carry (status, codes, the names of their classes), never by importing an SDK. In the
order of trust: codes that mean one thing whatever the status, the HTTP status, other codes, class names, and, for what
an adapter raises while it reads an answer, the functions it was in.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from traceback import walk_tb
from typing import Any, Final, cast

from outlast.calls.call import Answer
from outlast.calls.error_names import (
    BY_CLASS,
    BY_CODE,
    BY_STATUS,
    CERTAIN_CODES,
    EMPTY_STREAMS,
    NO_CREDIT,
    READING,
    WRITING,
)
from outlast.calls.retry_after import retry_after
from outlast.errors import OutlastError

_BAD_REQUEST, _CLIENT_ERRORS, _SERVER_ERRORS = 400, range(400, 500), range(500, 600)
#: A wrapper of a wrapper of a wrapper is as deep as adapters go.
_DEEPEST: Final = 5
#: What an adapter raises when an answer is not what it expected.
_MISREADINGS: Final = (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError)
#: Always say why they stopped; an answer that does not ended early. Others may have no word for it.
_FINISHING: Final = frozenset({"openai", "azure_openai", "anthropic"})
_REASONS: Final = ("finish_reason", "stop_reason", "status", "done_reason")


class Kind(StrEnum):
    """How a try failed."""

    TIMEOUT = "timeout"
    RATE_LIMIT = "rate_limit"
    #: It could not be reached, broke off, or has troubles of its own (5xx).
    NETWORK = "network"
    #: The answer ended early or cannot be read.
    BAD_ANSWER = "bad_answer"
    UNAUTHORIZED = "unauthorized"
    #: The account is out of money; like a bad key, only a person can help.
    QUOTA = "quota"
    #: The request itself is not accepted: malformed, too long, against a policy.
    REFUSED = "refused"
    #: The provider has no such model.
    NOT_FOUND = "not_found"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """A failed try, as far as its exception tells."""

    kind: Kind
    status: int | None = None
    #: Seconds that the provider asks to wait.
    retry_after: float | None = None


class EndedEarly(Exception):
    """The answer has an end but no reason for it: the provider, or something on the way, broke off."""


def failure_of(error: BaseException) -> Failure | None:
    """Return what the exception says of the provider; None: it is not about the provider."""
    for cause in _causes(error):
        kind = _kind(cause)
        if kind is not None:
            return Failure(kind=kind, status=_status(cause), retry_after=retry_after(cause))
    return None


def kind_of(error: BaseException) -> Kind | None:
    """Return the kind alone."""
    failure = failure_of(error)
    return failure.kind if failure is not None else None


def require_whole(answer: Answer, provider: str) -> None:
    """Raise EndedEarly for an answer that broke off without an error: SDKs take the end of a stream for its end."""
    if not answer.result.generations:
        msg = "the answer is empty"
        raise EndedEarly(msg)
    if provider not in _FINISHING:
        return
    for generation in answer.result.generations:
        told = generation.generation_info or {}
        metadata = generation.message.response_metadata
        if not any(metadata.get(name) or told.get(name) for name in _REASONS):
            msg = "the answer ended without saying why"
            raise EndedEarly(msg)


def _causes(error: BaseException) -> Iterable[BaseException]:
    """Yield the exception and what it wraps: adapters have errors of their own for those of their SDK."""
    current: BaseException | None = error
    for _ in range(_DEEPEST):
        # Errors of ours say already what they mean, and what caused them was judged then.
        if current is None or isinstance(current, OutlastError):
            return
        yield current
        if isinstance(current, BaseExceptionGroup):
            current = cast("BaseExceptionGroup[BaseException]", current).exceptions[0]
        else:
            current = current.__cause__


def _kind(error: BaseException) -> Kind | None:
    if not isinstance(error, Exception):
        return None
    if isinstance(error, EndedEarly):
        return Kind.BAD_ANSWER
    body = _body(error)
    codes = _codes(error, body)
    found = _named(CERTAIN_CODES, codes) or _of_status(error, _status(error), codes)
    return Kind(found) if found is not None else None


def _of_status(error: Exception, status: int | None, codes: list[str]) -> str | None:
    if status == _BAD_REQUEST and NO_CREDIT in str(error).lower():
        return "quota"
    if status is not None and status in _CLIENT_ERRORS:
        return BY_STATUS.get(status, "refused")
    if status in _SERVER_ERRORS:
        return "network"
    names = [cls.__name__ for cls in type(error).__mro__]
    # In mid-stream an error comes with the status of the stream, 200, or with none; then its codes tell.
    return _named(BY_CODE, codes) or _named(BY_CLASS, names) or _misread(error)


def _named(table: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((table[name] for name in names if name in table), None)


def _misread(error: Exception) -> str | None:
    """Recognise an adapter that stumbled over an answer; such errors have no class of their own."""
    if not isinstance(error, _MISREADINGS):
        return None
    if str(error).startswith(EMPTY_STREAMS):
        return "bad_answer"
    for frame, _ in walk_tb(error.__traceback__):
        name = frame.f_code.co_name.lower()
        ours = str(frame.f_globals.get("__name__")).startswith("outlast.")
        if not ours and any(word in name for word in READING) and not any(word in name for word in WRITING):
            return "bad_answer"
    return None


def _status(error: BaseException) -> int | None:
    response = getattr(error, "response", None)
    for holder in (error, response):
        for name in ("status_code", "http_status", "status", "code"):
            status = _http_status(getattr(holder, name, None))
            if status is not None:
                return status
    if isinstance(response, Mapping):
        # botocore
        metadata = cast("Mapping[str, Any]", response).get("ResponseMetadata")
        if isinstance(metadata, Mapping):
            return _http_status(cast("Mapping[str, Any]", metadata).get("HTTPStatusCode"))
    return _http_status(_body(error).get("code"))


def _http_status(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 100 <= value < 600:  # noqa: PLR2004 - what HTTP has
        return int(value)
    return None


def _body(error: BaseException) -> Mapping[str, Any]:
    """Return what the provider said: OpenAI's and Anthropic's JSON, botocore's answer, or a dict that was raised."""
    for found in (getattr(error, "body", None), getattr(error, "response", None), *error.args[:1]):
        if isinstance(found, Mapping):
            body = cast("Mapping[str, Any]", found)
            inner = body.get("error") or body.get("Error")
            return cast("Mapping[str, Any]", inner) if isinstance(inner, Mapping) else body
    return {}


def _codes(error: BaseException, body: Mapping[str, Any]) -> list[str]:
    found: list[Any] = [getattr(error, name, None) for name in ("code", "type", "error_code", "status")]
    found += [body.get(name) for name in ("code", "Code", "type", "status")]
    inner = body.get("innererror")
    if isinstance(inner, Mapping):
        # Azure
        found.append(cast("Mapping[str, Any]", inner).get("code"))
    return [code.lower() for code in (_grpc_name(code) for code in found) if code]


def _grpc_name(code: Any) -> str | None:
    """Return the code's name; gRPC has a method there, which returns a member of an enumeration."""
    if callable(code):
        try:
            code = code()
        # A method that merely has the same name.
        except Exception:  # noqa: BLE001
            return None
    if isinstance(code, str):
        return code
    name = getattr(code, "name", None)
    return name if isinstance(name, str) else None
