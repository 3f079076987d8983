"""The table `[validation]`: what an agent's output has to be like, and what happens when it is not."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field

from outlast.setting_branch import Branch

Action = Literal["repair", "escalate", "fail", "accept"]
Finally = Literal["escalate", "fail", "accept"]
SeverityName = Literal["low", "medium", "high"]
#: A built-in validator, a place of the project's own (`./validators.py:Refund`), or a table with `use` and its options.
Named = str | dict[str, Any]

_VALIDATORS = (
    'built-in ones and your own, as in `["required", {use = "dates", future = ["closing"]}, "./validators.py:Refund"]`'
)
_ON_INVALID = "`repair`: the agent gets the reasons and tries again; `accept`: with a mark"
_SEVERITIES = 'what is different by severity, as in `{low = "accept", high = "escalate"}`'
_SOURCES = "by name, where the texts are that an output rests upon, as in `input.contract`; empty: looked for"


class AgentValidationSettings(Branch):
    """What is different for one agent; what is not given is as in `validation`."""

    validators: tuple[Named, ...] = Field(default=(), description="behind those of all agents")
    inherit: bool = Field(default=True, description="the validators of all agents count for this one as well")
    on_invalid: Action | None = Field(default=None, description=_ON_INVALID)
    repairs: Annotated[int | None, Field(ge=0, le=20, description="tries to do better, of one run")] = None
    then: Finally | None = Field(default=None, description="when they are used up")
    severities: dict[SeverityName, Action] | None = Field(default=None, description=_SEVERITIES)
    nodes: dict[str, tuple[Named, ...]] = Field(
        default_factory=dict[str, tuple[Named, ...]], description="by node: validators of what it returns"
    )
    tools: dict[str, tuple[Named, ...]] = Field(
        default_factory=dict[str, tuple[Named, ...]],
        description="by tool, as `send_*`: validators of its arguments, before it runs",
    )
    sources: dict[str, str] | None = Field(default=None, description=_SOURCES)


class ValidationSettings(Branch):
    """What outputs have to be like, and what happens when they are not."""

    validators: tuple[Named, ...] = Field(default=(), description=f"of all agents: {_VALIDATORS}")
    on_invalid: Action = Field(default="repair", description=_ON_INVALID)
    repairs: Annotated[int, Field(ge=0, le=20, description="tries to do better, of one run")] = 2
    then: Finally = Field(default="escalate", description="when they are used up")
    severities: dict[SeverityName, Action] = Field(default_factory=dict[SeverityName, Action], description=_SEVERITIES)
    tools: dict[str, tuple[Named, ...]] = Field(
        default_factory=dict[str, tuple[Named, ...]],
        description="of all agents, by tool, as `send_*`: validators of its arguments, before it runs",
    )
    sources: dict[str, str] = Field(default_factory=dict[str, str], description=_SOURCES)
    timeout: timedelta = Field(
        default=timedelta(seconds=10), gt=timedelta(0),
        description="of one validator that asks no model; one that takes longer says invalid",
    )  # fmt: skip
    # More than a call may take: an outage of the provider ends the attempt, and says nothing about the output.
    model_timeout: timedelta = Field(
        default=timedelta(minutes=15),
        gt=timedelta(0),
        description="of one that asks a model; longer than `calls.timeout`, which bounds each call",
    )
    agents: dict[str, AgentValidationSettings] = Field(
        default_factory=dict[str, AgentValidationSettings], description="by agent"
    )
