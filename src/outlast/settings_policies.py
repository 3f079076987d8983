"""The table `[policies]`: what runs, models and tools may do, and what a person has to say yes to."""

from datetime import time, timedelta
from typing import Annotated, Literal

from pydantic import Field

from outlast.setting_branch import Branch
from outlast.setting_zones import ZoneName

Weekday = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
PersonalKind = Literal["email", "phone", "credit_card", "iban", "ssn", "ip", "secret"]


class ModelRules(Branch):
    """Which models may be asked, by patterns like `openai:gpt-4o*`; both apply."""

    allow: tuple[str, ...] | None = Field(default=None, description="only these; not given: all")
    deny: tuple[str, ...] = Field(default=(), description="never these, whatever is allowed")


class ModelPolicySettings(ModelRules):
    """Which models may be asked. What is said of the tenant, of the agent and of all has to allow it."""

    agents: dict[str, ModelRules] = Field(default_factory=dict[str, ModelRules], description="by agent, in addition")
    tenants: dict[str, ModelRules] = Field(default_factory=dict[str, ModelRules], description="by tenant, in addition")


class ToolRules(Branch):
    """Which tools may be called, by patterns like `read_*`, and which only after a person's yes."""

    allow: tuple[str, ...] | None = Field(default=None, description="only these; not given: all")
    deny: tuple[str, ...] = Field(default=(), description="never these, whatever is allowed")
    ask: tuple[str, ...] = Field(default=(), description="a person has to say yes to each call of these")


class ToolPolicySettings(ToolRules):
    """Which tools may be called. What is said of the tenant, of the agent and of all has to allow it."""

    agents: dict[str, ToolRules] = Field(default_factory=dict[str, ToolRules], description="by agent, in addition")
    tenants: dict[str, ToolRules] = Field(default_factory=dict[str, ToolRules], description="by tenant, in addition")


class RunRules(Branch):
    """What one run may use at most; not given: what the other settings say."""

    steps: Annotated[
        int | None, Field(ge=1, description="steps of the graph in one attempt; who asks for none gets this")
    ] = None
    tokens: Annotated[int | None, Field(ge=1, description="input and output of its model calls")] = None
    cost_usd: Annotated[float | None, Field(gt=0, description="US dollars; unpriced calls are not in it")] = None
    seconds: Annotated[int | None, Field(ge=1, description="since it began, and for each attempt")] = None


class RunPolicySettings(RunRules):
    """What one run may use at most, whatever it asks for. The least of what applies counts."""

    agents: dict[str, RunRules] = Field(default_factory=dict[str, RunRules], description="by agent, in addition")
    tenants: dict[str, RunRules] = Field(default_factory=dict[str, RunRules], description="by tenant, in addition")


class HoursSettings(Branch):
    """When runs may begin."""

    days: Annotated[tuple[Weekday, ...], Field(min_length=1, description="the days on which")] = (
        "mon", "tue", "wed", "thu", "fri",
    )  # fmt: skip
    opens: time | None = Field(default=None, description="as in `08:00`; not given: runs may begin at any time")
    closes: time = Field(default=time(18, 0), description="before `opens`: on the next day")
    zone: ZoneName = Field(default="UTC", description="as in `Europe/Berlin`")
    agents: tuple[str, ...] = Field(default=(), description="only runs of these agents; empty: of all")
    closed: Literal["refuse", "later", "ask"] = Field(
        default="refuse", description="`later`: the run is stored and begins when it opens; `ask`: a person may say yes"
    )


class PatternRule(Branch):
    """What an input must not contain."""

    pattern: Annotated[str, Field(min_length=1, max_length=2000, description="a regular expression of Python")]
    found: Literal["refuse", "ask"] = Field(default="refuse", description="what becomes of the run")
    ignore_case: bool = Field(default=True, description="upper and lower case are the same")
    reason: str = Field(default="", description="what the client is told; never what was found")
    agents: tuple[str, ...] = Field(default=(), description="only inputs of these agents; empty: of all")


class PersonalDataSettings(Branch):
    """What happens to personal data, and to secrets, in inputs."""

    found: Literal["nothing", "mask", "refuse", "ask"] = Field(
        default="nothing", description="`mask`: `<email>` is stored in the place of the address"
    )
    kinds: tuple[PersonalKind, ...] = Field(
        default=("email", "phone", "credit_card", "iban", "ssn", "ip", "secret"), description="what is looked for"
    )
    agents: tuple[str, ...] = Field(default=(), description="only inputs of these agents; empty: of all")


class PolicySettings(Branch):
    """Policies: what runs, models and tools may do."""

    order: tuple[str, ...] = Field(
        default=(),
        description='names of built-in policies and places of your own, as in `["hours", "./policies.py:NoFridays"]`; '
        "the first refusal counts. Empty: the built-in ones",
    )
    timeout: timedelta = Field(
        default=timedelta(seconds=2), gt=timedelta(0), description="a policy that takes longer refuses"
    )
    pattern_timeout: timedelta = Field(
        default=timedelta(milliseconds=250),
        gt=timedelta(0),
        description="for all patterns; what takes longer is refused",
    )
    switch_look: timedelta = Field(
        default=timedelta(seconds=1), gt=timedelta(0), le=timedelta(minutes=1),
        description="how often a process looks at the kill switches",
    )  # fmt: skip
    models: ModelPolicySettings = ModelPolicySettings()
    tools: ToolPolicySettings = ToolPolicySettings()
    runs: RunPolicySettings = RunPolicySettings()
    hours: HoursSettings = HoursSettings()
    patterns: dict[str, PatternRule] = Field(
        default_factory=dict[str, PatternRule], description="by a name of yours: what inputs must not contain"
    )
    personal_data: PersonalDataSettings = PersonalDataSettings()
