"""`outlast validate`: look at an output as a run would; no server and no database have to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outlast.cli import printing

if TYPE_CHECKING:
    from outlast.agents.project import Project
    from outlast.settings_validation import ValidationSettings
    from outlast.validation.cases import Case
    from outlast.validation.engine import Validation
    from outlast.validation.validator import Verdict

_COLUMNS: Final = ("output", "severity", "by", "code", "field", "reason", "then")


@dataclass(frozen=True, slots=True)
class _Looked:
    """What was said of one output."""

    name: str
    agent: str
    verdict: "Verdict"
    then: str
    asked: tuple[str, ...]


def validate(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="An output, as JSON.")],
    *,
    agent: Annotated[str | None, typer.Option("--agent", help="Whose it is.  [default: the only agent]")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Ask an agent's validators about an output in a file.

    Prints a line for each reason, with what would happen in a run. Exits with 1 when an output is not acceptable.
    Nothing is stored; a validator that asks a model asks it, and that costs.

    \b
    The file holds an output, or a table (or a list of them) with what is known besides:
      {"output": {"price": 250000}, "input": {"contract": "..."}, "agent": "contracts",
       "sources": {"contract": "..."}, "now": "2026-11-21T12:00:00Z", "name": "a price out of the air"}
    With "node" or "tool" it is looked at as what a node returns, or as the arguments of a tool.

    \b
    Examples:
      outlast validate output.json
      outlast validate outputs.json --agent contracts --json
    """
    from outlast.cli import session
    from outlast.validation import cases

    given = cases.read(file)
    project, settings = session.read({})
    looked = asyncio.run(_looked(project, settings.validation, given, agent))
    if as_json:
        printing.json([_as_json(one) for one in looked])
    else:
        _table([line for one in looked for line in _lines(one)])
    for one in looked:
        if not one.asked:
            typer.echo(f"{one.name}: nothing looks at it; see [validation] in the settings", err=True)
    if any(one.then for one in looked):
        raise typer.Exit(1)


async def _looked(
    project: "Project", settings: "ValidationSettings", given: "Sequence[Case]", agent: str | None
) -> "list[_Looked]":
    from outlast.agents.own_validators import validating
    from outlast.agents.registry import Registry

    registry = Registry(project)
    try:
        async with validating(settings, project) as validation:
            return [
                await _one(registry, validation, case, case.agent or agent or _only(project), number)
                for number, case in enumerate(given, start=1)
            ]
    finally:
        await registry.aclose()


async def _one(registry: Any, validation: "Validation", case: "Case", agent: str, number: int) -> _Looked:
    from datetime import UTC, datetime

    from outlast.validation.validator import Invalid

    async with registry.opened(agent) as opened:
        of = validation.of(agent, opened.graph)
    verdict = await of.check(case.output, case.context(of, datetime.now(UTC)))
    then = of.rules.action(verdict, repaired=case.attempt - 1) if isinstance(verdict, Invalid) else ""
    asked = tuple(one.called for one in of.validators(node=case.node, tool=case.tool))
    return _Looked(case.name or f"output {number}", agent, verdict, then, asked)


def _only(project: "Project") -> str:
    names = list(project.agents)
    if len(names) != 1:
        raise typer.BadParameter(f"say whose output it is: {', '.join(names)}", param_hint="--agent")
    return names[0]


def _as_json(looked: _Looked) -> dict[str, Any]:
    from outlast.validation.validator import Invalid

    found = looked.verdict if isinstance(looked.verdict, Invalid) else None
    return {
        "output": looked.name,
        "agent": looked.agent,
        "valid": found is None,
        "severity": found.severity if found else None,
        "reasons": [reason.as_json() for reason in found.reasons] if found else [],
        "fields": list(found.fields) if found else [],
        "then": looked.then or None,
        "validators": list(looked.asked),
    }


def _lines(looked: _Looked) -> list[tuple[str, ...]]:
    from outlast.validation.validator import Invalid

    if not isinstance(looked.verdict, Invalid):
        return [(looked.name, "valid", "", "", "", "", "")]
    return [
        (
            looked.name,
            looked.verdict.severity,
            reason.by or "",
            reason.code,
            reason.field or "",
            reason.text,
            looked.then,
        )
        for reason in looked.verdict.reasons
    ]


def _table(lines: "list[tuple[str, ...]]") -> None:
    def colour(place: int, column: str) -> str | None:
        if column != _COLUMNS[1]:
            return None
        return {"valid": "green", "low": "yellow", "high": "red"}.get(lines[place][1], "dark_orange")

    printing.rows(_COLUMNS, lines, nothing="no validators", colour=colour)
