"""Rates that rise are found; those that are as they were, or are too high to tell, are not."""

import random

import orjson

from outlast.monitoring.anomalies.evidence import Evidence
from outlast.monitoring.anomalies.rates import Rate, Rates
from outlast.settings_anomalies import AnomalyRules

RULES = AnomalyRules(window=200, warm_up=50, hold=0)
EMPTY = Rate(told={"yes": "said nothing"}, grave=True)
ERRORS = Rate(told={"*": "failed"}, otherwise="failed with {}")


def learned(rate: Rate, usual: float, *labels: str, count: int = 200, seed: int = 1) -> Rates:
    rates, rng = Rates(rate, RULES), random.Random(seed)
    for _ in range(count):
        rates.learn(labels if rng.random() < usual else (), hour=0)
    return rates


def first_evidence(rates: Rates, runs: list[tuple[str, ...]]) -> tuple[int, Evidence] | None:
    for number, labels in enumerate(runs, 1):
        if (found := rates.judge(labels, hour=0)) is not None:
            return number, found
    return None


def test_a_rate_that_rises_is_found_in_few_runs():
    found = first_evidence(learned(EMPTY, 0.01, "yes"), [("yes",)] * 20)
    assert found is not None
    assert found[0] <= 5
    assert found[1].text == f"{found[0]} of the last {found[0]} runs said nothing, against 2% of 200 runs before"


def test_half_of_the_runs_are_enough():
    found = first_evidence(learned(EMPTY, 0.01, "yes"), [("yes",), ()] * 10)
    assert found is not None
    assert found[1].severity == "warning"


def test_nearly_all_runs_are_critical_where_that_is_grave():
    rates = learned(EMPTY, 0.01, "yes")
    found = [rates.judge(("yes",), hour=0) for _ in range(12)]
    assert found[-1] is not None
    assert found[-1].severity == "critical"


def test_three_in_a_row_are_chance():
    rates = learned(EMPTY, 0.05, "yes")
    assert first_evidence(rates, [("yes",)] * 3 + [()] * 20) is None


def test_nothing_is_said_of_what_more_than_half_of_the_runs_have():
    assert first_evidence(learned(EMPTY, 0.7, "yes"), [("yes",)] * 200) is None


def test_another_kind_of_error_is_found_though_as_many_runs_fail_as_ever():
    rates = learned(ERRORS, 0.3, "timed_out", "*")
    found = first_evidence(rates, [("KeyError", "*"), (), ("KeyError", "*")] * 7)
    assert found is not None
    assert "failed with KeyError, against 0% of 200 runs before" in found[1].text


def test_errors_of_ever_new_names_are_one():
    rates = Rates(ERRORS, RULES)
    for number in range(200):
        rates.learn((f"Error{number}", "*") if number % 2 else (), hour=0)
    for number in range(500):
        rates.judge((f"New{number}",), hour=0)
    assert len(rates.state()["averages"]) <= 22


def test_another_process_goes_on_where_one_has_stopped():
    rates = learned(EMPTY, 0.01, "yes")
    alone = first_evidence(learned(EMPTY, 0.01, "yes"), [("yes",)] * 20)
    assert alone is not None
    for number in range(1, 21):
        other = Rates(EMPTY, RULES)
        other.restore(orjson.loads(orjson.dumps(rates.state())))
        found, rates = other.judge(("yes",), hour=0), other
        if found is not None:
            assert (number, found.text) == (alone[0], alone[1].text)
            break
