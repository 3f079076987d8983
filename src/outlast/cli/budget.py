"""`outlast budget`: look at budgets and change them, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from uuid import UUID

    from outlast.admission.budget_desk import BudgetDesk

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at what runs may spend, and set and raise budgets."
)
Name = Annotated[str, typer.Argument(metavar="NAME", help="The budget, as `budget list` shows it.")]
Tenant = Annotated[str, typer.Option(help="Whose budgets.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Usd = Annotated[str | None, typer.Option(metavar="AMOUNT", help="US dollars, as 12.50.")]
Tokens = Annotated[int | None, typer.Option(min=0, help="Tokens, in and out.")]
Subject = Annotated[str | None, typer.Option(help="Whose counter: a user, an agent, the id of a run or a thread.")]


class Per(StrEnum):
    """Who has a counter each."""

    RUN = "run"
    THREAD = "thread"
    USER = "user"
    AGENT = "agent"
    TENANT = "tenant"


class Period(StrEnum):
    """After which a budget begins anew."""

    DAY = "day"
    MONTH = "month"
    TOTAL = "total"


class OnLimit(StrEnum):
    """What happens at the limit."""

    REFUSE = "refuse"
    ASK = "ask"


@app.command("list")
def list_budgets(
    *,
    subjects: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many lines for each budget.")] = 10,
    tenant: Tenant = "default",
    as_json: AsJson = False,
) -> None:
    """List budgets, and where they stand in their present period.

    A table on a terminal; through a pipe, lines of tab-separated columns. Those who have spent most come first.
    `reserved` is what calls under way may take; it comes back, or becomes spent, when they end.

    \b
    Examples:
      outlast budget list
      outlast budget list --tenant acme --json
    """
    from outlast.cli import show_budgets

    found = _call(tenant, lambda desk: desk.overview(subjects=subjects))
    if as_json:
        show_budgets.json([show_budgets.as_json(shown) for shown in found])
    else:
        show_budgets.table(found)


@app.command()
def show(name: Name, *, subject: Subject = None, tenant: Tenant = "default", as_json: AsJson = False) -> None:
    """Show one budget and who has used it.

    \b
    Examples:
      outlast budget show daily
      outlast budget show daily --subject ann
    """
    from outlast.cli import show_budgets

    found = _call(tenant, lambda desk: desk.show(name, subject=subject))
    if as_json:
        show_budgets.json(show_budgets.as_json(found))
    else:
        show_budgets.table([found])


@app.command("set")
def set_budget(
    name: Name,
    *,
    usd: Usd = None,
    tokens: Tokens = None,
    per: Annotated[Per | None, typer.Option(help="Who has a counter each.  [default: tenant]")] = None,
    period: Annotated[Period | None, typer.Option(help="After which it begins anew.  [default: total]")] = None,
    on_limit: Annotated[
        OnLimit | None, typer.Option(help="Refuse, or ask a person and let the run wait.  [default: refuse]")
    ] = None,
    soft: Annotated[
        int | None, typer.Option(min=1, max=100, help="Percent at which an event tells of it.  [default: 80]")
    ] = None,
    agent: Annotated[str | None, typer.Option(help="Only what this agent's runs spend.")] = None,
    user: Annotated[str | None, typer.Option(help="Only what this user's runs spend.")] = None,
    tenant: Tenant = "default",
) -> None:
    """Set a new budget, or other limits of one.

    What is not given stays as it was. It counts from the next call on, in every process; runs that wait for the budget
    go on if there is room now. A budget of outlast.toml with the same name is replaced for this tenant.

    \b
    Examples:
      outlast budget set team --usd 500 --period month
      outlast budget set daily --per user --period day --usd 5 --on-limit ask
      outlast budget set long-threads --per thread --tokens 2000000 --agent support
    """
    given = {
        "limit_micros": None if usd is None else _micros(usd), "limit_tokens": tokens, "per": per and per.value,
        "span": period and period.value, "on_limit": on_limit and on_limit.value, "soft_percent": soft, "agent": agent,
        "user": user,
    }  # fmt: skip
    changes = {field: value for field, value in given.items() if value is not None}
    _, gone_on = _call(tenant, lambda desk: desk.set(name, changes))
    typer.echo(f"budget {name} is set{_told(gone_on)}")


@app.command("raise")
def raise_budget(
    name: Name, *, usd: Usd = None, tokens: Tokens = None, subject: Subject = None, tenant: Tenant = "default"
) -> None:
    """Raise a budget for its present period; runs go on.

    When the next day or month begins, the limit is as before; `budget set` changes it for good. A budget that is kept
    per user, agent, thread or run is raised for one of them.

    \b
    Examples:
      outlast budget raise team --usd 50
      outlast budget raise daily --subject ann --usd 2.50
    """
    from outlast.domain.budget import Cost

    by = Cost(0 if usd is None else _micros(usd), tokens or 0)
    _, gone_on = _call(tenant, lambda desk: desk.raise_limit(name, by, subject=subject))
    typer.echo(f"budget {name} is raised{_told(gone_on)}")


@app.command()
def remove(name: Name, *, tenant: Tenant = "default") -> None:
    """Remove a budget that was set.

    \b
    Examples:
      outlast budget remove team
    """
    gone_on = _call(tenant, lambda desk: desk.remove(name))
    typer.echo(f"budget {name} is removed{_told(gone_on)}")


def _told(gone_on: "list[UUID]") -> str:
    return "" if not gone_on else f"; runs that go on: {', '.join(map(str, gone_on))}"


def _micros(text: str) -> int:
    from outlast.domain.budget import micros_of

    try:
        return micros_of(text)
    except ValueError as error:
        msg = f"--usd {text!r} is no amount; one looks like 12.50, with at most six decimals"
        raise InvalidInput(msg, field="usd") from error


def _call(tenant: str, action: "Callable[[BudgetDesk], Awaitable[T]]") -> T:
    from outlast.admission.budget_desk import BudgetDesk
    from outlast.calls.budgets import Budgets
    from outlast.cli.direct import call_with_pool
    from outlast.domain.acting import acting_for
    from outlast.storage.postgres.audit import AuditLog
    from outlast.storage.postgres.budgets import BudgetStore

    async def act(queue: Any, pool: Any, settings: Any) -> T:
        store = BudgetStore(pool, zone=settings.budgets.time_zone)
        audit = AuditLog(pool, settings.audit.key.reveal().encode(), nobody="command line")
        with acting_for(tenant):
            return await action(BudgetDesk(Budgets(settings.budgets, store), queue, audit))

    return call_with_pool(act)
