"""The table `[anomalies]`: what is learned of how agents usually are, and when something is told about it."""

from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from outlast.setting_branch import Branch

#: What is watched of each agent with each model.
AnomalyKind = Literal[
    "length", "low_confidence", "overconfidence", "tokens", "cost", "latency", "tool_calls", "tool_errors", "refusals",
    "empty", "invalid", "errors", "repeated", "inputs",
]  # fmt: skip


class AnomalyRules(Branch):
    """What is learned of an agent, and how much evidence it takes."""

    off: tuple[AnomalyKind, ...] = Field(
        default=(),
        description="kinds that are not looked for: length, low_confidence, overconfidence, tokens, cost, latency, "
        "tool_calls, tool_errors, refusals, empty, invalid, errors, repeated, inputs",
    )
    window: Annotated[
        int, Field(ge=30, le=2000, description="how many runs that were as usual make up what is usual")
    ] = 200
    warm_up: Annotated[
        int, Field(ge=20, description="nothing is found before so many runs of an agent with a model were seen")
    ] = 50
    hold: Annotated[
        int,
        Field(ge=0, le=200, description="runs after which one becomes part of what is usual, if nothing is found"),
    ] = 20
    evidence: Annotated[
        float,
        Field(gt=0, description="figures: how much evidence makes a shift, in robust deviations beyond the first"),
    ] = 7.0
    outlier: Annotated[
        float, Field(gt=3, description="figures: robust deviations from which one run by itself is told, as info")
    ] = 10.0
    margin: Annotated[
        float, Field(gt=0, lt=1, description="rates: how far, at least, one has to rise above the usual one")
    ] = 0.3
    adapt: Annotated[
        int, Field(ge=20, description="after so many runs that were unlike the usual, that is what is usual")
    ] = 200
    hourly: bool = Field(
        default=False, description="figures: learn for each hour of the day (UTC) how far it is from the others"
    )

    @model_validator(mode="after")
    def _can_warm_up(self) -> Self:
        if self.warm_up > self.window:
            msg = f"warm_up ({self.warm_up}) must not be more than window ({self.window})"
            raise ValueError(msg)
        return self


class AnomalySettings(AnomalyRules):
    """The rules for all agents, and what differs for some."""

    enabled: bool = Field(default=True, description="learn what is usual, and tell what is not")
    every: timedelta = Field(default=timedelta(seconds=5), description="how often one worker judges what has ended")
    silence: timedelta = Field(
        default=timedelta(days=1), description="what was found of an agent that has not run for so long is closed"
    )
    agents: dict[str, AnomalyRules] = Field(
        default_factory=dict[str, AnomalyRules], description="by name of the agent: what differs for it"
    )

    def of(self, agent: str) -> AnomalyRules:
        """Return the rules of an agent: what its own table does not say is as the general one has it."""
        own = self.agents.get(agent)
        general = AnomalyRules(**{name: getattr(self, name) for name in AnomalyRules.model_fields})
        return general if own is None else general.model_copy(
            update={name: getattr(own, name) for name in own.model_fields_set}
        )  # fmt: skip
