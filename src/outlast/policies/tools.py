"""`tools`: which tools an agent may call, for which tenant, and which only after a person's yes."""

from typing import ClassVar

from outlast.domain.admission import Allow, AskHuman, Refuse
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest
from outlast.policies.names import matches, objection
from outlast.policies.policy import ALLOWED, Policy
from outlast.settings_policies import ToolPolicySettings, ToolRules

_TABLE = "policies.tools"


class AllowedTools(Policy):
    """Refuses a tool that the rules of all, of the agent or of the tenant do not allow, and asks where one says so."""

    name: ClassVar[str | None] = "tools"
    about: ClassVar[frozenset[Kind]] = frozenset({"tool"})

    def __init__(self, settings: ToolPolicySettings) -> None:
        self._settings = settings

    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Allow | Refuse | AskHuman:
        """Look at the tool's name."""
        own, tool = self._settings, request.tool or ""
        rules: list[tuple[str, ToolRules]] = [(_TABLE, own)]
        if facts.agent in own.agents:
            rules.append((f"{_TABLE}.agents.{facts.agent}", own.agents[facts.agent]))
        if facts.tenant in own.tenants:
            rules.append((f"{_TABLE}.tenants.{facts.tenant}", own.tenants[facts.tenant]))
        why = objection(tool, rules)
        if why is not None:
            return Refuse(why)
        if any(matches(tool, rule.ask) for _, rule in rules):
            return AskHuman(f"May {facts.agent} call {tool}?")
        return ALLOWED
