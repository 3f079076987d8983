"""Breakers, as any number of processes that look and replace in any order."""

from dataclasses import dataclass, field
from itertools import pairwise
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from outlast.domain.circuit import Circuit, Tally, Thresholds, closed, fails, opened, probed, released

THRESHOLDS = Thresholds(failures=5, ratio=0.5, window=10.0, open=2.0, longest=30.0)


def tallies(*figures: tuple[int, int, int]) -> list[Tally]:
    return [Tally(second=second, calls=calls, failures=failed) for second, calls, failed in figures]


@pytest.mark.parametrize(
    ("counted", "verdict"),
    [
        ([(100, 5, 5)], True),
        ([(100, 4, 4)], False),
        ([(95, 2, 2), (98, 2, 2), (100, 1, 1)], True),
        # Out of the window.
        ([(89, 4, 4), (100, 1, 1)], False),
        # Enough failures, but most calls are answered.
        ([(100, 100, 20)], False),
        ([(100, 10, 5)], True),
        # A long good time does not hide an outage that has just begun.
        ([(second, 50, 0) for second in range(91, 99)] + [(99, 50, 30), (100, 50, 50)], True),
        ([(second, 50, 0) for second in range(91, 101)], False),
    ],
)
def test_a_circuit_opens_on_enough_failures_that_are_a_large_enough_share(
    counted: list[tuple[int, int, int]], verdict: bool
) -> None:
    assert fails(Circuit(), tallies(*counted), 100.9, THRESHOLDS) is verdict


def test_failures_from_before_it_closed_do_not_open_it_again() -> None:
    after = Circuit(version=3, since=100.2)

    assert not fails(after, tallies((99, 9, 9), (100, 9, 9)), 101.0, THRESHOLDS)
    assert fails(after, tallies((99, 9, 9), (100, 9, 9), (101, 5, 5)), 101.5, THRESHOLDS)


def test_each_open_period_is_twice_as_long_up_to_the_longest() -> None:
    circuit, periods = Circuit(), []
    for _ in range(7):
        circuit = opened(circuit, 1000.0, THRESHOLDS)
        periods.append(circuit.probe_at - 1000.0)

    assert periods == [2, 4, 8, 16, 30, 30, 30]


def test_a_probe_that_told_nothing_makes_room_for_the_next_one_a_period_later() -> None:
    probing = probed(opened(Circuit(), 1000.0, THRESHOLDS), uuid4(), 1002.0, THRESHOLDS)

    after = released(probing, 1003.0, THRESHOLDS)

    assert after.openings == probing.openings
    assert not after.probe_due(1004.9)
    assert after.probe_due(1005.0)


@dataclass
class Shared:
    """What a database is to processes: the row, and a clock that nobody else has."""

    circuit: Circuit = field(default_factory=Circuit)
    now: float = 1000.0
    tallies: dict[int, Tally] = field(default_factory=dict)
    #: Every change that was accepted.
    history: list[tuple[float, Circuit, Circuit]] = field(default_factory=list)

    def swap(self, before: Circuit, after: Circuit) -> bool:
        if self.circuit.version != before.version:
            return False
        self.history.append((self.now, self.circuit, after))
        self.circuit = after
        return True


@dataclass
class Look:
    """What a process has seen, and acts on later."""

    circuit: Circuit
    now: float
    fails: bool


PROCESS = st.integers(0, 2)


class Processes(RuleBasedStateMachine):
    """Processes that report, look, and replace; between a look and a replacement anything may happen."""

    def __init__(self) -> None:
        super().__init__()
        self.shared = Shared()
        self.looks = {process: self._look() for process in range(3)}
        self.probing: dict[int, UUID] = {}

    def _look(self) -> Look:
        shared = self.shared
        return Look(shared.circuit, shared.now, fails(shared.circuit, shared.tallies.values(), shared.now, THRESHOLDS))

    @rule(calls=st.integers(1, 8), share=st.sampled_from([0.0, 0.3, 1.0, 1.0]))
    def report(self, calls: int, share: float) -> None:
        second = int(self.shared.now)
        before = self.shared.tallies.get(second, Tally(second=second, calls=0, failures=0))
        failures = before.failures + round(calls * share)
        self.shared.tallies[second] = Tally(second=second, calls=before.calls + calls, failures=failures)

    @rule(process=PROCESS)
    def look(self, process: int) -> None:
        self.looks[process] = self._look()

    @rule(process=PROCESS, again=st.booleans())
    def open(self, process: int, again: bool) -> None:
        look = self._freshly(process) if again else self.looks[process]
        if look.fails:
            self.shared.swap(look.circuit, opened(look.circuit, look.now, THRESHOLDS))

    @rule(process=PROCESS, again=st.booleans())
    def probe(self, process: int, again: bool) -> None:
        look = self._freshly(process) if again else self.looks[process]
        by = uuid4()
        if look.circuit.probe_due(look.now) and self.shared.swap(
            look.circuit, probed(look.circuit, by, look.now, THRESHOLDS)
        ):
            self.probing[process] = by

    @rule(process=PROCESS, again=st.booleans(), answered=st.sampled_from([True, False, False, None]))
    def conclude(self, process: int, again: bool, answered: bool | None) -> None:
        look = self._freshly(process) if again else self.looks[process]
        by = self.probing.pop(process, None)
        if by is None or look.circuit.closed:
            return
        if answered:
            self.shared.swap(look.circuit, closed(look.circuit, look.now))
        elif look.circuit.probe_by == by:
            become = released if answered is None else opened
            self.shared.swap(look.circuit, become(look.circuit, look.now, THRESHOLDS))

    @rule(process=PROCESS)
    def die(self, process: int) -> None:
        """A process takes its probe with it."""
        self.probing.pop(process, None)

    @rule(seconds=st.sampled_from([0.1, 1.0, 2.0, 5.0, 11.0, 40.0]))
    def wait(self, seconds: float) -> None:
        self.shared.now += seconds

    def _freshly(self, process: int) -> Look:
        self.looks[process] = self._look()
        return self.looks[process]

    @invariant()
    def one_probe_per_open_period(self) -> None:
        periods = [
            (after.since, after.openings) for _, before, after in self.shared.history
            if after.probe_by is not None and after.probe_by != before.probe_by
        ]  # fmt: skip
        given_up = sum(
            1 for _, before, after in self.shared.history
            if before.probe_by is not None and after.probe_by is None and not after.closed
            and after.openings == before.openings
        )  # fmt: skip
        # Only a probe that said that it told nothing makes room for another one in the same period.
        assert len(periods) - len(set(periods)) <= given_up

    @invariant()
    def probes_are_as_far_apart_as_the_shortest_period(self) -> None:
        sent = [
            after.probe_until - THRESHOLDS.lease for _, before, after in self.shared.history
            if after.probe_by is not None and after.probe_by != before.probe_by
        ]  # fmt: skip
        for earlier, later in pairwise(sent):
            assert later - earlier >= THRESHOLDS.open

    @invariant()
    def every_change_is_one_of_the_machine(self) -> None:
        for _, before, after in self.shared.history[-1:]:
            assert after.version > before.version
            if before.closed:
                assert after.openings == 1
            elif not after.closed:
                assert after.openings - before.openings in {0, 1} or after.probe_by is not None
                assert after.since == before.since

    @invariant()
    def an_open_circuit_can_always_be_probed_again(self) -> None:
        circuit = self.shared.circuit
        far = self.shared.now + THRESHOLDS.longest + THRESHOLDS.lease + 1
        assert circuit.closed or circuit.probe_due(far)


TestProcesses = Processes.TestCase
TestProcesses.settings = settings(
    max_examples=150,
    stateful_step_count=50,
    deadline=None,
    derandomize=True,
    # A counter-example of fifty steps is read in a second, and takes minutes to shrink.
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
