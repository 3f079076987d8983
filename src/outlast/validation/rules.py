"""What happens with an output that is not acceptable, for one agent."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from outlast.settings_validation import Action, Finally, SeverityName, ValidationSettings
from outlast.validation.validator import Invalid


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """As the settings say it: the agent's own word counts before that for all."""

    on_invalid: Action = "repair"
    #: Tries of one run to do better.
    repairs: int = 2
    #: When they are used up.
    then: Finally = "escalate"
    severities: Mapping[SeverityName, Action] = field(default_factory=dict[SeverityName, Action])
    #: Where the texts are that an output rests upon; empty: they are looked for.
    sources: Mapping[str, str] = field(default_factory=dict[str, str])

    @classmethod
    def of(cls, settings: ValidationSettings, agent: str) -> "Rules":
        """Return the rules of an agent."""
        own = settings.agents.get(agent)
        if own is None:
            return cls(
                on_invalid=settings.on_invalid, repairs=settings.repairs, then=settings.then,
                severities=settings.severities, sources=settings.sources,
            )  # fmt: skip
        return cls(
            on_invalid=own.on_invalid if own.on_invalid is not None else settings.on_invalid,
            repairs=own.repairs if own.repairs is not None else settings.repairs,
            then=own.then if own.then is not None else settings.then,
            severities=own.severities if own.severities is not None else settings.severities,
            sources=own.sources if own.sources is not None else settings.sources,
        )

    def action(self, invalid: Invalid, *, repaired: int = 0) -> Action:
        """Return what is to be done after `repaired` tries to do better; never `repair` once they are used up."""
        wanted = self.severities.get(invalid.severity, self.on_invalid)
        return self.then if wanted == "repair" and repaired >= self.repairs else wanted
