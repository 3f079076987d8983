"""Which traces are recorded: as whoever began them says, and of those that begin here a share.

The share is decided by a hash of the trace's id, and not by its last bits as OpenTelemetry's own sampler does: the id
of a run's trace is its UUID of version 7, whose bits are not all random. All processes with the same share agree about
a run, whichever of them begins or goes on with it.
"""

from collections.abc import Sequence
from hashlib import blake2b
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace.sampling import Decision, Sampler, SamplingResult
from opentelemetry.trace import Link, SpanKind, TraceState
from opentelemetry.util.types import Attributes

_ALL: Final = 1 << 64


class Share(Sampler):
    """Takes that share (0 to 1) of the traces without a parent."""

    def __init__(self, share: float) -> None:
        self._share = share
        self._limit = int(share * _ALL)

    def takes(self, trace_id: int) -> bool:
        """Whether a trace that begins here is recorded."""
        digest = blake2b(trace_id.to_bytes(16, "big"), digest_size=8).digest()
        return int.from_bytes(digest, "big") < self._limit

    def should_sample(  # noqa: PLR0917 - the signature is OpenTelemetry's
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,  # noqa: ARG002 - the signature is OpenTelemetry's
        kind: SpanKind | None = None,  # noqa: ARG002 - as above
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,  # noqa: ARG002 - as above
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        """Decide as the parent was decided, or by the id."""
        parent = trace.get_current_span(parent_context).get_span_context()
        taken = parent.trace_flags.sampled if parent.is_valid else self.takes(trace_id)
        decision = Decision.RECORD_AND_SAMPLE if taken else Decision.DROP
        return SamplingResult(decision, attributes if taken else None, trace_state)

    def get_description(self) -> str:
        """Return what it does."""
        return f"OutlastShare{{{self._share}}}"
