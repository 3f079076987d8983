"""What is promised: one objective for each service level, and further ones for agents that have their own."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson

from outlast.settings_slo import AgentSloSettings, SloSettings

#: The service levels, in the order in which they are shown, with the setting that limits what is good, if any.
LIMITS: Final[dict[str, str | None]] = {
    "first_byte": "first_byte_seconds",
    "streams": None,
    "tools": None,
    "cost": "cost_usd",
    "runs": None,
    "resumes": None,
    "recovery": "recovery_seconds",
}
_WORDS: Final = {
    "first_byte": "first bytes within {limit:g} s",
    "streams": "streams to their end",
    "tools": "tool calls without an error",
    "cost": "runs for at most ${limit:g}",
    "runs": "runs without an error",
    "resumes": "resumed runs without an error",
    "recovery": "recoveries within {limit:g} s",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Objective:
    """A share of events that is promised to be good."""

    slo: str
    #: None: of all agents that have no objective of their own for this service level.
    agent: str | None
    #: Above 0, below 1.
    goal: float
    #: Seconds or US dollars; None: what is good needs no limit.
    limit: float | None

    @property
    def text(self) -> str:
        """The promise in words: `95 % of first bytes within 1.5 s`."""
        return f"{self.goal * 100:g} % of {_WORDS[self.slo].format(limit=self.limit)}"


@dataclass(frozen=True, slots=True)
class Objectives:
    """All of them."""

    settings: SloSettings

    def listed(self) -> list[Objective]:
        """Return those that are not switched off: of each service level the general one first."""
        found = [self._of(slo, agent) for slo in LIMITS for agent in (None, *self._apart(slo))]
        return [objective for objective in found if objective is not None]

    def objective_of(self, slo: str, agent: str) -> str | None:
        """Return whose objective an agent's events count for: its own, or None for the general one."""
        own = self.settings.agents.get(agent)
        return agent if own is not None and _differs(own, slo) else None

    @property
    def print(self) -> str:
        """What all limits together are, as a hash: counts by other limits are other counts."""
        limits = [self._limits(None), *(self._limits(agent) for agent in sorted(self.settings.agents))]
        given = [[agent, *values] for agent, *values in limits]
        return hashlib.sha256(orjson.dumps(given)).hexdigest()[:16]

    @property
    def limits(self) -> Sequence[tuple[str | None, float | None, float | None, float | None]]:
        """Agent (None: all others), and its limits of first bytes, cost and recoveries."""
        return [self._limits(agent) for agent in (None, *self.settings.agents)]

    def _apart(self, slo: str) -> list[str]:
        return [agent for agent, own in self.settings.agents.items() if _differs(own, slo)]

    def _of(self, slo: str, agent: str | None) -> Objective | None:
        goal, name = self._value(f"{slo}_goal", agent), LIMITS[slo]
        limit = None if name is None else self._value(name, agent)
        if not goal or (name is not None and limit is None):
            return None
        return Objective(slo=slo, agent=agent, goal=goal, limit=limit)

    def _limits(self, agent: str | None) -> tuple[str | None, float | None, float | None, float | None]:
        first_byte, cost, recovery = (self._value(name, agent) for name in LIMITS.values() if name is not None)
        return agent, first_byte, cost, recovery

    def _value(self, name: str, agent: str | None) -> float | None:
        own = None if agent is None else getattr(self.settings.agents[agent], name)
        return getattr(self.settings, name) if own is None else own


def _differs(own: AgentSloSettings, slo: str) -> bool:
    names = (f"{slo}_goal", LIMITS[slo])
    return any(name is not None and getattr(own, name) is not None for name in names)
