"""Rules of limits as people write them."""

import pytest

from outlast.domain.acting import Principal
from outlast.domain.limits import Window, parse_rule
from outlast.errors import ConfigurationError

ANN = Principal(tenant="acme", user="ann", key_id="k1")
BOB = Principal(tenant="acme", user="bob", key_id="k1")
ELSEWHERE = Principal(tenant="other", user="ann", key_id="k1")


def keys(rule, who=ANN, thread="t"):
    return list(parse_rule(rule).keys(who, thread))


@pytest.mark.parametrize(
    ("text", "windows", "agent"),
    [
        ("100/minute per user", (Window(100, 60),), None),
        ("1_000/hour per tenant", (Window(1000, 3600),), None),
        ("20/minute per api_key on support", (Window(20, 60),), "support"),
        ("20/minute per thread on support burst 5", (Window(5, 15), Window(20, 60)), "support"),
        ("60/minute per user burst 1", (Window(1, 1), Window(60, 60)), None),
        ("5/day per everybody burst 9", (Window(5, 86_400),), None),
    ],
)  # fmt: skip
def test_a_rule_is_read_as_it_is_written(text, windows, agent):
    rule = parse_rule(text)

    assert rule.windows == windows
    assert rule.agent == agent


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the rule is empty"),
        ("100/minute per", "in `100/minute >>per<<`"),
        ("100 per user", "'100' has no `/`"),
        ("0/minute per user", "count from 1 to 1,000,000,000, not '0'"),
        ("9999999999999999999999/minute per user", "should be a count"),
        ("many/minute per user", "in `>>many/minute<< per user`"),
        ("100/minut per user", "did you mean minute?"),
        ("100/minute for user", "'for' should be `per`"),
        ("100/minute per usr", "did you mean user?"),
        ("100/minute per user at support", "'at' should be `on` or `burst`"),
        ("100/minute per user burst", "'burst' wants a word behind it: a count"),
        ("100/minute per user on", "'on' wants a word behind it: an agent"),
        ("100/minute per user burst 1 burst 2", "'burst' is there twice"),
    ],
)
def test_an_error_points_at_the_word(text, message):
    with pytest.raises(ConfigurationError) as caught:
        parse_rule(text, setting="limits.rules[3]")

    assert message in str(caught.value)
    assert str(caught.value).startswith("limits.rules[3]: ")


@pytest.mark.parametrize(
    ("rule", "same", "other"),
    [
        ("1/hour per user", [Principal(tenant="acme", user="ann", key_id="k2")], [BOB, ELSEWHERE]),
        ("1/hour per api_key", [BOB], [ELSEWHERE, Principal(tenant="acme", user="ann")]),
        ("1/hour per tenant", [BOB, Principal(tenant="acme")], [ELSEWHERE]),
        ("1/hour per everybody", [BOB, ELSEWHERE], []),
    ],
)
def test_subjects_are_counted_apart(rule, same, other):
    assert [keys(rule, who) == keys(rule) for who in same] == [True] * len(same)
    assert [keys(rule, who) == keys(rule) for who in other] == [False] * len(other)


def test_names_that_only_look_alike_when_joined_are_counted_apart():
    first, second = Principal(tenant="a", user="bc"), Principal(tenant="ab", user="c")

    assert keys("1/hour per user", first) != keys("1/hour per user", second)


def test_a_rule_of_an_agent_and_one_of_all_are_counted_apart():
    assert keys("1/hour per user") != keys("1/hour per user on support")
    assert keys("1/hour per thread", ANN, "t1") != keys("1/hour per thread", ANN, "t2")


def test_a_window_is_never_shorter_than_it_says():
    for window in (Window(1, 1), Window(7, 60 * 7 / 100), Window(3, 86_400)):
        assert window.slice_micros * 60 >= window.seconds * 1_000_000
