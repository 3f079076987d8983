"""What takes time, as spans of a trace; free of cost as long as nobody traces.

    with span("model", model=name) as current:
        ...
        current.set(tokens=12)

Names and fields are ours; whoever traces gives them the names of the field (`monitoring.tracing`).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol

from outlast.telemetry.surroundings import surroundings


class Span(Protocol):
    """A span that has begun."""

    def set(self, **fields: Any) -> None:
        """Add fields that were not known at the beginning."""
        ...


class OpenSpan(Span, Protocol):
    """A span without a block: of what begins in one callback and ends in another."""

    @property
    def adopted(self) -> bool:
        """Whether the place itself has said what happens here, with a block of the same name."""
        ...

    def end(self, error: BaseException | None = None) -> None:
        """End it; in any task or thread, once."""
        ...


class Tracer(Protocol):
    """Who traces."""

    @property
    def content(self) -> bool:
        """Whether prompts, answers, arguments and results are told."""
        ...

    def span(self, name: str, fields: Mapping[str, Any]) -> AbstractContextManager[Span]:
        """Begin a span that ends with the block; an exception that leaves it marks it as failed."""
        ...

    def opened(self, name: str, fields: Mapping[str, Any]) -> OpenSpan:
        """Begin a span that is the current one for whatever the present task does, until it is ended."""
        ...

    def told(self, name: str, fields: Mapping[str, Any]) -> None:
        """Record a span that is over, on behalf of a process that cannot any more."""
        ...

    def note(self, fields: Mapping[str, Any]) -> None:
        """Add fields to the current span."""
        ...

    def carried(self) -> str | None:
        """Return the current span as a W3C `traceparent`, to be taken along; None where there is none."""
        ...


class _Nothing:
    def set(self, **fields: Any) -> None:
        """Nobody traces."""


_OFF: Final[AbstractContextManager[Span]] = nullcontext(_Nothing())
_tracer: Tracer | None = None


def trace_with(tracer: Tracer | None) -> None:
    """Have everything traced from now on, or nothing."""
    global _tracer  # noqa: PLW0603 - one process traces to one place
    _tracer = tracer


def tracing() -> bool:
    """Whether anybody traces: for what would cost something only to be said."""
    return _tracer is not None


def telling_content() -> bool:
    """Whether somebody traces who is told prompts, answers, arguments and results."""
    return _tracer is not None and _tracer.content


def span(name: str, **fields: Any) -> AbstractContextManager[Span]:
    """Begin a span that ends with the block."""
    return _OFF if _tracer is None else _tracer.span(name, fields)


def opened(name: str, **fields: Any) -> OpenSpan | None:
    """Begin a span that somebody ends; None where nobody traces."""
    return None if _tracer is None else _tracer.opened(name, fields)


def told(name: str, **fields: Any) -> None:
    """Record a span that is over, whose own process has died."""
    if _tracer is not None:
        _tracer.told(name, fields)


def note(**fields: Any) -> None:
    """Add fields to the current span."""
    if _tracer is not None:
        _tracer.note(fields)


def carried() -> str | None:
    """Return where this is in its trace as a W3C `traceparent`, to be taken along.

    Where nobody traces it is what the request or the run brought along, None without any.
    """
    return surroundings().get("traceparent") if _tracer is None else _tracer.carried()


def trace_headers() -> dict[str, str]:
    """Return the HTTP headers with which a service that is called here joins the trace; empty where there is none.

        requests.post(url, json=order, headers={**outlast.trace_headers(), "x-api-key": key})

    What nodes, tools and effects send with httpx has them already while traces are on (`tracing.propagate_to`).
    """
    traceparent = carried()
    return {} if traceparent is None else {"traceparent": traceparent}
