"""The tables `[admission]` and `[limits]`: what is kept of decisions, how much may be asked for, how much may wait."""

from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from outlast.setting_branch import Branch


class AdmissionSettings(Branch):
    """What is kept of decisions about requests."""

    record: Literal["all", "refusals", "nothing"] = Field(
        default="all", description="which decisions are kept with their reason: `all`, `refusals` or `nothing`"
    )


class LimitRule(Branch):
    """One limit: its text, and what happens to requests beyond it."""

    rule: str = Field(description="as in `100/minute per user`, `20/minute per api_key on support burst 5`")
    on_limit: Literal["refuse", "queue"] = Field(
        default="refuse", description="`queue`: the run is stored and starts when its turn comes"
    )

    @model_validator(mode="before")
    @classmethod
    def _of_text(cls, given: Any) -> Any:
        return {"rule": given} if isinstance(given, str) else given


class TenantLimitSettings(Branch):
    """What is different for one tenant; what is not given is as in `limits`."""

    rules: tuple[LimitRule, ...] | None = Field(default=None, description="instead of `limits.rules`; `[]` for none")
    running: Annotated[int | None, Field(ge=1, description="runs that run at the same time")] = None
    queued: Annotated[int | None, Field(ge=1, description="runs that are queued or blocked")] = None


class LimitSettings(Branch):
    """How much may be asked for, how long the queue may be, and how many runs of one tenant run at the same time."""

    rules: tuple[LimitRule, ...] = Field(
        default=(), description='as in `["100/minute per user", {rule = "1000/hour per tenant", on_limit = "queue"}]`'
    )
    longest_delay: timedelta = Field(
        default=timedelta(hours=1), description='with `on_limit = "queue"`: who would start later is refused'
    )
    queued: Annotated[int | None, Field(ge=1, description="runs of all tenants in the queue, before 503")] = 100_000
    queued_per_tenant: Annotated[int | None, Field(ge=1, description="runs of one tenant in it, before 429")] = None
    queue_age: timedelta | None = Field(default=None, description="the oldest run of all waits this long: 503")
    queue_age_per_tenant: timedelta | None = Field(default=None, description="the tenant's oldest one does: 429")
    queue_look: timedelta = Field(
        default=timedelta(seconds=1), gt=timedelta(0), description="the queue is measured this often, in each process"
    )
    running_per_tenant: Annotated[int | None, Field(ge=1, description="runs of one tenant at the same time")] = None
    tenants: dict[str, TenantLimitSettings] = Field(
        default_factory=dict[str, TenantLimitSettings], description="by name of the tenant: what differs for it"
    )
