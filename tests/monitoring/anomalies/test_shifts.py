"""Shifts are found, single values are told apart, and neither long tails nor the day are taken for a fault."""

import math
import random
from collections.abc import Iterable

import orjson
import pytest

from outlast.monitoring.anomalies.evidence import Evidence
from outlast.monitoring.anomalies.kinds import LENGTH
from outlast.monitoring.anomalies.shifts import Figure, Shift
from outlast.settings_anomalies import AnomalyRules

RULES = AnomalyRules(window=200, warm_up=50, hold=0)
SCORE = Figure(name="score", direction="down", floor=0.03, shown=lambda value: f"{value:.2f}")


def learned(figure: Figure, values: Iterable[float], rules: AnomalyRules = RULES) -> Shift:
    shift = Shift(figure, rules)
    for value in values:
        shift.learn(value, hour=0)
    return shift


def lengths(count: int, *, seed: int = 1, median: float = 1830, spread: float = 0.4) -> list[float]:
    rng = random.Random(seed)
    return [round(median * math.exp(rng.gauss(0, spread))) for _ in range(count)]


def first_evidence(shift: Shift, values: Iterable[float], *, hour: int = 0) -> tuple[int, Evidence] | None:
    for number, value in enumerate(values, 1):
        if (found := shift.judge(value, hour=hour)) is not None:
            return number, found
    return None


@pytest.mark.parametrize(("factor", "within"), [(0.15, 4), (0.4, 10), (3.0, 10), (8.0, 4)])
def test_a_shift_up_or_down_is_found_the_sooner_the_larger_it_is(factor: float, within: int):
    found = first_evidence(learned(LENGTH, lengths(200)), [value * factor for value in lengths(40, seed=2)])
    assert found is not None
    assert 3 <= found[0] <= within, "and no single run is a shift"


def test_it_says_what_it_is_against_what_is_usual():
    found = first_evidence(learned(LENGTH, [600, 1830, 1830, 5500] * 50), [41] * 5)
    assert found is not None
    assert found[1].text == "length 41 in the last 3 runs against a median of 1,830 over 200 runs"
    assert (round(found[1].value), round(found[1].expected), found[1].severity) == (41, 1830, "warning")


def test_nothing_is_said_before_it_is_warm():
    assert first_evidence(learned(LENGTH, lengths(49)), [1.0] * 100) is None


def test_what_has_always_varied_so_much_is_no_shift():
    rng = random.Random(3)
    two_ways = [rng.choice((20.0, 3000.0)) for _ in range(2000)]
    assert first_evidence(learned(LENGTH, two_ways[:200]), two_ways[200:]) is None


def test_a_single_value_far_out_is_told_as_info_and_one_that_is_not_is_not():
    found = first_evidence(learned(SCORE, [0.8, 0.82, 0.84] * 60), [0.1])
    assert found is not None
    assert (found[1].severity, found[1].text) == ("info", "score 0.10 against a median of 0.82 over 180 runs")
    assert first_evidence(learned(SCORE, [0.8, 0.82, 0.84] * 60), [0.6]) is None


def test_only_the_direction_that_matters_is_looked_at():
    assert first_evidence(learned(SCORE, [0.5, 0.52] * 50), [1.0] * 50) is None


def test_hours_that_are_always_different_are_no_shift_where_hours_are_learned():
    def day(number: int) -> tuple[int, float]:
        hour = number % 24
        return hour, 5000.0 if hour < 6 else 300.0

    hourly = AnomalyRules(window=200, warm_up=50, hold=0, hourly=True)
    shift = Shift(LENGTH, hourly)
    for number in range(24 * 60):
        hour, value = day(number)
        shift.learn(value * math.exp(random.Random(number).gauss(0, 0.1)), hour=hour)
    # Six quick nights in a row are as usual, and the day's lengths at night are not.
    assert first_evidence(shift, [5000.0] * 36, hour=3) is None
    shift.rest()
    assert first_evidence(shift, [300.0] * 10, hour=3) is not None


def test_another_process_goes_on_where_one_has_stopped():
    shift = learned(LENGTH, lengths(200))
    values = [value * 0.5 for value in lengths(30, seed=4)]
    alone = first_evidence(learned(LENGTH, lengths(200)), values)
    for number, value in enumerate(values, 1):
        other = Shift(LENGTH, RULES)
        other.restore(orjson.loads(orjson.dumps(shift.state())))
        found, shift = other.judge(value, hour=0), other
        if found is not None:
            assert alone is not None
            assert (number, found.text) == (alone[0], alone[1].text)
            return
    pytest.fail("not found")


def test_a_run_by_itself_is_out_of_range_beyond_all_that_is_known():
    shift = learned(LENGTH, lengths(200))
    assert shift.out_of_range(12) == "length 12 against a median of 1,866 over 200 runs"
    assert shift.out_of_range(900) is None
    assert learned(LENGTH, lengths(30)).out_of_range(12) is None, "too little is known"
