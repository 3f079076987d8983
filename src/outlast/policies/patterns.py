"""`patterns`: what inputs must not contain."""

import re
from collections.abc import Mapping
from typing import ClassVar

from outlast.domain.admission import Allow, AskHuman, Refuse
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest
from outlast.errors import ConfigurationError
from outlast.policies.matching import Matcher, TooSlow
from outlast.policies.policy import ALLOWED, Policy
from outlast.policies.walking import texts
from outlast.settings_policies import PatternRule


class BlockedPatterns(Policy):
    """Refuses, or asks about, inputs in which a pattern is found; what takes too long to look at is refused."""

    name: ClassVar[str | None] = "patterns"
    about: ClassVar[frozenset[Kind]] = frozenset({"run"})

    def __init__(self, rules: Mapping[str, PatternRule], *, timeout_seconds: float) -> None:
        self._rules = dict(rules)
        compiled = {name: _compiled(name, rule) for name, rule in rules.items()}
        self._matcher = Matcher(compiled, timeout_seconds=timeout_seconds)

    async def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Allow | Refuse | AskHuman:
        """Look for those that refuse, then for those that ask."""
        concerned = {name: rule for name, rule in self._rules.items() if not rule.agents or facts.agent in rule.agents}
        if not concerned:
            return ALLOWED
        given = [*texts(request.input), *texts(request.command)]
        names = sorted(concerned, key=lambda name: concerned[name].found == "ask")
        try:
            found = await self._matcher.first(names, given)
        except TooSlow:
            return Refuse("looking for blocked patterns took too long; send a shorter input")
        if found is None:
            return ALLOWED
        told = concerned[found].reason or f"its input holds what policies.patterns.{found} does not allow"
        return Refuse(told) if concerned[found].found == "refuse" else AskHuman(f"{told}. Shall it begin?")

    async def aclose(self) -> None:
        """End what it has started."""
        await self._matcher.aclose()


def _compiled(name: str, rule: PatternRule) -> re.Pattern[str]:
    try:
        return re.compile(rule.pattern, re.IGNORECASE if rule.ignore_case else 0)
    except re.error as error:
        msg = f"policies.patterns.{name}.pattern: {error}; it is no regular expression of Python"
        raise ConfigurationError(msg) from error
