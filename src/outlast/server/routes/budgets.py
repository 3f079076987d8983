"""Budgets of the caller's tenant: look, set, raise, remove."""

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Any, Self
from uuid import UUID

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field

from outlast.admission.budget_desk import Shown
from outlast.domain.budget import Cost, OnLimit, Per, Span, Standing, micros_of, usd
from outlast.errors import InvalidInput
from outlast.server.bodies import Json, JsonRoute
from outlast.server.current import CurrentRuntime
from outlast.server.problems import DOCUMENTED

router = APIRouter(prefix="/budgets", tags=["budgets"], route_class=JsonRoute, responses=DOCUMENTED)

# PostgreSQL's text holds no NUL.
Text = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\x00]*$")]
Usd = Annotated[Decimal | None, Field(ge=0, le=10**12, decimal_places=6, description="US dollars, as 12.5 or '12.5'")]
Tokens = Annotated[int | None, Field(ge=0, le=10**15, description="input and output")]


class BudgetChanges(BaseModel):
    """A budget; what is left out stays as it was, or as outlast.toml says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: Usd = None
    tokens: Tokens = None
    per: Annotated[Per | None, Field(description="who has a counter each; `tenant` if nothing was said")] = None
    period: Annotated[Span | None, Field(description="after which it begins anew; `total` if nothing was said")] = None
    on_limit: Annotated[OnLimit | None, Field(description="`ask`: the run waits until a person decides")] = None
    soft_percent: Annotated[int | None, Field(ge=1, le=100, description="of the limit, at which it is told")] = None
    agent: Annotated[Text | None, Field(description="only what this agent's runs spend")] = None
    user: Annotated[Text | None, Field(description="only what this user's runs spend")] = None

    def changes(self) -> dict[str, Any]:
        """Return them for the desk."""
        given: dict[str, Any] = {
            "limit_micros": None if self.usd is None else micros_of(str(self.usd)), "limit_tokens": self.tokens,
            "per": self.per, "span": self.period, "on_limit": self.on_limit, "soft_percent": self.soft_percent,
            "agent": self.agent, "user": self.user,
        }  # fmt: skip
        return {name: value for name, value in given.items() if value is not None}


class RaiseBody(BaseModel):
    """By how much, and for whom: a user, an agent, the id of a thread or a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    usd: Usd = None
    tokens: Tokens = None
    subject: Annotated[Text | None, Field(description="left out where the budget is the tenant's")] = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CounterBody:
    """Where a budget stands for one subject, in the present period."""

    subject: str
    period: date
    usd: str | None
    tokens: int | None
    spent_usd: str
    spent_tokens: int
    reserved_usd: str
    reserved_tokens: int
    resets_at: datetime | None

    @classmethod
    def of(cls, standing: Standing) -> Self:
        """Render it."""
        return cls(
            subject=standing.subject, period=standing.period, usd=_usd(standing.limit_micros),
            tokens=standing.limit_tokens, spent_usd=usd(standing.spent_micros), spent_tokens=standing.spent_tokens,
            reserved_usd=usd(standing.reserved_micros), reserved_tokens=standing.reserved_tokens,
            resets_at=standing.resets_at,
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetBody:
    """A budget. `set`: it was set here, and not (only) in outlast.toml. What is raised is in the counters' limits."""

    name: str
    per: Per
    period: Span
    usd: str | None
    tokens: int | None
    soft_percent: int
    on_limit: OnLimit
    agent: str | None
    user: str | None
    set: bool
    counters: list[CounterBody]

    @classmethod
    def of(cls, shown: Shown) -> Self:
        """Render it."""
        budget = shown.budget
        return cls(
            name=budget.name, per=budget.per, period=budget.span, usd=_usd(budget.limit_micros),
            tokens=budget.limit_tokens, soft_percent=budget.soft_percent, on_limit=budget.on_limit, agent=budget.agent,
            user=budget.user, set=shown.was_set, counters=[CounterBody.of(each) for each in shown.standings],
        )  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedBudget:
    """A budget after a change, and the runs that waited for it and go on now."""

    budget: BudgetBody
    gone_on: list[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class RemovedBudget:
    """The runs that waited for the budget and go on now."""

    gone_on: list[UUID]


@router.get("", response_model=list[BudgetBody])
async def budgets(runtime: CurrentRuntime, subjects: Annotated[int, Query(ge=1, le=1000)] = 10) -> Json:
    """List budgets by name, each with at most so many counters; those who have spent most come first."""
    found = await runtime.budget_desk().overview(subjects=subjects)
    return Json([BudgetBody.of(shown) for shown in found])


@router.get("/{name}", response_model=BudgetBody)
async def budget(
    name: str,
    runtime: CurrentRuntime,
    subject: Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")] = None,
) -> Json:
    """Return one budget, with the counter of one subject or of those who have spent most."""
    return Json(BudgetBody.of(await runtime.budget_desk().show(name, subject=subject)))


@router.put("/{name}", response_model=ChangedBudget)
async def set_budget(name: str, body: BudgetChanges, runtime: CurrentRuntime) -> Json:
    """Set a budget for the caller's tenant. It counts from the next call on; runs that wait for it go on."""
    shown, gone_on = await runtime.budget_desk().set(name, body.changes())
    return Json(ChangedBudget(budget=BudgetBody.of(shown), gone_on=gone_on))


@router.delete("/{name}", response_model=RemovedBudget)
async def remove(name: str, runtime: CurrentRuntime) -> Json:
    """Remove a budget that was set; one of outlast.toml is then as it stands there."""
    return Json(RemovedBudget(gone_on=await runtime.budget_desk().remove(name)))


@router.post("/{name}/raise", response_model=ChangedBudget)
async def raise_budget(name: str, body: RaiseBody, runtime: CurrentRuntime) -> Json:
    """Raise a budget for its present period, by an amount; runs that wait for it go on."""
    if body.usd is None and body.tokens is None:
        raise InvalidInput("say by how much: usd, tokens, or both", field="usd")
    by = Cost(0 if body.usd is None else micros_of(str(body.usd)), body.tokens or 0)
    shown, gone_on = await runtime.budget_desk().raise_limit(name, by, subject=body.subject)
    return Json(ChangedBudget(budget=BudgetBody.of(shown), gone_on=gone_on))


def _usd(micros: int | None) -> str | None:
    return None if micros is None else usd(micros)
