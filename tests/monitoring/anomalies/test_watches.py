"""One fault is one finding, from the first evidence to its end, and is not learned as what is usual."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import orjson

from outlast.domain.anomaly import Observation
from outlast.monitoring.anomalies.baselines import Baseline
from outlast.settings_anomalies import AnomalyRules

RULES = AnomalyRules(window=60, warm_up=50, hold=20, adapt=100)


class Agent:
    """Its runs, and what was found of them; now and then another process goes on with them."""

    def __init__(self, rules: AnomalyRules = RULES) -> None:
        self.rules = rules
        self.baseline = Baseline(rules)
        self.found: list[tuple[str, str]] = []
        self.ended: list[tuple[str, str]] = []
        self.number = 0

    def runs(self, count: int, **figures: Any) -> "Agent":
        for _ in range(count):
            self.number += 1
            # A little of everything.
            noise = self.number * 7 % 10
            usual = {"output_length": 1800 + 20 * noise, "seconds": 2.0 + noise / 10, "confidence": 0.8 + noise / 100}
            run = Observation(
                id=self.number, tenant="default", agent="a", model="m", run_id=UUID(int=self.number),
                ended_at=datetime(2026, 11, 22, tzinfo=UTC), status=figures.pop("status", "success"),
                **{**usual, **figures},
            )  # fmt: skip
            self._judge(run)
        return self

    def _judge(self, run: Observation) -> None:
        if self.number % 9 == 0:
            self._elsewhere()
        for change in self.baseline.judge(run):
            name = change.watch.kind.name
            if change.told.evidence is not None and change.watch.open is None:
                change.watch.opened(uuid4(), change.told.evidence.severity)
                self.found.append((name, change.told.evidence.text))
            if change.told.ended_as is not None:
                self.ended.append((name, change.told.ended_as))

    def _elsewhere(self) -> None:
        state = orjson.loads(orjson.dumps(self.baseline.state()))
        known = {name: watch.open for name, watch in self.baseline.watches.items() if watch.open is not None}
        self.baseline = Baseline.restored(state, self.rules, known)

    def kinds(self) -> list[str]:
        return [name for name, _ in self.found]


def test_one_fault_is_one_finding_however_many_runs_show_it():
    agent = Agent().runs(100).runs(80, output_length=40)
    assert agent.kinds() == ["length"]
    assert agent.ended == []


def test_it_ends_when_the_runs_are_as_usual_again_and_a_second_fault_is_a_second_finding():
    agent = Agent().runs(100).runs(15, output_length=40).runs(15)
    assert agent.ended == [("length", "normal")]
    agent.runs(15, output_length=40)
    assert agent.kinds() == ["length", "length"]


def test_what_is_usual_is_not_learned_from_a_fault():
    agent = Agent().runs(100).runs(90, output_length=40).runs(15).runs(5, output_length=40)
    assert agent.ended == [("length", "normal")]
    assert agent.kinds() == ["length", "length"]
    assert all("against a median of 1,8" in text for _, text in agent.found), "and not one of 40"


def test_what_goes_on_for_long_is_what_is_usual_and_what_was_usual_is_then_a_finding():
    agent = Agent().runs(100).runs(120, output_length=40)
    assert agent.ended == [("length", "usual")]
    agent.runs(100, output_length=40)
    assert agent.kinds() == ["length"]
    agent.runs(10)
    assert agent.kinds() == ["length", "length"]


def test_each_kind_is_found_by_itself():
    for figures, kind in (
        ({"confidence": 0.3}, "low_confidence"), ({"confidence": 1.0}, "overconfidence"), ({"tokens": 9000}, "tokens"),
        ({"cost_usd": 2.5}, "cost"), ({"seconds": 60.0}, "latency"), ({"tool_calls": 12}, "tool_calls"),
        ({"refused": True}, "refusals"), ({"empty": True}, "empty"), ({"invalid": True}, "invalid"),
        ({"status": "error", "error_class": "KeyError"}, "errors"), ({"output_length": 90_000}, "length"),
    ):  # fmt: skip
        agent = Agent().runs(100)
        for _ in range(20):
            agent.runs(1, **figures)
        assert kind in agent.kinds(), kind


def test_tools_that_fail_repeated_outputs_and_inputs_of_another_kind_are_found():
    agent = Agent().runs(100, tool_calls=2)
    for _ in range(20):
        agent.runs(1, tool_calls=2, tool_errors=1)
    assert agent.kinds() == ["tool_errors"]

    agent = Agent()
    for number in range(100):
        agent.runs(1, output_print=number * 0x9E3779B97F4A7C15 % 2**63)
    agent.runs(20, output_print=7)
    assert agent.kinds() == ["repeated"]

    agent = Agent()
    for number in range(150):
        agent.runs(1, input_print=1 << number % 20)
    for number in range(20):
        agent.runs(1, input_print=(0xFFFF_FFFF << 30) ^ (1 << number))
    assert agent.kinds() == ["inputs"]


def test_a_cancelled_run_says_nothing():
    agent = Agent().runs(100)
    for _ in range(50):
        agent.runs(1, status="cancelled", output_length=None, seconds=900.0)
    assert agent.found == []


def test_a_kind_that_is_off_is_not_looked_for_and_what_was_open_of_it_ends():
    agent = Agent().runs(100).runs(10, output_length=40)
    assert agent.kinds() == ["length"]
    agent.rules = RULES.model_copy(update={"off": ("length",)})
    agent.runs(10, output_length=40)
    assert agent.ended == [("length", "usual")]
    assert agent.kinds() == ["length"]
