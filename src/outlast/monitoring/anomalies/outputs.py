"""Says of one output that it is unlike its agent's, before the run ends; for the rule `anomaly` of `[escalation]`.

One run is judged by itself here: its length and its confidence have to be outside of all that the window holds and at
least four robust deviations off, and a refusal or an empty answer is unusual where hardly any run has one. Which model
the run has used is not known, so it has to be unusual for each that the agent uses. An agent that has not warmed up is
as it is.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

import orjson

from outlast.domain.acting import tenant_now
from outlast.monitoring.anomalies.baselines import Baseline
from outlast.monitoring.anomalies.rates import Rates
from outlast.monitoring.anomalies.shifts import Shift
from outlast.settings_anomalies import AnomalyKind, AnomalySettings
from outlast.settings_escalation import EscalationSettings
from outlast.storage.postgres.anomalies import AnomalyStore
from outlast.validation.answers import last_answer
from outlast.validation.escalation import ANOMALY, Subject, confidence
from outlast.validation.refusals import refuses
from outlast.validation.validator import Reason

# What is usual changes slowly, and a look at the database is not for each run.
_REREAD_SECONDS: Final = 30.0
_RARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class _Known:
    baselines: Sequence[Baseline]
    read_at: float


class UnusualOutputs:
    """Compares outputs with what is learned of their agents; looks at the database twice a minute for a warm one."""

    def __init__(
        self,
        store: AnomalyStore,
        settings: AnomalySettings,
        escalation: EscalationSettings,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`escalation` says where an output says how sure the agent is."""
        self._store = store
        self._settings = settings
        self._escalation = escalation
        self._clock = clock
        self._known: dict[tuple[str | None, str], _Known] = {}

    async def look(self, subject: Subject) -> list[Reason]:
        """Return what is unusual about an output; empty when nothing is, or too little is known."""
        if not self._settings.enabled:
            return []
        baselines = await self._baselines(subject.agent)
        said = last_answer(subject.output)
        text = _text(subject.output) if said is None else str(said.value)
        if not text.strip():
            found = [_seldom(baselines, "empty", "yes", "said nothing")]
        elif refuses(text):
            found = [_seldom(baselines, "refusals", "refused", "refused what it was asked")]
        else:
            found = [_far(baselines, "length", len(text))]
        sure = confidence(subject.output, self._escalation.of(subject.agent))
        if sure is not None:
            found += [_far(baselines, "low_confidence", sure), _far(baselines, "overconfidence", sure)]
        off = self._settings.of(subject.agent).off
        return [Reason(ANOMALY, text, "output") for kind, text in filter(None, found) if kind not in off]

    async def _baselines(self, agent: str) -> Sequence[Baseline]:
        key, now = (tenant_now(), agent), self._clock()
        known = self._known.get(key)
        if known is None or now - known.read_at > _REREAD_SECONDS:
            learned = await self._store.learned_of(agent)
            rules = self._settings.of(agent)
            known = _Known([Baseline.restored(state, rules, {}) for _, state in learned], now)
            # One that is still warming up is looked at anew for each run: it may be warm by then.
            if any(baseline.watches["length"].warm for baseline in known.baselines):
                self._known[key] = known
        return known.baselines


Found = tuple[AnomalyKind, str] | None


def _far(baselines: Sequence[Baseline], kind: AnomalyKind, value: float) -> Found:
    shifts = [cast("Shift", baseline.watches[kind].detectors[0]) for baseline in baselines]
    told = [shift.out_of_range(value) for shift in shifts if shift.warm]
    if not told or not all(told):
        return None
    return kind, f"this is not as usual: {told[0]}"


def _seldom(baselines: Sequence[Baseline], kind: AnomalyKind, label: str, what: str) -> Found:
    rates = [cast("Rates", baseline.watches[kind].detectors[0]) for baseline in baselines]
    usual = [rate.usual(label) for rate in rates if rate.warm]
    if not usual or max(usual) > _RARE:
        return None
    return kind, f"this is not as usual: the agent {what}, as in {usual[0]:.0%} of its runs"


def _text(output: Any) -> str:
    """Return what is counted as the length of an output that is no conversation."""
    if isinstance(output, str):
        return output
    nothing: tuple[Any, ...] = (None, {}, [])
    if output in nothing:
        return ""
    return orjson.dumps(output, default=str, option=orjson.OPT_NON_STR_KEYS).decode("utf-8", "replace")
