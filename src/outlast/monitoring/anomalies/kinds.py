"""What is watched of each agent with each model: one small definition for each kind.

A kind takes values out of a run, each for a detector of its own; None is for a run that says nothing about it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from outlast.domain.anomaly import Observation
from outlast.monitoring.anomalies.evidence import Detector
from outlast.monitoring.anomalies.rates import Rate, Rates
from outlast.monitoring.anomalies.shifts import Figure, Shift
from outlast.settings_anomalies import AnomalyKind, AnomalyRules
from outlast.validation.novelty import bits_apart

T = TypeVar("T")

# Texts whose SimHashes differ in no more bits say the same.
_SAME_BITS: Final = 3
_LATELY: Final = 5
# A comparison with so many inputs takes 10 us, and more would tell hardly more.
_INPUTS: Final = 64
_ENOUGH_INPUTS: Final = 10
_CERTAIN: Final = 0.99
YES: Final = "yes"
_FAILED: Final = "*"


@dataclass(slots=True)
class Memory:
    """SimHashes of earlier runs: what was said last, and what healthy runs were asked."""

    said: list[int] = field(default_factory=list[int])
    asked: list[int] = field(default_factory=list[int])

    def say(self, print_: int) -> None:
        """Keep what a run said."""
        self.said = [*self.said[-_LATELY + 1 :], print_]

    def ask(self, print_: int) -> None:
        """Keep what a run was asked."""
        self.asked = [*self.asked[-_INPUTS + 1 :], print_]


Value = Callable[[Observation, Memory], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One thing that may be unusual: its detectors, and what each of them is given."""

    name: AnomalyKind
    parts: Sequence[tuple[Value, Callable[[AnomalyRules], Detector]]]

    def values(self, observation: Observation, memory: Memory) -> tuple[Any, ...]:
        """Return the value for each detector."""
        return tuple(value(observation, memory) for value, _ in self.parts)

    def detectors(self, rules: AnomalyRules) -> list[Detector]:
        """Return new detectors."""
        return [detector(rules) for _, detector in self.parts]


def _of_success(take: Callable[[Observation], T]) -> Callable[[Observation, Memory], T | None]:
    return lambda run, _: take(run) if run.status == "success" else None


def _flag(take: Callable[[Observation], bool]) -> Value:
    """Of runs that have put something out, those that have it."""
    return _of_success(lambda run: (YES,) if take(run) else ())


def _errors(run: Observation, _: Memory) -> Sequence[str] | None:
    if run.status == "cancelled":
        return None
    return () if run.status == "success" else ((run.error_class or "failed").replace("|", "/"), _FAILED)


def _refused(run: Observation, _: Memory) -> Sequence[str] | None:
    if run.status != "success":
        return None
    return ("refused", "either") if run.refused else ("either",) if run.empty else ()


def _answer(run: Observation, _: Memory) -> Sequence[str] | None:
    return None if run.output_print is None else (f"{run.output_print:x}",)


def _repeated(run: Observation, memory: Memory) -> Sequence[str] | None:
    if run.output_print is None or not memory.said:
        return None
    near = [bits_apart(run.output_print, earlier) <= _SAME_BITS for earlier in memory.said]
    return [label for label, same in (("last", near[-1]), ("lately", any(near))) if same]


def _strangeness(run: Observation, memory: Memory) -> float | None:
    if run.input_print is None or len(memory.asked) < _ENOUGH_INPUTS:
        return None
    return min(bits_apart(run.input_print, earlier) for earlier in memory.asked)


def _certain(run: Observation, _: Memory) -> Sequence[str] | None:
    if run.confidence is None:
        return None
    return (YES,) if run.confidence >= _CERTAIN else ()


def _figure(name: AnomalyKind, value: Value, figure: Figure) -> Kind:
    return Kind(name=name, parts=((value, lambda rules: Shift(figure, rules)),))


def _rate(name: AnomalyKind, value: Value, rate: Rate) -> Kind:
    return Kind(name=name, parts=((value, lambda rules: Rates(rate, rules)),))


def _count(value: float) -> str:
    return f"{value:,.0f}"


def _share(value: float) -> str:
    return f"{value:.2f}"


LENGTH: Final = Figure(name="length", direction="both", floor=0.15, shown=_count, log=10)
_LESS_SURE: Final = Figure(name="confidence", direction="down", floor=0.03, shown=_share)
_SURER: Final = Figure(name="confidence", direction="up", floor=0.03, shown=_share)
_SAME: Final = Rate(told={
    "last": "said the same as the one before", "lately": "said the same as one of the five before",
})  # fmt: skip
# Of agents that choose among a few answers; those of others are all `other`, which is as usual.
_ONE: Final = Rate(told={}, otherwise="gave one and the same answer", deviations=4.4)
_CERTAINTY: Final = Rate(told={YES: "were certain (confidence 0.99 or more)"}, deviations=6.0)

KINDS: Final[Sequence[Kind]] = (
    # Refusals and empty answers are kinds of their own.
    _figure("length", _of_success(lambda run: None if run.refused or run.empty else run.output_length), LENGTH),
    _figure("low_confidence", _of_success(lambda run: run.confidence), _LESS_SURE),
    Kind(name="overconfidence", parts=(
        (_of_success(lambda run: run.confidence), lambda rules: Shift(_SURER, rules)),
        (_certain, lambda rules: Rates(_CERTAINTY, rules)),
    )),
    _figure("tokens", _of_success(lambda run: run.tokens), Figure(
        name="tokens", direction="both", floor=0.15, shown=_count, log=50, critical_factor=5,
    )),
    _figure("cost", _of_success(lambda run: run.cost_usd), Figure(
        name="cost", direction="up", floor=0.15, shown=lambda value: f"${value:.4g}", log=1e-5, critical_factor=5,
    )),
    _figure("latency", _of_success(lambda run: run.seconds), Figure(
        name="time", direction="up", floor=0.3, shown=lambda value: f"{value:.3g} s", log=0.05, critical_factor=10,
        # Retries and slow hours of providers come in bunches.
        patience=1.35,
    )),
    _figure("tool_calls", _of_success(lambda run: run.tool_calls), Figure(
        name="tool calls", direction="both", floor=0.35, shown=_count, log=1, critical_factor=10,
    )),
    _rate("tool_errors", lambda run, _: ((YES,) if run.tool_errors else ()) if run.tool_calls else None,
          Rate(told={YES: "had a tool that failed"})),
    _rate("refusals", _refused, Rate(told={
        "refused": "refused what they were asked", "either": "refused what they were asked, or said nothing",
    }, grave=True)),
    _rate("empty", _flag(lambda run: run.empty), Rate(told={YES: "said nothing"}, grave=True)),
    _rate("invalid", lambda run, _: None if run.status == "cancelled" else (YES,) if run.invalid else (),
          Rate(told={YES: "had an output that a validator did not accept"}, grave=True)),
    _rate("errors", _errors, Rate(told={_FAILED: "failed"}, otherwise="failed with {}", grave=True)),
    Kind(name="repeated", parts=(
        (_repeated, lambda rules: Rates(_SAME, rules)), (_answer, lambda rules: Rates(_ONE, rules)),
    )),
    _figure("inputs", _strangeness, Figure(
        name="bits of 64 by which an input differs from the nearest known one:", direction="up", floor=2.0,
        shown=lambda value: f"{value:.0f}",
    )),
)  # fmt: skip
