"""`outlast policy`: look at the policies of the project, and try them; no server and no database have to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from outlast.cli import printing

if TYPE_CHECKING:
    from outlast.policies.engine import PolicyEngine
    from outlast.policies.examples import Tried

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at policies, and try them with example requests."
)
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_COLUMNS: Final = ("request", "verdict", "by", "reason", "result")


@app.command("list")
def list_policies(*, as_json: AsJson = False) -> None:
    """List the policies in the order in which they are asked.

    The first refusal counts. What is said in [policies] of outlast.toml and says nothing is left out.

    \b
    Examples:
      outlast policy list
    """
    rows = [
        {"name": policy.called, "about": sorted(policy.about), "class": _place(type(policy))}
        for policy in _engine().policies
    ]
    if as_json:
        printing.json(rows)
        return
    for row in rows:
        typer.echo(f"{row['name']}\t{', '.join(row['about'])}\t{row['class']}")
    if not rows:
        typer.echo("no policies; see [policies] in the settings, and docs/policies.md", err=True)


@app.command("test")
def try_policies(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Requests with what is expected: TOML, or JSON.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Ask the policies about example requests, and compare.

    Prints a line for each request. Exits with 1 when one of them is not as expected. Nothing is stored, and no model,
    tool or person is asked.

    \b
    The file has one table for each request:
      [[request]]
      agent = "support"
      input = {task = "write to ann@example.com"}
      at = 2026-11-21T12:00:00Z       # left out: now
      expect = "refuse"               # allow, refuse, ask, later, change
      by = "personal_data"            # which policy; may be left out
    With `model = "openai:gpt-4o"` or `tool = "send_mail"` it is about a model, or a tool with `arguments`; `tenant` and
    `user` say who asks; `says` is a part of the reason, `becomes` the input after a change.

    \b
    Examples:
      outlast policy test policies.toml
      outlast policy test policies.json --json
    """
    from datetime import UTC, datetime

    from outlast.policies import examples

    requests, engine = examples.read(file), _engine()

    async def ask() -> "list[Tried]":
        try:
            return await examples.tried(engine, requests, now=datetime.now(UTC))
        finally:
            await engine.aclose()

    results = asyncio.run(ask())
    if as_json:
        printing.json([dict(zip(_COLUMNS, _cells(result), strict=True)) for result in results])
    else:
        _table(results)
    if wrong := sum(result.problem is not None for result in results):
        typer.echo(f"{wrong} of {len(results)} requests are not as expected", err=True)
        raise typer.Exit(1)


def _engine() -> "PolicyEngine":
    from outlast.agents.own_policies import engine_of
    from outlast.cli import session

    project, settings = session.read({})
    return engine_of(settings.policies, project)


def _place(of: type) -> str:
    return f"{of.__module__}:{of.__qualname__}"


def _cells(result: "Tried") -> tuple[str, ...]:
    outcome = "ok" if result.problem is None else result.problem
    return (result.about, result.verdict, result.by or "", result.told, outcome)


def _table(results: "list[Tried]") -> None:
    lines = [_cells(result) for result in results]

    def colour(place: int, column: str) -> str | None:
        return None if column != _COLUMNS[-1] else "green" if lines[place][-1] == "ok" else "red"

    printing.rows(_COLUMNS, lines, nothing="no requests", whole=("verdict",), colour=colour)
