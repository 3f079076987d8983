"""Spans of OpenTelemetry for what `telemetry.span` says.

Every span is the current one of OpenTelemetry's own context, too, so spans that a project's own instrumentation makes
stand below ours, and ours below theirs. A span that was begun in a callback cannot be taken out of the context where it
was begun: whoever looks for the current one passes over those that have ended.
"""

import asyncio
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from datetime import datetime
from types import TracebackType
from typing import Any, Final, cast
from uuid import UUID

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from outlast.domain.redaction import redacted
from outlast.domain.trace_context import TraceContext, attempt_span_id, parsed
from outlast.errors import OutlastError
from outlast.monitoring.tracing import naming
from outlast.monitoring.tracing.identity import Wanted, wanted
from outlast.monitoring.tracing.naming import Attributes
from outlast.monitoring.tracing.sampling import Share
from outlast.settings_tracing import TracingSettings
from outlast.telemetry.spans import OpenSpan, Span

_KINDS: Final = {
    "request": SpanKind.SERVER, "model": SpanKind.CLIENT, "effect": SpanKind.CLIENT, "database": SpanKind.CLIENT,
    "checkpoint": SpanKind.CLIENT, "webhook": SpanKind.CLIENT,
}  # fmt: skip
# Of interest where a run waits for them; the process's own loops would fill the receiver.
_INSIDE: Final = frozenset({"database", "checkpoint", "node", "model", "tool", "effect"})
# One for each step; what lies between two nodes without it is the same in short.
_IF_SLOW: Final = frozenset({"checkpoint"})
_SLOW: Final = 100_000_000
_RUN: Final = "outlast.run_id"
_MOST_CONTENT: Final = 32_768
_MICROS: Final = 1_000_000


class _Nothing:
    adopted = True

    def set(self, **fields: Any) -> None:
        """Nobody wants to know."""

    def end(self, error: BaseException | None = None) -> None:
        """As above."""


_NOTHING: Final = _Nothing()
_NO_BLOCK: Final[AbstractContextManager[Span]] = nullcontext(_NOTHING)


class _Open:
    """A span of ours."""

    __slots__ = ("_tracer", "adoptable", "adopted", "ended", "inside", "name", "otel", "parent", "where")

    def __init__(
        self, tracer: "OtelTracer", name: str, otel: trace.Span, parent: "_Open | None", where: Attributes
    ) -> None:  # fmt: skip
        self._tracer = tracer
        self.name = name
        self.otel = otel
        self.parent = parent
        #: What everything below says, too.
        self.where = where
        #: Whether this is a part of the execution of a run.
        self.inside = name == "run" or (parent is not None and parent.inside)
        self.ended = False
        #: Begun by a callback; what is said at the place itself belongs to it.
        self.adoptable = False
        self.adopted = False

    def set(self, **fields: Any) -> None:
        self._tracer.add(self, fields)

    def end(self, error: BaseException | None = None) -> None:
        if self.ended:
            return
        self.ended = True
        if error is not None:
            self._tracer.failed(self, error)
        self.otel.end()


class _Block:
    """A span for the length of a block."""

    __slots__ = ("_fields", "_name", "_open", "_tokens", "_tracer")

    def __init__(self, tracer: "OtelTracer", name: str, fields: Mapping[str, Any]) -> None:
        self._tracer = tracer
        self._name = name
        self._fields = fields

    def __enter__(self) -> Span:
        self._open = self._tracer.begin(self._name, self._fields)
        self._tokens = self._tracer.enter(self._open)
        return self._open

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        ours, theirs = self._tokens
        _here.reset(ours)
        contexts.detach(theirs)
        if self._name == "run" and error is not None:
            # It has another owner, or no time to say how it ended: whoever goes on tells it, under the same id.
            self._open.ended = True
            return
        self._open.end(error)


class _Late:
    """A span that is only worth its while if it was slow, or failed: begun in retrospect."""

    __slots__ = ("_began", "_fields", "_name", "_tracer")

    def __init__(self, tracer: "OtelTracer", name: str, fields: Mapping[str, Any]) -> None:
        self._tracer = tracer
        self._name = name
        self._fields = fields

    def __enter__(self) -> Span:
        self._began = time.time_ns()
        return _NOTHING

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None or time.time_ns() - self._began >= _SLOW:
            self._tracer.begin(self._name, self._fields, started=self._began).end(error)


_here: Final[ContextVar[_Open | None]] = ContextVar("outlast_span", default=None)


def _live(span: _Open | None) -> _Open | None:
    while span is not None and span.ended:
        span = span.parent
    return span


class OtelTracer:
    """The `Tracer` of a process."""

    def __init__(self, tracer: trace.Tracer, settings: TracingSettings, sampler: Share) -> None:
        self._tracer = tracer
        self._sampler = sampler
        self._openinference = settings.openinference
        #: Whether prompts, answers, arguments and results are told.
        self.content = settings.content

    def span(self, name: str, fields: Mapping[str, Any]) -> AbstractContextManager[Span]:
        """Begin a span that ends with the block; an exception that leaves it marks it as failed."""
        here = _live(_here.get())
        if name in _INSIDE and not _in_recorded_run(here):
            return _NO_BLOCK
        if name in _IF_SLOW:
            return _Late(self, name, fields)
        if here is not None and here.adoptable and here.name == name and not here.adopted:
            here.adopted = True
            self.add(here, fields)
            return nullcontext(here)
        return _Block(self, name, fields)

    def opened(self, name: str, fields: Mapping[str, Any]) -> OpenSpan:
        """Begin a span that is the current one for whatever the present task does, until it is ended."""
        if not _in_recorded_run(_live(_here.get())):
            return _NOTHING
        span = self.begin(name, fields)
        span.adoptable = True
        self.enter(span)
        return span

    def told(self, name: str, fields: Mapping[str, Any]) -> None:
        """Record a span that is over: `began_at` and `ended_at` are among the fields."""
        began_at, ended_at = cast("datetime", fields["began_at"]), cast("datetime", fields["ended_at"])
        span = self._run(name, fields, started=_nanoseconds(began_at))
        span.otel.set_status(Status(StatusCode.ERROR, "the worker of this attempt was lost"))
        span.ended = True
        span.otel.end(max(_nanoseconds(began_at), _nanoseconds(ended_at)))

    def note(self, fields: Mapping[str, Any]) -> None:
        """Add fields to the current span."""
        here = _live(_here.get())
        if here is not None:
            self.add(here, fields)

    def event(self, point: str, fields: Mapping[str, Any]) -> None:
        """Tell the current span of a run that something happened in it."""
        here = _live(_here.get())
        if here is not None and _in_recorded_run(here):
            here.otel.add_event(point, naming.attributes_of(fields))

    def carried(self) -> str | None:
        """Return the current span as a W3C `traceparent`; None where there is none."""
        context = self._parent()[1]
        found = trace.get_current_span(context).get_span_context()
        if not found.is_valid:
            return None
        return TraceContext(found.trace_id, found.span_id, found.trace_flags.sampled).traceparent

    def may_join(self) -> bool:
        """Whether what is sent now is sent by a run's own code, and not by a model's client."""
        here = _live(_here.get())
        return here is not None and here.inside and here.name != "model"

    def begin(self, name: str, fields: Mapping[str, Any], *, started: int | None = None) -> _Open:
        """Begin a span below the current one, or where the fields say."""
        if name == "run":
            return self._run(name, fields)
        parent, context = self._parent()
        if name == "request":
            parent, context = None, _below(parsed(cast("str | None", fields.get("traceparent"))))
        elif name == "webhook":
            parent, context = None, _below(self._run_parent(fields, begun=True))
        own = naming.attributes_of(fields)
        where = parent.where if parent is not None else _inherited(own)
        return self._begun(name, fields, {**where, **own}, context=context, parent=parent, where=where, started=started)

    def enter(self, span: _Open) -> "tuple[Any, Any]":
        """Make it the current one; returns what takes it back."""
        return _here.set(span), contexts.attach(trace.set_span_in_context(span.otel))

    def add(self, span: _Open, fields: Mapping[str, Any]) -> None:
        """Add fields to a span, and to what is begun below it where they say in which run it is."""
        if span.ended or not span.otel.is_recording():
            return
        said = naming.attributes_of(fields) | self._content(fields)
        if _RUN in said:
            span.where = {**span.where, **_inherited(said)}
        if "route" in fields:
            span.otel.update_name(f"{fields['method']} {fields['route']}")
        if fields.get("failed"):
            span.otel.set_status(Status(StatusCode.ERROR))
        span.otel.set_attributes(said | naming.twins(said) if self._openinference else said)

    def failed(self, span: _Open, error: BaseException) -> None:
        """Say how a span ended that an exception has left."""
        if not span.otel.is_recording():
            return
        outcome = _outcome(error)
        span.otel.set_attribute("outlast.outcome", outcome)
        if outcome != "error":
            return
        span.otel.set_attribute("error.type", error.code if isinstance(error, OutlastError) else type(error).__name__)
        # What an exception says may be what a user has said.
        span.otel.set_status(Status(StatusCode.ERROR, redacted(str(error))[:_MOST_CONTENT] if self.content else None))

    def _parent(self) -> "tuple[_Open | None, contexts.Context]":
        """Return our current span, and OpenTelemetry's context with what is to be the parent."""
        here, now = _here.get(), contexts.get_current()
        live = _live(here)
        theirs = trace.get_current_span(now)
        of_others = here is None or theirs is not here.otel
        if live is None or (of_others and getattr(theirs, "end_time", None) is None):
            return live, now if of_others else contexts.Context()
        return live, trace.set_span_in_context(live.otel, now)

    def _run(self, name: str, fields: Mapping[str, Any], *, started: int | None = None) -> _Open:
        """Begin the span of an attempt: its ids follow from the run's id and the epoch."""
        run_id, epoch = cast("UUID", fields["run_id"]), cast("int", fields["epoch"])
        parent = self._run_parent(fields, begun=epoch > 1)
        own = naming.attributes_of({**fields, "session": fields.get("thread_id")})
        trace_id = run_id.int if parent is None else parent.trace_id
        before = cast("int | None", fields.get("before"))
        links = [Link(_remote(TraceContext(trace_id, attempt_span_id(run_id, before), sampled=True)))] if before else []
        with wanted(Wanted(trace_id=run_id.int, span_id=attempt_span_id(run_id, epoch))):
            return self._begun(
                name, fields, own, context=_below(parent), parent=None, where=_inherited(own), links=links,
                started=started,
            )  # fmt: skip

    def _run_parent(self, fields: Mapping[str, Any], *, begun: bool) -> TraceContext | None:
        """Return what the attempts of a run stand below: what asked for it, else its first attempt, once there is one.

        `begun`: it is not the first attempt that asks.
        """
        run_id = cast("UUID", fields["run_id"])
        given = parsed(cast("str | None", fields.get("traceparent")))
        if given is not None or not begun:
            return given
        return TraceContext(run_id.int, attempt_span_id(run_id, 1), self._sampler.takes(run_id.int))

    def _begun(
        self, name: str, fields: Mapping[str, Any], said: Attributes, *, context: "contexts.Context",
        parent: _Open | None, where: Attributes, links: "list[Link] | None" = None, started: int | None = None,
    ) -> _Open:  # fmt: skip
        said = {**naming.fixed(name, openinference=self._openinference), **said, **self._content(fields)}
        otel = self._tracer.start_span(
            naming.title(name, fields), context, kind=_KINDS.get(name, SpanKind.INTERNAL), start_time=started,
            attributes=said | naming.twins(said) if self._openinference else said, links=links,
            record_exception=False, set_status_on_exception=False,
        )  # fmt: skip
        return _Open(self, name, otel, parent, where)

    def _content(self, fields: Mapping[str, Any]) -> Attributes:
        if not self.content:
            return {}
        return {
            attribute: redacted(str(fields[name]))[:_MOST_CONTENT]
            for name, attribute in naming.CONTENT.items()
            if fields.get(name) is not None
        }


def _in_recorded_run(here: _Open | None) -> bool:
    return here is not None and here.inside and here.otel.is_recording()


def _inherited(said: Attributes) -> Attributes:
    return {name: said[name] for name in naming.INHERITED.values() if name in said}


def _below(parent: TraceContext | None) -> "contexts.Context":
    empty = contexts.Context()
    return empty if parent is None else trace.set_span_in_context(NonRecordingSpan(_remote(parent)), empty)


def _remote(place: TraceContext) -> SpanContext:
    flags = TraceFlags(TraceFlags.SAMPLED if place.sampled else TraceFlags.DEFAULT)
    return SpanContext(place.trace_id, place.span_id, is_remote=True, trace_flags=flags)


def _outcome(error: BaseException) -> str:
    if isinstance(error, (asyncio.CancelledError, GeneratorExit)):
        return "cancelled"
    # LangGraph's way to end a task that asks a person, or is handed back: here nobody imports it.
    return "interrupt" if any(kind.__name__ == "GraphBubbleUp" for kind in type(error).__mro__) else "error"


def _nanoseconds(moment: datetime) -> int:
    return int(moment.timestamp() * _MICROS) * 1000
