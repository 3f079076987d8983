"""Patterns in bounded time: whatever the pattern and the text, somebody has an answer."""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from outlast.policies.matching import Matcher, TooSlow, ways
from waiting import until

EVIL = r"(a+)+$"
TEXT = "a" * 40 + "!"


@asynccontextmanager
async def matching(rules: Mapping[str, str], seconds: float = 5.0) -> AsyncIterator[Matcher]:
    matcher = Matcher({name: re.compile(rule) for name, rule in rules.items()}, timeout_seconds=seconds)
    try:
        yield matcher
    finally:
        await matcher.aclose()


async def test_a_pattern_that_would_take_for_ever_is_given_up() -> None:
    async with matching({"evil": EVIL}, 0.2) as matcher:
        began = time.monotonic()
        with pytest.raises(TooSlow):
            await matcher.first(["evil"], [TEXT])
        assert time.monotonic() - began < 5


async def test_the_text_after_one_that_was_given_up_has_its_answer() -> None:
    async with matching({"evil": EVIL}, 0.3) as matcher:
        with pytest.raises(TooSlow):
            await matcher.first(["evil"], [TEXT])
        assert await matcher.first(["evil"], ["aaa"]) == "evil"


async def test_who_is_given_up_leaves_no_answer_to_the_next_one() -> None:
    async with matching({"slow": EVIL, "quick": "b+"}, 5.0) as matcher:
        asking = asyncio.create_task(matcher.first(["slow"], ["a" * 26 + "!"]))

        async def begun() -> bool:
            return matcher._process is not None

        await until(begun)
        asking.cancel()
        await asyncio.wait([asking])
        assert await matcher.first(["quick"], ["abc"]) == "quick"


async def test_a_quick_pattern_needs_no_process() -> None:
    async with matching({"word": r"\bpassword\b", "few": r"\d{3,5}"}) as matcher:
        assert await matcher.first(["word", "few"], ["no", "12345"]) == "few"
        assert matcher._process is None


async def test_surrogates_and_zero_bytes_get_through() -> None:
    async with matching({"any": "x.*y"}) as matcher:
        assert await matcher.first(["any"], ["\ud800\x00\nx\u2028y"]) == "any"


@pytest.mark.parametrize(
    ("pattern", "quick"),
    [("abc", True), ("[a-z]{1,9}x", True), ("a|b|c", True), ("(?i:a)b?", True), (r"(?<=a)b\b", True), ("a+?", True),
     ("a*b", True), ("a*b*c", False), ("(ab){1,9}", False), (r"(a)\1", False), ("(?:a|a){0,30}b", False)],
)  # fmt: skip
def test_only_what_has_few_ways_to_match_is_taken_for_quick(pattern: str, quick: bool) -> None:
    assert ways(re.compile(pattern)).quick(999) is quick


@pytest.mark.parametrize("pattern", ["a*b", "a*a*b", "a*a*a*b", "(?:a|a*)a{0,9}a*b"])
def test_what_is_taken_for_quick_is_quick_in_the_longest_text_for_which_it_is(pattern: str) -> None:
    rule = re.compile(pattern)
    length = next(length for length in range(1, 10_000) if not ways(rule).quick(length + 1))
    began = time.thread_time()
    assert rule.search("a" * length) is None
    # Some milliseconds on any machine; a pattern that is not bounded takes hours.
    assert time.thread_time() - began < 1


def test_a_repetition_without_an_end_is_quick_in_a_short_text_alone() -> None:
    a_word = ways(re.compile(r"-----BEGIN [A-Z ]+-----"))
    assert a_word.quick(500)
    assert not a_word.quick(5000)


@settings(max_examples=10, deadline=None)
@given(st.text("ab1 .", max_size=30))
async def test_both_ways_of_looking_say_the_same(text: str) -> None:
    rules = {"repeated": "(?:a+b)+$", "single": "[ab]1"}
    async with matching(rules) as matcher:
        found = await matcher.first(["repeated"], [text])
        assert matcher._process is not None
    assert (found is not None) == bool(re.search(rules["repeated"], text))
