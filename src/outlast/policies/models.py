"""`models`: which models an agent may ask, for which tenant."""

from typing import ClassVar

from outlast.domain.admission import Allow, Refuse
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest
from outlast.policies.names import Rules, objection
from outlast.policies.policy import ALLOWED, Policy
from outlast.settings_policies import ModelPolicySettings

_TABLE = "policies.models"


class AllowedModels(Policy):
    """Refuses a model that the rules of all, of the agent or of the tenant do not allow.

    A model of a list of fallbacks that is refused is passed over; the call is refused when none is left.
    """

    name: ClassVar[str | None] = "models"
    about: ClassVar[frozenset[Kind]] = frozenset({"model"})

    def __init__(self, settings: ModelPolicySettings) -> None:
        self._settings = settings

    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Allow | Refuse:
        """Look at the model's name."""
        own = self._settings
        rules: list[tuple[str, Rules]] = [(_TABLE, own)]
        if facts.agent in own.agents:
            rules.append((f"{_TABLE}.agents.{facts.agent}", own.agents[facts.agent]))
        if facts.tenant in own.tenants:
            rules.append((f"{_TABLE}.tenants.{facts.tenant}", own.tenants[facts.tenant]))
        why = objection(request.model or "", rules)
        return ALLOWED if why is None else Refuse(why)
