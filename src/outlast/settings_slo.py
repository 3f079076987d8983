"""`[slo]`: what is promised of the agents, and how it is watched whether that is kept."""

from datetime import timedelta
from typing import Annotated, Final

from pydantic import Field

from outlast.setting_branch import Branch

#: A share below 1; 0 switches the objective off.
_Goal = Annotated[float, Field(ge=0, lt=1)]
#: Recoveries are counted for as long as this after a crash.
_LONGEST_RECOVERY: Final = 240.0


class AgentSloSettings(Branch):
    """What is promised of one agent; what is not set is as `[slo]` says."""

    first_byte_seconds: Annotated[float | None, Field(gt=0, description="as in `[slo]`")] = None
    first_byte_goal: _Goal | None = Field(default=None, description="as in `[slo]`")
    streams_goal: _Goal | None = Field(default=None, description="as in `[slo]`")
    tools_goal: _Goal | None = Field(default=None, description="as in `[slo]`")
    cost_usd: Annotated[float | None, Field(gt=0, description="as in `[slo]`")] = None
    cost_goal: _Goal | None = Field(default=None, description="as in `[slo]`")
    runs_goal: _Goal | None = Field(default=None, description="as in `[slo]`")
    resumes_goal: _Goal | None = Field(default=None, description="as in `[slo]`")
    recovery_seconds: Annotated[float | None, Field(gt=0, le=_LONGEST_RECOVERY, description="as in `[slo]`")] = None
    recovery_goal: _Goal | None = Field(default=None, description="as in `[slo]`")


class SloSettings(Branch):
    """Service level objectives over 30 days. A goal is a share: 0.95 of first bytes are there in time; 0: off."""

    first_byte_seconds: Annotated[float, Field(gt=0, description="a first byte in time, queue included")] = 1.5
    first_byte_goal: _Goal = Field(default=0.95, description="share of runs whose first byte is in time")
    streams_goal: _Goal = Field(default=0.995, description="share of streams that come to their end")
    tools_goal: _Goal = Field(default=0.98, description="share of tool calls that do not fail")
    cost_usd: Annotated[float | None, Field(gt=0, description="what a run may cost; none: no objective")] = None
    cost_goal: _Goal = Field(default=0.95, description="share of runs that cost no more than that")
    runs_goal: _Goal = Field(default=0.99, description="share of runs that end without an error; cancelled ones aside")
    resumes_goal: _Goal = Field(
        default=0.99, description="the same, of runs that went on after a crash, an answer or a replay"
    )
    recovery_seconds: Annotated[
        float, Field(gt=0, le=_LONGEST_RECOVERY, description="from a worker's death until its run goes on")
    ] = 30.0
    recovery_goal: _Goal = Field(default=0.95, description="share of crashes after which a run goes on in time")
    least_bad: Annotated[
        int, Field(ge=1, description="failures in the long window without which no budget is said to burn")
    ] = 3
    every: Annotated[timedelta, Field(ge=timedelta(seconds=1), description="how often it is counted")] = timedelta(
        seconds=15
    )
    agents: dict[str, AgentSloSettings] = Field(
        default_factory=dict[str, AgentSloSettings], description="what is promised of one agent, by its name"
    )
