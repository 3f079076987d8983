"""Ids of spans: random, but for those of runs and their attempts, which follow from the run."""

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

from opentelemetry.sdk.trace.id_generator import IdGenerator, RandomIdGenerator


class Wanted(NamedTuple):
    """The ids of the next span; the trace's counts for one without a parent."""

    trace_id: int
    span_id: int


_wanted: Final[ContextVar[Wanted | None]] = ContextVar("outlast_wanted_ids", default=None)


@contextmanager
def wanted(ids: Wanted) -> Generator[None]:
    """Have the span that is begun in the block get these ids."""
    before = _wanted.set(ids)
    try:
        yield
    finally:
        _wanted.reset(before)


class Identity(IdGenerator):
    """Gives ids that were asked for, else random ones."""

    def __init__(self) -> None:
        self._random = RandomIdGenerator()

    def generate_span_id(self) -> int:
        """Return 64 bits."""
        ids = _wanted.get()
        return self._random.generate_span_id() if ids is None else ids.span_id

    def generate_trace_id(self) -> int:
        """Return 128 bits."""
        ids = _wanted.get()
        return self._random.generate_trace_id() if ids is None else ids.trace_id
