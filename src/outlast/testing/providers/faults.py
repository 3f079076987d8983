"""What can go wrong at a provider, and when it does."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from outlast.testing.providers.replies import TokenUsage
from outlast.testing.providers.requests import Request, WireName

Kind: TypeAlias = Literal[
    "delay",
    "status",
    "close",
    "reset",
    "reset_midway",
    "cut_midway",
    "early_end",
    "error_midway",
    "garbage",
    "empty",
    "drip",
    "usage",
    "hold",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One way to fail; the functions of this module make them.

    `seconds` is waited before it strikes (between two pieces for a drip). `pieces` of a streamed answer go out before;
    of an answer in one piece, half of the body does.
    """

    kind: Kind
    seconds: float = 0.0
    pieces: int = 2
    status: int = 500
    code: str = "server_error"
    message: str = "The server had an error while processing your request."
    #: What `Retry-After` says; with `as_date` as an HTTP date, which has whole seconds only.
    retry_after: float | None = None
    as_date: bool = False
    #: A page of the proxy in front of the provider instead of the provider's own JSON.
    html: bool = False
    usage: TokenUsage | None = None


def delay(seconds: float) -> Fault:
    """Answer late, but well."""
    return Fault(kind="delay", seconds=seconds)


def rate_limited(retry_after: float | None = 1.0, *, as_date: bool = False, quota: bool = False) -> Fault:
    """Answer 429; `quota` is the one that no waiting cures (OpenAI's `insufficient_quota`)."""
    code = "insufficient_quota" if quota else "rate_limit_exceeded"
    message = "You exceeded your current quota." if quota else "Rate limit reached for requests."
    return Fault(kind="status", status=429, code=code, message=message, retry_after=retry_after, as_date=as_date)


def status(status: int, *, html: bool = False, retry_after: float | None = None, seconds: float = 0.0) -> Fault:
    """Answer 500, 502, 503, 504, 529 (Anthropic's "overloaded") or whatever it is, after so many seconds."""
    code, message = _WORDS.get(status, ("server_error", "The server had an error while processing your request."))
    return Fault(
        kind="status",
        status=status,
        code=code,
        message=message,
        html=html,
        retry_after=retry_after,
        seconds=seconds,
    )


def content_policy() -> Fault:
    """Answer 400 because of what was asked: asking again, or somebody else, is no cure."""
    message = "Your request was rejected as a result of our safety system (content policy)."
    return Fault(kind="status", status=400, code="content_policy_violation", message=message)


def bad_request(message: str = "Invalid value for 'messages'.") -> Fault:
    """Answer 400 because of how it was asked."""
    return Fault(kind="status", status=400, code="invalid_value", message=message)


def context_too_long(limit: int = 128_000) -> Fault:
    """Answer 400 because the conversation does not fit the model's window."""
    message = f"This model's maximum context length is {limit} tokens: prompt is too long."
    return Fault(kind="status", status=400, code="context_length_exceeded", message=message)


def unauthorized() -> Fault:
    """Answer 401: no such key."""
    return status(401)


def forbidden() -> Fault:
    """Answer 403: the key may not do this."""
    return status(403)


def closed(seconds: float = 0.0) -> Fault:
    """Hang up politely (FIN) without an answer."""
    return Fault(kind="close", seconds=seconds)


def reset(seconds: float = 0.0) -> Fault:
    """Hang up with a RST without an answer."""
    return Fault(kind="reset", seconds=seconds)


def reset_midway(pieces: int = 2) -> Fault:
    """Hang up with a RST in the middle of the answer."""
    return Fault(kind="reset_midway", pieces=pieces)


def cut_midway(pieces: int = 2) -> Fault:
    """Hang up politely in the middle: fewer bytes than content-length says, or chunks without a last one."""
    return Fault(kind="cut_midway", pieces=pieces)


def early_end(pieces: int = 2) -> Fault:
    """End a stream without `[DONE]` or `message_stop`, though HTTP is in order; an answer in one piece is cut."""
    return Fault(kind="early_end", pieces=pieces)


def error_midway(pieces: int = 2, *, status: int = 529, code: str = "overloaded_error") -> Fault:
    """Say in the middle of a stream that it failed. An answer in one piece gets the status instead."""
    return Fault(kind="error_midway", pieces=pieces, status=status, code=code, message="Overloaded")


def garbage(pieces: int = 2) -> Fault:
    """Answer 200 with what is not JSON, from the given piece on."""
    return Fault(kind="garbage", pieces=pieces)


def empty() -> Fault:
    """Answer 200 with an answer that says nothing: no choices, no content."""
    return Fault(kind="empty")


def drip(seconds: float = 0.1) -> Fault:
    """Send the answer in small pieces with so many seconds in between; a read timeout never sees silence for long."""
    return Fault(kind="drip", seconds=seconds)


def wrong_usage(usage: TokenUsage | None = None) -> Fault:
    """Report this usage; None leaves it out."""
    return Fault(kind="usage", usage=usage)


def hold(pieces: int = 0) -> Fault:
    """Stop, before the answer or after so many pieces of a stream, until it is released; see `Request.held`."""
    return Fault(kind="hold", pieces=pieces)


_WORDS = {
    401: ("invalid_api_key", "Incorrect API key provided."),
    403: ("permission_denied", "Your key does not have access to this model."),
    404: ("model_not_found", "The model does not exist or you do not have access to it."),
    502: ("server_error", "Bad gateway."),
    503: ("server_error", "The engine is currently overloaded, please try again later."),
    504: ("server_error", "The gateway timed out."),
    529: ("overloaded_error", "Overloaded"),
}


@dataclass(slots=True, kw_only=True, eq=False)
class Incident:
    """A fault and the requests that it strikes.

    All conditions have to hold. `times` counts hits, `starts_at` and `ends_at` are on `clock`.
    """

    fault: Fault
    times: int | None = None
    probability: float = 1.0
    starts_at: float = 0.0
    ends_at: float | None = None
    model: str | None = None
    wire: WireName | None = None
    when: Callable[[Request], bool] | None = None
    clock: Callable[[], float] = time.monotonic
    #: Of its own, so that incidents do not shift each other's sequence.
    chance: random.Random = field(default_factory=lambda: random.Random(0))  # noqa: S311 - to be repeatable
    #: The requests that it struck.
    hits: list[Request] = field(default_factory=list[Request])
    over: bool = False

    def strikes(self, request: Request) -> bool:
        """Decide on a request, and count it if so."""
        if self._exhausted() or not self._concerns(request):
            return False
        # Drawn only for a request that it concerns: others must not shift the sequence of a seed.
        if self.probability < 1.0 and self.chance.random() >= self.probability:
            return False
        self.hits.append(request)
        return True

    def end(self) -> None:
        """Strike no more."""
        self.over = True

    def _exhausted(self) -> bool:
        now = self.clock()
        spent = self.times is not None and len(self.hits) >= self.times
        return self.over or spent or now < self.starts_at or (self.ends_at is not None and now >= self.ends_at)

    def _concerns(self, request: Request) -> bool:
        return (
            self.model in {None, request.model}
            and self.wire in {None, request.wire}
            and (self.when is None or self.when(request))
        )
