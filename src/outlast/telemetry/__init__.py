"""Anyone says that something happened, and where; who listens is decided elsewhere.

`emit("checkpoint.committed", rows=3)` costs a dictionary look-up when nobody listens. Logs, metrics, traces and the
live stream subscribe; the same names are the fault points of the test suite, so production code carries no test hooks.
"""

from outlast.telemetry.events import Listener, emit, subscribe
from outlast.telemetry.faults import FaultInjected, arm
from outlast.telemetry.points import POINTS
from outlast.telemetry.rounds import rounds_for_ever
from outlast.telemetry.spans import (
    OpenSpan,
    Span,
    Tracer,
    carried,
    note,
    opened,
    span,
    told,
    trace_headers,
    trace_with,
    tracing,
)
from outlast.telemetry.surroundings import about, surroundings

__all__ = [
    "POINTS",
    "FaultInjected",
    "Listener",
    "OpenSpan",
    "Span",
    "Tracer",
    "about",
    "arm",
    "carried",
    "emit",
    "note",
    "opened",
    "rounds_for_ever",
    "span",
    "subscribe",
    "surroundings",
    "told",
    "trace_headers",
    "trace_with",
    "tracing",
]
