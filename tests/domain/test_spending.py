from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.spending import SECONDS, Spending

STEPS = st.lists(st.tuples(st.floats(0, 40), st.integers(0, 30), st.integers(0, 10)), max_size=40)


@given(STEPS, st.sampled_from([0.0, 0.1, 0.5]), st.integers(0, 12))
def test_retries_stay_within_the_share_or_the_allowance(
    steps: list[tuple[float, int, int]], share: float, allowance: int
) -> None:
    spending, now, taken = Spending(), 1_000_000.0, []
    calls: list[float] = []
    for pause, called, wanted in steps:
        now += pause
        spending = spending.counted(now, calls=called)
        calls += [now] * called
        for _ in range(wanted):
            if spending.allows(now, share=share, allowance=allowance):
                spending = spending.retried(now)
                taken.append(now)
        # In a minute of the clock, whatever came before: all its calls and those of the minute before are in reach.
        minute = now // SECONDS
        here = sum(1 for at in taken if at // SECONDS == minute)
        reach = sum(1 for at in calls if at // SECONDS in {minute, minute - 1})
        assert here <= max(allowance, reach * share)


def test_the_minute_before_counts_for_the_part_that_is_still_in_sight() -> None:
    spending = Spending().counted(120.0, calls=100)

    assert spending.allows(120.0, share=0.1, allowance=0)
    assert spending.allows(225.0, share=0.1, allowance=0)
    assert not spending.allows(239.0, share=0.1, allowance=0)


def test_a_clock_that_was_set_back_makes_no_room() -> None:
    spending = Spending().counted(600.0, calls=0).retried(600.0)

    assert spending.at(540.0) == spending
