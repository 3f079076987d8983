"""Which trace a run belongs to, and what is passed on of it (W3C Trace Context, https://www.w3.org/TR/trace-context/).

A run that was asked for within a trace belongs to it, and keeps what came with the request (`RunOptions.traceparent`).
Any other run has a trace of its own, whose id is the run's. So logs, the story of a thread and traces name the same
trace, and a process that goes on with a run after a crash finds it without having stored anything.
"""

import re
from hashlib import blake2b
from typing import Final, NamedTuple
from uuid import UUID

# A newer version may append fields; ff is none.
_FORM: Final = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?")
_SAMPLED: Final = 1
_LONGEST: Final = 256


class TraceContext(NamedTuple):
    """A place in a trace."""

    trace_id: int
    span_id: int
    sampled: bool

    @property
    def traceparent(self) -> str:
        """The header that names it."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def parsed(traceparent: str | None) -> TraceContext | None:
    """Read the header; None where there is none, or one that is not valid and has to be ignored."""
    if traceparent is None or len(traceparent) > _LONGEST:
        return None
    found = _FORM.fullmatch(traceparent)
    if found is None or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    if not trace_id or not span_id:
        return None
    return TraceContext(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED))


def trace_id_of(run_id: UUID, traceparent: str | None) -> str:
    """Return the 32 hexadecimal digits of the run's trace."""
    given = parsed(traceparent)
    return run_id.hex if given is None else f"{given.trace_id:032x}"


def attempt_span_id(run_id: UUID, epoch: int) -> int:
    """Return the id of the span of one attempt: whoever goes on with a run can name the attempts before its own."""
    digest = blake2b(run_id.bytes + epoch.to_bytes(8, "big"), digest_size=8).digest()
    # Zero is no id.
    return int.from_bytes(digest, "big") or 1
