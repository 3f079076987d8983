"""The table `[inbox]`: the terms of questions to people that do not bring their own."""

from datetime import timedelta
from typing import Annotated, Literal

from pydantic import Field

from outlast.setting_branch import Branch

_SECOND = timedelta(seconds=1)


class AgentInboxSettings(Branch):
    """The terms of one agent's questions; what is not set is as `[inbox]` says."""

    deadline: Annotated[
        timedelta | None, Field(gt=timedelta(0), description="after which a question expires; none: as in `[inbox]`")
    ] = None
    default: Literal["approve", "reject"] | None = Field(
        default=None, description="what is decided when nobody does; none: as in `[inbox]`"
    )
    needs: Literal[1, 2] | None = Field(default=None, description="how many people decide; none: as in `[inbox]`")
    not_requester: bool | None = Field(
        default=None, description="whoever asked for the run does not answer its questions; none: as in `[inbox]`"
    )
    assign_to: str | None = Field(default=None, description="a user, whose questions they are")


class InboxSettings(Branch):
    """Questions to people. What a question says itself goes before these."""

    url: str = Field(default="", description="where people reach the API, for links that lead to a question")
    deadline: Annotated[
        timedelta | None, Field(gt=timedelta(0), description="after which a question expires; none: never")
    ] = None
    default: Literal["approve", "reject"] | None = Field(
        default=None, description="what is decided when nobody does; none: the question stays open"
    )
    needs: Literal[1, 2] = Field(default=1, description="how many people decide")
    not_requester: bool = Field(default=False, description="whoever asked for the run does not answer its questions")
    assign_to: str | None = Field(default=None, description="a user, whose questions they are")
    assignee_only: bool = Field(default=True, description="only the assignee answers what is assigned")
    remind: Annotated[
        timedelta, Field(ge=_SECOND, description="how often it is told that a question is overdue that has no default")
    ] = timedelta(days=1)
    scan: Annotated[
        timedelta, Field(gt=timedelta(0), description="how often workers look for deadlines that have passed")
    ] = timedelta(seconds=2)
    sweep: Annotated[
        timedelta, Field(gt=timedelta(0), description="how often it is written down what nobody waits for any more")
    ] = timedelta(minutes=1)
    agents: dict[str, AgentInboxSettings] = Field(
        default_factory=dict[str, AgentInboxSettings], description="terms of one agent's questions, by its name"
    )
