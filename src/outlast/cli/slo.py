"""`outlast slo`: what was promised, how much of it is kept; straight from the database."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

import sys
from typing import TYPE_CHECKING, Annotated, Final

import typer

from outlast.cli import printing

if TYPE_CHECKING:
    from outlast.monitoring.slo.report import Line, Report

_COLUMNS: Final = ("SLO", "AGENT", "PROMISE", "EVENTS", "BAD", "KEPT", "BUDGET LEFT", "BURN 1H", "6H", "3D", "STATE")


def show_slo(
    *,
    agent: Annotated[str | None, typer.Option(help="Only objectives of this agent's own.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show service levels: promised, kept, and what is left.

    Over the last 30 days and all tenants. BUDGET LEFT is the share of the failures that the goal allows which has not
    happened yet; below 0 % more has failed than it allows. BURN says how fast it is used up: at 1 it lasts for 30 days.
    `burning` is too fast: 14.4 times over an hour, 6 times over six hours, or once over three days, and goes
    on. Workers count every 15 seconds (slo.every).

    Goals and limits are settings: [slo] of outlast.toml, and [slo.agents.NAME] for one agent.

    \b
    Examples:
      outlast slo
      outlast slo --agent support
      outlast slo --json
    """
    found = _read()
    lines = [line for line in found.lines if agent is None or line.agent == agent]
    if as_json:
        printing.json({"counted_to": found.counted_to, "objectives": lines})
        return
    printing.rows(_COLUMNS, [_cells(line) for line in lines], nothing="No objectives.", whole=("SLO", "STATE"))
    if found.counted_to is None:
        sys.stderr.write("Nothing was counted by these settings yet: a worker does, `outlast worker`.\n")
    for line in lines:
        if line.text is not None:
            sys.stderr.write(f"{line.severity}: {line.text}\n")


def _read() -> "Report":
    from outlast.cli.direct import change  # noqa: PLC0415 - `outlast --help` needs no driver
    from outlast.monitoring.slo.report import report  # noqa: PLC0415 - as above

    return change(lambda pool, settings: report(pool, settings.slo))


def _cells(line: "Line") -> list[str]:
    burn = line.burn
    return [
        line.slo, line.agent or "", line.promise, str(line.events), str(line.bad), _share(line.kept, digits=2),
        _share(line.budget_left, digits=0), *(_rate(rate) for rate in (burn.hour, burn.hours_6, burn.days_3)),
        "" if line.state == "none" else line.state,
    ]  # fmt: skip


def _share(share: float | None, *, digits: int) -> str:
    return "" if share is None else f"{share * 100:.{digits}f} %"


def _rate(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.1f}"
