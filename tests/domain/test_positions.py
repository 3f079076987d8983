from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.positions import EVENTS_PER_MS, base_of, behind_end, end_of, moment_of

SAFE_INTEGER = 2**53
MOMENTS = st.datetimes(datetime(2025, 1, 1), datetime(2059, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants them naive


@given(MOMENTS, st.integers(0, SAFE_INTEGER // 2))
def test_a_claim_lies_behind_everything_that_its_thread_has(claimed_at: datetime, after: int) -> None:
    assert base_of(claimed_at, after=after) > after


@given(MOMENTS, MOMENTS)
def test_later_claims_lie_behind_earlier_ones(first: datetime, second: datetime) -> None:
    earlier, later = sorted((first, second))

    assert base_of(earlier, after=0) <= base_of(later, after=0)
    if later - earlier >= timedelta(milliseconds=2):
        assert base_of(earlier, after=0) + EVENTS_PER_MS <= base_of(later, after=0)


@given(MOMENTS)
def test_positions_can_be_counted_by_javascript(moment: datetime) -> None:
    assert base_of(moment, after=0) + EVENTS_PER_MS < SAFE_INTEGER


@given(MOMENTS)
def test_a_position_tells_its_time_to_the_millisecond(moment: datetime) -> None:
    told = moment_of(base_of(moment, after=0))

    assert timedelta(0) <= moment - told < timedelta(milliseconds=1) or told == datetime(2025, 1, 1, tzinfo=UTC)


@given(st.integers(1, SAFE_INTEGER), st.integers(0, 20), MOMENTS)
def test_the_end_and_its_questions_lie_behind_the_last_record(last: int, questions: int, ended_at: datetime) -> None:
    behind = behind_end(last, questions=questions)

    assert behind is not None
    assert last < end_of(last, ended_at) <= behind
    assert base_of(ended_at, after=behind) > behind, "and the next claim behind them"


def test_a_run_that_kept_no_records_ends_at_its_time() -> None:
    ended_at = datetime(2026, 5, 1, 12, 30, 0, 250_000, tzinfo=UTC)

    assert moment_of(end_of(None, ended_at)) == ended_at
    assert behind_end(None, questions=3) is None
