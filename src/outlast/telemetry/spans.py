"""What takes time, as spans of a trace; free of cost as long as nobody traces.

    with span("model", model=name) as current:
        ...
        current.set(tokens=12)

Names and fields are ours; whoever traces gives them the names of the field (`monitoring.tracing`).
"""

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final, Protocol


class Span(Protocol):
    """A span that has begun."""

    def set(self, **fields: Any) -> None:
        """Add fields that were not known at the beginning."""
        ...


class Tracer(Protocol):
    """Who traces."""

    def span(self, name: str, fields: Mapping[str, Any]) -> AbstractContextManager[Span]:
        """Begin a span that ends with the block; an exception that leaves it marks it as failed."""
        ...

    def carried(self) -> str | None:
        """Return the current span as a W3C `traceparent`, to be taken along; None where there is none."""
        ...

    def continued(self, traceparent: str | None) -> AbstractContextManager[None]:
        """Be, to the end of the block, below the span that was taken along."""
        ...


class _Nothing:
    def set(self, **fields: Any) -> None:
        """Nobody traces."""


_OFF: Final[AbstractContextManager[Span]] = nullcontext(_Nothing())
_NOT_CONTINUED: Final[AbstractContextManager[None]] = nullcontext()
_tracer: Tracer | None = None


def trace_with(tracer: Tracer | None) -> None:
    """Have everything traced from now on, or nothing."""
    global _tracer  # noqa: PLW0603 - one process traces to one place
    _tracer = tracer


def tracing() -> bool:
    """Whether anybody traces: for what would cost something only to be said."""
    return _tracer is not None


def span(name: str, **fields: Any) -> AbstractContextManager[Span]:
    """Begin a span that ends with the block."""
    return _OFF if _tracer is None else _tracer.span(name, fields)


def carried() -> str | None:
    """Return the current span as a W3C `traceparent`; None where nobody traces."""
    return None if _tracer is None else _tracer.carried()


def continued(traceparent: str | None) -> AbstractContextManager[None]:
    """Be below the span that was taken along, to the end of the block."""
    return _NOT_CONTINUED if _tracer is None else _tracer.continued(traceparent)
