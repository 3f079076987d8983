"""The drill: runs of made-up agents, told as real ones are, stored, judged, and what was found counted.

Everything is real but the agents: the event `run.ended`, the observer, the database, the judge.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID, uuid4

from made_up_agents import PROFILES, SCENARIOS, Figures, Profile, has, healthy
from outlast.domain.run import RunStatus
from outlast.domain.run_summary import ModelUse, RunSummary
from outlast.monitoring.anomalies.judge import Judge
from outlast.monitoring.observing import Observer
from outlast.settings_anomalies import AnomalySettings
from outlast.storage.postgres.anomalies import AnomalyStore
from outlast.storage.postgres.observations import ObservationStore
from outlast.storage.postgres.pool import Pool
from outlast.telemetry import emit, subscribe

#: Healthy runs before the fault.
WARM = 150
#: A fault has to be found within so many.
WITHIN = 20


@dataclass(frozen=True)
class Finding:
    """What was found of an agent, and after how many of the runs that were played last."""

    agent: str
    kind: str
    severity: str
    text: str
    #: From 1; None: before them.
    after: int | None


@dataclass(frozen=True)
class Attempt:
    """One scenario with one agent and one seed."""

    scenario: str
    profile: str
    seed: int
    #: Of the fault's own kinds.
    found: Finding | None
    #: All kinds that were found.
    kinds: Sequence[str] = field(default=())


class Stage:
    """Plays runs against a database."""

    def __init__(self, pool: Pool, settings: AnomalySettings | None = None) -> None:
        self._pool = pool
        self._observer = Observer(ObservationStore(pool))
        self.judge = Judge(AnomalyStore(pool), settings or AnomalySettings())

    async def play(self, runs: Sequence[tuple[str, Figures]]) -> dict[str, dict[UUID, int]]:
        """Have runs of agents end, in this order, and judged; return by agent the number of each run, from 1."""
        numbers: dict[str, dict[UUID, int]] = {}
        told = [(agent, uuid4(), run) for agent, run in runs]
        await self._plant(told)
        leave = subscribe(self._observer.heard)
        try:
            for agent, run_id, run in told:
                emit("run.ended", summary=_summary(agent, run_id, run))
                numbers.setdefault(agent, {})[run_id] = len(numbers.get(agent, ())) + 1
        finally:
            leave()
        await self._observer.flush()
        await self.judge.catch_up()
        return numbers

    async def findings(self, numbers: dict[str, dict[UUID, int]]) -> list[Finding]:
        """Return what was found of these agents, in order."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "SELECT agent, kind, severity, text, run_id FROM anomalies WHERE agent = ANY(%(agents)s)"
                " ORDER BY found_at",
                {"agents": list(numbers)},
            )
            rows = await cursor.fetchall()
        return [
            Finding(agent, kind, severity, text, numbers[agent].get(run_id))
            for agent, kind, severity, text, run_id in rows
        ]

    async def close(self) -> None:
        """End what is open: what healthy runs were taken for is not to hide what comes after them."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "UPDATE anomalies SET ended_at = now(), ended_as = 'normal' WHERE ended_at IS NULL", {}
            )

    async def _plant(self, told: Sequence[tuple[str, UUID, Figures]]) -> None:
        async with self._pool.transaction() as connection:
            await connection.execute(
                "INSERT INTO threads (key, thread_id) VALUES (%(key)s, 'drill') ON CONFLICT DO NOTHING",
                {"key": UUID(int=7)},
            )
            await connection.execute(
                "INSERT INTO runs (id, thread_key, agent, status, ended_at, epoch)"
                " SELECT id, %(key)s, agent, 'succeeded', now(), 1"
                " FROM unnest(%(ids)s::uuid[], %(agents)s::text[]) AS k (id, agent)",
                {"key": UUID(int=7), "ids": [each[1] for each in told], "agents": [each[0] for each in told]},
            )


async def false_alarms(stage: Stage, seed: int, *, runs: int = 5000) -> list[Finding]:
    """Return what is found over so many healthy runs of all kinds of agents together."""
    each = runs // len(PROFILES)
    generators = {f"{profile.name}-well-{seed}": healthy(profile, _rng(seed, profile)) for profile in PROFILES}
    numbers = await stage.play([(agent, next(runs_)) for _ in range(each) for agent, runs_ in generators.items()])
    return await stage.findings(numbers)


async def scenarios(stage: Stage, seed: int, *, warm: int = WARM, within: int = WITHIN) -> list[Attempt]:
    """Return, for each scenario and each agent that can have the fault, whether it is found and when."""
    cases = [(name, profile) for name in SCENARIOS for profile in PROFILES if has(name, profile)]
    warm_up: list[tuple[str, Figures]] = []
    faulty: list[tuple[str, Figures]] = []
    for name, profile in cases:
        rng = _rng(seed, profile, name)
        runs, agent = healthy(profile, rng), _agent(name, profile, seed)
        warm_up += [(agent, next(runs)) for _ in range(warm)]
        faulty += [(agent, SCENARIOS[name][0](next(runs), rng)) for _ in range(within)]
    await stage.play(warm_up)
    await stage.close()
    numbers = await stage.play(faulty)
    found = [each for each in await stage.findings(numbers) if each.after is not None]
    return [_attempt(name, profile, seed, found) for name, profile in cases]


def _attempt(name: str, profile: Profile, seed: int, found: Sequence[Finding]) -> Attempt:
    own = [each for each in found if each.agent == _agent(name, profile, seed)]
    first = min(
        (each for each in own if each.kind in SCENARIOS[name][1]), key=lambda each: each.after or 0, default=None
    )
    return Attempt(name, profile.name, seed, first, [each.kind for each in own])


def _agent(name: str, profile: Profile, seed: int) -> str:
    return f"{profile.name}-{name.replace(' ', '-')}-{seed}"


def _rng(seed: int, profile: Profile, scenario: str = "well") -> random.Random:
    return random.Random(f"{seed}:{profile.name}:{scenario}")


def _summary(agent: str, run_id: UUID, run: Figures) -> RunSummary:
    use = ModelUse(
        provider="made-up", model=run.profile.model, calls=1, prompt_tokens=run.tokens,
        cost_micros=round(run.cost_usd * 1e6),
    )  # fmt: skip
    return RunSummary(
        run_id=run_id, thread_id="drill", agent=agent, tenant="default", user_id=None, epoch=1, trace_id=run_id.hex,
        status=RunStatus.SUCCEEDED if run.status == "success" else RunStatus.FAILED, outcome=run.status,
        seconds=run.seconds, error_class=run.error_class, models={f"made-up:{run.profile.model}": use},
        tool_calls=run.tool_calls, tool_errors=run.tool_errors, confidence=run.confidence, invalid=run.invalid,
        output_length=run.length, refused=run.refused, empty=run.empty, output_print=run.said, input_print=run.asked,
    )  # fmt: skip
