"""`outlast switch`: stop agents, tools and tenants, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from outlast.cli import printing

if TYPE_CHECKING:
    from outlast.admission.switch_desk import Held, SwitchDesk

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Stop agents, tools and tenants, and let them go on."
)


class Kind(StrEnum):
    """What is switched."""

    TENANT = "tenant"
    AGENT = "agent"
    TOOL = "tool"


What = Annotated[Kind, typer.Argument(metavar="KIND", help="agent, tool or tenant.")]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Of the agent, the tool or the tenant.")]
Tenant = Annotated[str, typer.Option(help="Whose agent or tool.")]
Everybody = Annotated[bool, typer.Option("--all-tenants", help="Of all tenants.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_COLUMNS: Final = ("kind", "name", "tenant", "since", "by", "runs", "reason")


@app.command("off")
def off(
    kind: What,
    name: Name,
    *,
    reason: Annotated[str, typer.Option(help="Why; whoever finds it off wants to know.")],
    tenant: Tenant = "default",
    all_tenants: Everybody = False,
) -> None:
    """Stop an agent, a tool or a tenant.

    Within a second or so no run of it is begun, no model is asked and no tool called; runs under way stop at their next
    step boundary. They wait in the queue and go on when it is on again: nothing is lost. New runs are still taken in.
    A run that is about to use the tool waits, others go on.

    \b
    Examples:
      outlast switch off agent support --reason "answers in Latin"
      outlast switch off tool send_mail --tenant acme --reason "bounces"
      outlast switch off tenant acme --reason "key was leaked"
      outlast switch off tenant '*' --reason "stop everything"
    """
    whose, named = _meant(kind, name, tenant, all_tenants=all_tenants)
    switch = _call(lambda desk: desk.turn_off(kind.value, named, reason=reason, tenant=whose))
    typer.echo(f"{switch.what} is off")


@app.command("on")
def on(kind: What, name: Name, *, tenant: Tenant = "default", all_tenants: Everybody = False) -> None:
    """Let it go on; runs that were held back are due at once.

    \b
    Examples:
      outlast switch on agent support
      outlast switch on tenant acme
    """
    whose, named = _meant(kind, name, tenant, all_tenants=all_tenants)
    switch = _call(lambda desk: desk.turn_on(kind.value, named, tenant=whose))
    typer.echo(f"{switch.what} is on")


@app.command("list")
def list_switches(*, as_json: AsJson = False) -> None:
    """List what is off, of all tenants.

    `runs` is how many queued runs each switch holds back.

    \b
    Examples:
      outlast switch list
      outlast switch list --json
    """
    found = _call(lambda desk: desk.overview(tenant="*"))
    if as_json:
        printing.json([dict(zip(_COLUMNS, _values(held), strict=True)) for held in found])
    else:
        _table(found)


def _meant(kind: Kind, name: str, tenant: str, *, all_tenants: bool) -> tuple[str, str]:
    """Return whose it is and what it is called; a tenant's switch is the tenant's whole, and has no name."""
    if kind is Kind.TENANT:
        return name, ""
    return ("*" if all_tenants else tenant), name


def _values(held: "Held") -> tuple[Any, ...]:
    switch = held.switch
    since = switch.off_at.isoformat(timespec="seconds")
    return (switch.kind, switch.name or None, switch.tenant, since, switch.off_by, held.runs, switch.reason)


def _table(found: "list[Held]") -> None:
    lines = [["" if value is None else str(value) for value in _values(held)] for held in found]
    printing.rows(_COLUMNS, lines, nothing="everything is on", figures=("runs",))


def _call(action: "Callable[[SwitchDesk], Awaitable[T]]") -> T:
    from outlast.admission.switch_desk import SwitchDesk
    from outlast.cli.direct import call_with_pool
    from outlast.storage.postgres.audit import AuditLog
    from outlast.storage.postgres.switches import SwitchStore

    return call_with_pool(
        lambda queue, pool, settings: action(
            SwitchDesk(
                SwitchStore(pool),
                queue,
                AuditLog(pool, settings.audit.key.reveal().encode(), nobody="command line"),
            )
        )
    )
