"""Compares what has ended with what is usual, for all agents of all tenants, one process at a time."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import UUID, uuid4

from outlast.domain.anomaly import EndedAs, Observation
from outlast.monitoring.anomalies.baselines import Baseline, Change
from outlast.monitoring.anomalies.watches import Open
from outlast.settings_anomalies import AnomalySettings
from outlast.storage.postgres.anomalies import AnomalyStore, Found, Judging, Key, OpenAnomaly
from outlast.telemetry import emit, rounds_for_ever

_BATCH: Final = 500
# The event loop gets its turn after so many, which take some 5 ms.
_AT_ONCE: Final = 25
# What was learned of an agent that has not run for so many times `silence` is forgotten.
_FORGET_AFTER: Final = 30


@dataclass(slots=True)
class _Round:
    """What one transaction has come to."""

    baselines: dict[Key, Baseline] = field(default_factory=dict[Key, Baseline])
    #: The model with which each agent ran last.
    models: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    found: list[Found] = field(default_factory=list[Found])
    grown: list[Found] = field(default_factory=list[Found])
    ended: list[tuple[UUID, Key, str, EndedAs]] = field(default_factory=list[tuple[UUID, Key, str, EndedAs]])
    seen: Counter[UUID] = field(default_factory=Counter[UUID])


class Judge:
    """Judges the ends of runs as they come."""

    def __init__(self, store: AnomalyStore, settings: AnomalySettings, *, batch: int = _BATCH) -> None:
        self._store = store
        self._settings = settings
        self._batch = batch

    async def run(self) -> None:
        """Judge every few seconds, until cancelled."""
        if self._settings.enabled:
            every = self._settings.every.total_seconds()
            await rounds_for_ever(self.catch_up, seconds=every, loop="anomalies", at_once=False)

    async def catch_up(self) -> int:
        """Judge all that has ended; return how many that were, 0 if another process is at it."""
        judged = done = await self.judge_some()
        while done >= self._batch:
            judged += (done := await self.judge_some())
        return judged

    async def judge_some(self) -> int:
        """Judge one batch in one transaction; what was found is told once that is stored."""
        async with self._store.judging() as judging:
            if judging is None:
                return 0
            runs = await judging.unjudged(limit=self._batch)
            round_ = await self._judged(judging, runs) if runs else _Round()
            silent = await judging.silent(age=self._settings.silence)
            await judging.forget_baselines(age=self._settings.silence * _FORGET_AFTER)
        round_.ended.extend((id_, key, kind, "silent") for id_, key, kind in silent)
        _tell(round_)
        return len(runs)

    async def _judged(self, judging: Judging, runs: Sequence[Observation]) -> _Round:
        round_ = await self._begun(judging, runs)
        for number, run in enumerate(runs, 1):
            self._judge(round_, run)
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)
        await _store(judging, round_)
        await judging.judged(runs)
        return round_

    async def _begun(self, judging: Judging, runs: Sequence[Observation]) -> _Round:
        agents = {(run.tenant, run.agent) for run in runs}
        known = _by_key(await judging.open(agents))
        round_ = _Round()
        for key, state in (await judging.learned(agents)).items():
            round_.baselines[key] = self._baseline(key, state, known)
            if key[2]:
                round_.models[key[:2]] = key[2]
        for run in runs:
            key = _key(run)
            if key not in round_.baselines:
                round_.baselines[key] = self._baseline(key, None, known)
        return round_

    def _baseline(self, key: Key, state: Mapping[str, Any] | None, known: Mapping[Key, Mapping[str, Open]]) -> Baseline:
        return Baseline.restored(state, self._settings.of(key[1]), known.get(key, {}))

    def _judge(self, round_: _Round, run: Observation) -> None:
        key = _key(run)
        if run.model:
            round_.models[key[:2]] = run.model
        elif run.status == "error":
            # It failed before it asked a model: so does the agent with the model that it would have asked.
            key = (*key[:2], round_.models.get(key[:2], ""))
        for change in round_.baselines[key].judge(run):
            _note(round_, key, run, change)


def _note(round_: _Round, key: Key, run: Observation, change: Change) -> None:
    """Keep what a run has changed; `watch.open` is as it is after it, but for what was found just now."""
    watch, told = change.watch, change.told
    if told.ended_as is not None:
        assert told.id is not None  # noqa: S101 - what ends was open
        round_.ended.append((told.id, key, watch.kind.name, told.ended_as))
        return
    if (evidence := told.evidence) is not None:
        id_ = uuid4() if watch.open is None else watch.open.id
        found = Found(
            id=id_, key=key, kind=watch.kind.name, run_id=run.run_id, severity=evidence.severity,
            text=evidence.text, value=evidence.value, expected=evidence.expected,
        )  # fmt: skip
        if watch.open is None:
            watch.opened(id_, evidence.severity)
            round_.found.append(found)
            # The row counts the run that it names.
            return
        round_.grown.append(found)
    if told.shows and watch.open is not None:
        round_.seen[watch.open.id] += 1


async def _store(judging: Judging, round_: _Round) -> None:
    for found in round_.found:
        await judging.found(found)
    for found in round_.grown:
        await judging.grown(found)
    for id_, runs in round_.seen.items():
        await judging.seen_again(id_, runs=runs)
    for id_, _, _, ended_as in round_.ended:
        await judging.ended(id_, ended_as)
    changed = {key: (each.runs, each.state()) for key, each in round_.baselines.items() if each.changed}
    await judging.learn(changed)


def _tell(round_: _Round) -> None:
    for found in (*round_.found, *round_.grown):
        tenant, agent, model = found.key
        emit(
            "anomaly.found", agent=agent, model=model, kind=found.kind, text=found.text, severity=found.severity,
            anomaly_id=found.id, tenant=tenant,
        )  # fmt: skip
    for id_, (tenant, agent, model), kind, ended_as in round_.ended:
        emit(
            "anomaly.ended", agent=agent, model=model, kind=kind, anomaly_id=id_, tenant=tenant, ended_as=ended_as
        )  # fmt: skip


def _key(run: Observation) -> Key:
    return run.tenant, run.agent, run.model


def _by_key(open_: Sequence[OpenAnomaly]) -> dict[Key, dict[str, Open]]:
    found: dict[Key, dict[str, Open]] = {}
    for each in open_:
        found.setdefault(each.key, {})[each.kind] = Open(id=each.id, severity=each.severity)
    return found
