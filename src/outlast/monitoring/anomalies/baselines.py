"""All that is watched of one agent with one model, and what is learned of it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from outlast.domain.anomaly import Observation
from outlast.monitoring.anomalies.kinds import KINDS, Memory
from outlast.monitoring.anomalies.watches import Open, Told, Watch
from outlast.settings_anomalies import AnomalyRules

# Raised when states are not understood any more: then everything is learned anew.
_VERSION: Final = 1


@dataclass(frozen=True, slots=True)
class Change:
    """What one run has changed about one kind."""

    watch: Watch
    told: Told


class Baseline:
    """What is usual, and what is open."""

    def __init__(self, rules: AnomalyRules) -> None:
        self.runs = 0
        #: Whether it has seen a run since it was made or restored.
        self.changed = False
        self.watches = {kind.name: Watch(kind, rules) for kind in KINDS}
        self._off = frozenset(rules.off)
        self._hold = rules.hold
        self._memory = Memory()
        #: Inputs of runs that are not part of what is usual yet.
        self._asked: list[int] = []

    @classmethod
    def restored(cls, state: Mapping[str, Any] | None, rules: AnomalyRules, known: Mapping[str, Open]) -> "Baseline":
        """Return what was learned; `known` is what is open, by kind."""
        baseline = cls(rules)
        if state is not None and state.get("version") == _VERSION:
            baseline.runs = state["runs"]
            baseline._memory = Memory(said=state["said"], asked=state["asked"])
            baseline._asked = state["held"]
            for name, watch in baseline.watches.items():
                if (stored := state["kinds"].get(name)) is not None:
                    watch.restore(stored, known.get(name))
        for name, watch in baseline.watches.items():
            watch.open = watch.open or known.get(name)
        return baseline

    def judge(self, run: Observation) -> Iterator[Change]:
        """Compare a run with what is usual, kind by kind, and learn from it; yields what it changes.

        A finding is to be given its id (`Watch.opened`) before the next one is asked for.
        """
        self.runs += 1
        self.changed = True
        hour = run.ended_at.hour
        for name, watch in self.watches.items():
            if name in self._off:
                if watch.open is not None:
                    ended = watch.open.id
                    watch.close()
                    yield Change(watch, Told(ended_as="usual", id=ended))
                continue
            told = watch.judge(watch.kind.values(run, self._memory), hour=hour)
            if told.evidence is not None or told.ended_as is not None or told.shows:
                yield Change(watch, told)
                if name == "inputs" and told.ended_as == "usual":
                    self._begin_inputs(watch)
        self._remember(run)

    def state(self) -> Mapping[str, Any]:
        """Return what the next process has to know, as JSON."""
        return {
            "version": _VERSION,
            "runs": self.runs,
            "said": self._memory.said,
            "asked": self._memory.asked,
            "held": self._asked,
            "kinds": {name: watch.state() for name, watch in self.watches.items()},
        }

    def _remember(self, run: Observation) -> None:
        if run.output_print is not None:
            self._memory.say(run.output_print)
        if run.input_print is None:
            return
        watch = self.watches["inputs"]
        if watch.open is not None:
            self._asked = []
            return
        self._asked.append(run.input_print)
        while self._asked and (len(self._asked) > self._hold or not watch.warm):
            self._memory.ask(self._asked.pop(0))

    def _begin_inputs(self, watch: Watch) -> None:
        """Forget the inputs that were usual: how far others are from them says nothing of these."""
        self._memory.asked, self._asked = [], []
        for detector in watch.detectors:
            detector.forget()
