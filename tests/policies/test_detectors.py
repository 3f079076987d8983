"""What is taken for personal data, what is not, and how long that takes."""

import string
import time
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from outlast.policies.detectors import found_in, iban_holds, luhn, masked
from outlast.settings_policies import PersonalDataSettings

ALL = PersonalDataSettings().kinds

FOUND = {
    "write to ann.b+c@example.co.uk today": "write to <email> today",
    "+49 30 1234567 or (555) 123-4567": "<phone> or <phone>",
    "call 030/1234567, or 555-123-4567": "call <phone>, or <phone>",
    "card 4111 1111 1111 1111, amex 378282246310005": "card <credit_card>, amex <credit_card>",
    "pay to DE89 3704 0044 0532 0130 00 please": "pay to <iban> please",
    "gb82west12345698765432": "<iban>",
    "ssn 123-45-6789": "ssn <ssn>",
    "from 10.0.0.1 and 2001:db8::1": "from <ip> and <ip>",
    "key sk-proj-abcdefghijklmnopqrstuv": "key <secret>",
    "AKIAIOSFODNN7EXAMPLE": "<secret>",
    "token ghp_abcdefghijklmnopqrstuvwxyz0123456789": "token <secret>",
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dBjftJeZ4CVPmB92K27u": "<secret>",
}
NOT_FOUND = [
    "a card that nobody has: 4111 1111 1111 1112",
    "0000 0000 0000 0000",
    "DE89 3704 0044 0532 0130 01",
    "on 2026-11-21 at 18:23:45, order 2026-1234-5678",
    "900-12-3456 and 000-12-3456",
    "999.1.1.1 is no address, and neither is 12:30:45",
    "version 1.2.3, 12345678 of them, for 1,234,567.89",
    "somebody @home, me@localhost",
]


@pytest.mark.parametrize(("text", "after"), FOUND.items(), ids=lambda text: text[:20])
def test_personal_data_is_found_and_masked(text: str, after: str) -> None:
    assert masked(text, found_in(text, ALL)) == after


@pytest.mark.parametrize("text", NOT_FOUND, ids=lambda text: text[:20])
def test_what_only_looks_like_it_stays(text: str) -> None:
    findings = [found for found in found_in(text, ALL) if found.kind != "phone"]
    assert masked(text, findings) == text


def test_only_the_kinds_that_are_wanted_are_looked_for() -> None:
    text = "ann@example.com, 4111111111111111"
    assert masked(text, found_in(text, ["email"])) == "<email>, 4111111111111111"


def test_nothing_is_found_twice_in_one_place() -> None:
    text = "4111111111111111 DE89370400440532013000 ann@10.0.0.1.example.com"
    findings = found_in(text, ALL)
    assert all(first.end <= second.start for first, second in pairwise(findings))


@given(st.integers(10**11, 10**17))
def test_exactly_one_check_digit_makes_a_card(number: int) -> None:
    assert sum(luhn(f"{number}{digit}") for digit in range(10)) == 1


@given(st.text(string.digits, min_size=18, max_size=18))
def test_exactly_one_pair_of_check_digits_makes_an_iban(account: str) -> None:
    # 97 of the hundred pairs stand for themselves, and so 98 and 99 come a second time as 01 and 02.
    pairs = [f"{pair:02d}" for pair in range(2, 99)]
    assert sum(iban_holds(f"DE{pair}{account}") for pair in pairs) == 1


LONG = ["1 ", "a", "AB12", ":", "a.b@", "+1", "eyJ", "0-", "1-", "ab:", "sk-", "(1", "1.1."]


@pytest.mark.parametrize("piece", LONG)
def test_the_time_grows_with_the_length_alone(piece: str) -> None:
    """Ten times the text may take ten times as long, and not a hundred times."""

    def seconds(length: int) -> float:
        text = piece * (length // len(piece))
        best = float("inf")
        for _ in range(3):
            began = time.process_time()
            found_in(text, ALL)
            best = min(best, time.process_time() - began)
        return best

    assert seconds(20_000) < 40 * max(seconds(2_000), 0.0002)
