"""The table `[escalation]`: for which reasons a person is asked about an output, and on which terms."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from outlast.setting_branch import Branch

RuleName = Literal["confidence", "stakes", "sensitive", "novel", "anomaly"]


class EscalationRules(Branch):
    """When a person looks at an output that no validator has found fault with."""

    rules: tuple[RuleName, ...] = Field(
        default=(),
        description="which of the rules are asked: confidence, stakes, sensitive, novel, anomaly; none by themselves",
    )
    confidence: Annotated[
        float,
        Field(ge=0, le=1, description="rule `confidence`: an agent that is less sure of its output asks a person"),
    ] = 0.7
    confidence_at: str = Field(
        default="confidence", description="where the output says how sure the agent is, as `answer.confidence`"
    )
    stakes: tuple[str, ...] = Field(
        default=("high",), description="rule `stakes`: what `stakes` says in input, metadata or output of such a run"
    )
    stakes_at: str = Field(default="stakes", description="where input, metadata or output say how much is at stake")
    sensitive: tuple[str, ...] = Field(
        default=("legal", "financial", "medical"), description="rule `sensitive`: the types that a person looks at"
    )
    sensitive_at: str = Field(default="type", description="where input, metadata or output say of which type it is")
    novel_distance: Annotated[
        int,
        Field(ge=1, le=64, description="rule `novel`: bits of 64 by which an input differs from all that are known"),
    ] = 20
    novel_after: Annotated[
        int, Field(ge=0, description="rule `novel`: not before the agent has seen so many different inputs")
    ] = 20
    deadline: timedelta | None = Field(default=None, description="for the answer about an output; none: as `[inbox]`")
    default: Literal["approve", "reject"] | None = Field(
        default=None, description="what is decided when nobody answers in time; none: the question stays open"
    )
    needs: Literal[1, 2] | None = Field(default=None, description="how many people have to agree; none: as `[inbox]`")
    not_requester: bool | None = Field(
        default=None, description="whoever asked for the run may not approve of it; none: as `[inbox]`"
    )
    assign_to: str | None = Field(default=None, description="who is to answer; none: as `[inbox]`")


class EscalationSettings(EscalationRules):
    """The rules for all agents, and what differs for some."""

    agents: dict[str, EscalationRules] = Field(
        default_factory=dict[str, EscalationRules], description="by name of the agent: what differs for it"
    )

    def of(self, agent: str) -> EscalationRules:
        """Return the rules of an agent: what its own table does not say is as the general one has it."""
        own = self.agents.get(agent)
        general = EscalationRules(**{name: getattr(self, name) for name in EscalationRules.model_fields})
        return general if own is None else general.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )  # fmt: skip
