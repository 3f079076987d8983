"""`runs`: what one run may use at most, whatever it asks for."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any, ClassVar, Final, TypeVar

from outlast.domain.admission import Allow
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest
from outlast.policies.policy import ALLOWED, Instead, Policy
from outlast.settings_policies import RunPolicySettings, RunRules

N = TypeVar("N", int, float)
_STEPS: Final = "recursion_limit"


class RunLimits(Policy):
    """Lowers what a run asks for to what it may have; tokens and cost are looked at before each of its model calls."""

    name: ClassVar[str | None] = "runs"
    about: ClassVar[frozenset[Kind]] = frozenset({"run"})

    def __init__(self, settings: RunPolicySettings) -> None:
        self._settings = settings

    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Allow | Instead:
        """Lower the limits of the request."""
        most = limits(self._settings, tenant=facts.tenant, agent=facts.agent)
        changed = request
        asked: Any = request.config.get(_STEPS)
        # One that asks for none gets the most: the graph may have a higher limit of its own.
        if most.steps is not None and not (isinstance(asked, int) and asked <= most.steps):
            changed = replace(changed, config={**request.config, _STEPS: most.steps})
        if most.seconds is not None and (request.timeout_seconds is None or request.timeout_seconds > most.seconds):
            changed = replace(changed, timeout_seconds=most.seconds)
        return ALLOWED if changed is request else Instead(changed, "its limits were lowered to those of policies.runs")


def limits(settings: RunPolicySettings, *, tenant: str, agent: str) -> RunRules:
    """Return the least of what applies."""
    rules = list(_rules(settings, tenant, agent))
    return RunRules(
        steps=_least(rule.steps for rule in rules),
        tokens=_least(rule.tokens for rule in rules),
        cost_usd=_least(rule.cost_usd for rule in rules),
        seconds=_least(rule.seconds for rule in rules),
    )


def _rules(settings: RunPolicySettings, tenant: str, agent: str) -> Iterator[RunRules]:
    yield settings
    if agent in settings.agents:
        yield settings.agents[agent]
    if tenant in settings.tenants:
        yield settings.tenants[tenant]


def _least(figures: Iterable[N | None]) -> N | None:
    return min((figure for figure in figures if figure is not None), default=None)
