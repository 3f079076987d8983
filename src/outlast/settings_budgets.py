"""The table `[budgets]`: what may be spent, by whom, and what happens at the limit."""

from datetime import timedelta
from decimal import Decimal
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from outlast.setting_branch import Branch
from outlast.setting_zones import ZoneName

# More is a mistake, and in micros would not fit into what PostgreSQL counts with.
_MOST_USD = Decimal(10**12)
_MOST_TOKENS = 10**15


class BudgetRule(Branch):
    """One budget, under a name of its own."""

    per: Literal["run", "thread", "user", "agent", "tenant"] = Field(
        default="tenant", description="who has a counter each: every run, thread, user, agent, or the tenant as a whole"
    )
    period: Literal["day", "month", "total"] = Field(default="total", description="after which it begins anew")
    usd: Annotated[Decimal | None, Field(ge=0, le=_MOST_USD, description="US dollars; none: not limited")] = None
    tokens: Annotated[int | None, Field(ge=0, le=_MOST_TOKENS, description="input and output; none: not limited")] = (
        None
    )
    soft: Annotated[float, Field(gt=0, le=1, description="share of the limit at which `budget.soft_limit` is told")] = (
        0.8
    )
    on_limit: Literal["refuse", "ask"] = Field(
        default="refuse", description="`ask`: the run waits until a person raises the budget, or says no"
    )
    agent: str | None = Field(default=None, description="only what this agent's runs spend")
    user: str | None = Field(default=None, description="only what this user's runs spend")
    tenant: str | None = Field(default=None, description="only what this tenant's runs spend")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.usd is None and self.tokens is None:
            msg = "a budget limits `usd`, `tokens`, or both"
            raise ValueError(msg)
        return self


class BudgetSettings(Branch):
    """What model calls of runs may spend. What a call may take at most is reserved before it is made."""

    rules: dict[str, BudgetRule] = Field(
        default_factory=dict[str, BudgetRule], description="by name; `outlast budget set` adds others, or other limits"
    )
    on_unpriced: Literal["refuse", "tokens only"] = Field(
        default="refuse", description="a model whose price nobody knows, under a budget in dollars"
    )
    time_zone: ZoneName = Field(default="UTC", description="whose days and months they are, as Europe/Berlin")
    wait: timedelta = Field(
        default=timedelta(seconds=60), description="for calls under way, when only what is reserved for them is missing"
    )
    max_output_tokens: Annotated[int, Field(ge=1, description="of one answer, where the call sets no limit")] = 4096
    least_output_tokens: Annotated[
        int, Field(ge=1, description="near the end of a budget answers are cut to what is left, but not below this")
    ] = 256
    bytes_per_token: Annotated[
        float, Field(ge=1, le=8, description="of the question, when it is estimated; 1 is never too few tokens")
    ] = 1.0
    media_tokens: Annotated[int, Field(ge=0, description="of one image or file in the question, estimated")] = 5000
    refresh: timedelta = Field(
        default=timedelta(seconds=2), ge=timedelta(0), description="look for budgets that were set this often"
    )
