"""Which trace a run belongs to."""

from uuid import UUID, uuid4

import pytest

from outlast.domain.trace_context import TraceContext, attempt_span_id, parsed, trace_id_of

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


@pytest.mark.parametrize("flags", ["00", "01", "03"])
def test_a_header_says_the_trace_the_span_and_whether_it_is_recorded(flags: str) -> None:
    given = parsed(f"00-{TRACE}-{SPAN}-{flags}")

    assert given == TraceContext(int(TRACE, 16), int(SPAN, 16), flags != "00")
    assert given.traceparent == f"00-{TRACE}-{SPAN}-{'00' if flags == '00' else '01'}"


def test_a_newer_version_may_say_more() -> None:
    assert parsed(f"cc-{TRACE}-{SPAN}-01-what-comes") is not None


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-01-more",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01\n",
        f"cc-{TRACE}-{SPAN}-01-{'x' * 500}",
    ],
)
def test_a_header_that_is_not_valid_is_ignored(header: str | None) -> None:
    run_id = uuid4()

    assert parsed(header) is None
    assert trace_id_of(run_id, header) == run_id.hex


def test_a_run_that_was_asked_for_within_a_trace_belongs_to_it() -> None:
    assert trace_id_of(uuid4(), f"00-{TRACE}-{SPAN}-00") == TRACE


def test_attempts_have_ids_that_anybody_can_tell_from_the_run() -> None:
    run_id = UUID("0198f6a2-0000-7000-8000-000000000001")
    ids = {attempt_span_id(run_id, epoch) for epoch in range(1, 500)}

    assert len(ids) == 499
    assert all(0 < span_id < 1 << 64 for span_id in ids)
    assert attempt_span_id(run_id, 1) == attempt_span_id(UUID(str(run_id)), 1) == 0x12736E4AF4EBEF0D
