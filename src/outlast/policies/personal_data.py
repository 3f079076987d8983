"""`personal_data`: personal data and secrets in inputs are masked, refused, or shown to a person first."""

from collections import Counter
from dataclasses import replace
from typing import ClassVar

from outlast.domain.admission import Allow, AskHuman, Refuse
from outlast.domain.policy import Kind, PolicyFacts, PolicyRequest
from outlast.policies.detectors import found_in, masked
from outlast.policies.policy import ALLOWED, Instead, Policy
from outlast.policies.walking import replaced
from outlast.settings_policies import PersonalDataSettings


class PersonalData(Policy):
    """Looks at every text of the input and of the command (answers included), however deep."""

    name: ClassVar[str | None] = "personal_data"
    about: ClassVar[frozenset[Kind]] = frozenset({"run"})

    def __init__(self, settings: PersonalDataSettings) -> None:
        self._settings = settings

    def decide(self, request: PolicyRequest, facts: PolicyFacts) -> Allow | Refuse | AskHuman | Instead:
        """Say which kinds were found, and how often, and never what."""
        settings = self._settings
        if settings.found == "nothing" or (settings.agents and facts.agent not in settings.agents):
            return ALLOWED
        counts: Counter[str] = Counter()
        given = replaced(request.input, lambda text: self._masked(text, counts))
        command = replaced(request.command, lambda text: self._masked(text, counts))
        if not counts:
            return ALLOWED
        told = ", ".join(f"{kind} ({count})" for kind, count in sorted(counts.items()))
        match settings.found:
            case "mask":
                return Instead(replace(request, input=given, command=command), f"masked in its input: {told}")
            case "refuse":
                return Refuse(f"its input holds personal data: {told}; leave it out")
            case _:
                return AskHuman(f"Its input holds personal data: {told}. Shall it begin?")

    def _masked(self, text: str, counts: Counter[str]) -> str:
        # A picture is no text, and long.
        if text.startswith("data:") and ";base64," in text[:100]:
            return text
        findings = found_in(text, self._settings.kinds)
        counts.update(found.kind for found in findings)
        return masked(text, findings) if findings else text
