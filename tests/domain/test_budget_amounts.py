"""Money is counted in micros and shown exactly."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.domain.budget import Cost, Standing, micros_of, usd


@given(st.integers(min_value=0, max_value=10**18))
def test_what_is_shown_is_read_as_the_same_amount(micros):
    assert micros_of(usd(micros)) == micros


@pytest.mark.parametrize(
    ("text", "micros"), [("12.50", 12_500_000), ("0", 0), ("0.000001", 1), ("1e3", 10**9), (" 2 ", 2_000_000)]
)
def test_amounts_of_dollars(text, micros):
    assert micros_of(text) == micros


@pytest.mark.parametrize("text", ["", "a lot", "-1", "0.0000001", "inf", "nan", "1e13", "$5"])
def test_what_is_no_amount_is_refused(text):
    with pytest.raises(ValueError, match="no amount of dollars"):
        micros_of(text)


@given(
    limit=st.integers(0, 1000), spent=st.integers(0, 1000), reserved=st.integers(0, 1000), wanted=st.integers(0, 1000)
)
def test_something_is_lacking_exactly_when_it_would_exceed_the_limit(limit, spent, reserved, wanted):
    standing = Standing(
        name="b", subject="", period=date(2026, 1, 1), limit_micros=limit, limit_tokens=None, spent_micros=spent,
        reserved_micros=reserved,
    )  # fmt: skip
    cost = Cost(wanted, 10**9)
    assert (standing.lacks(cost, reserved=True) is None) == (spent + reserved + wanted <= limit)
    assert (standing.lacks(cost, reserved=False) is None) == (spent + wanted <= limit)
