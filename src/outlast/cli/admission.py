"""`outlast admission`: which requests were let in, delayed or refused, and why, straight from the database."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from outlast.cli import printing
from outlast.domain.acting import DEFAULT_TENANT, acting_for

if TYPE_CHECKING:
    from outlast.storage.postgres.admission import Recorded

_COLUMNS: Final = ("at", "verdict", "stage", "agent", "user", "api_key", "times", "reason", "id")


class Verdict(StrEnum):
    """What was decided."""

    ALLOW = "allow"
    REFUSE = "refuse"
    LATER = "later"
    ASK = "ask"


def show_admission(
    *,
    verdict: Annotated[Verdict | None, typer.Option(help="Only these decisions.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also what nothing objected to.")] = False,
    agent: Annotated[str | None, typer.Option(help="Only runs of this agent.")] = None,
    user: Annotated[str | None, typer.Option(help="Only requests of this user.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose requests.")] = DEFAULT_TENANT,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 50,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Show which runs were refused or delayed, and why.

    Newest first. `stage` says who decided: limits, policies, budgets or queue. Equal refusals within a second are one
    line; `times` counts them. A table on a terminal; through a pipe, lines of tab-separated columns. What was decided
    about one run is told by `outlast runs show`.

    \b
    Examples:
      outlast admission
      outlast admission --verdict refuse --user ann
      outlast admission --all --agent support --json
    """
    objections = not everything and verdict is None
    found = _find(
        tenant,
        verdict=None if verdict is None else verdict.value, agent=agent, user=user, objections=objections, limit=limit,
    )  # fmt: skip
    rows = [_row(item) for item in found]
    if as_json:
        printing.json(rows)
    else:
        _table(rows)


def _find(tenant: str, **query: Any) -> "list[Recorded]":
    from outlast.cli.direct import look  # noqa: PLC0415 - `outlast --help` needs no driver
    from outlast.storage.postgres.admission import AdmissionStore  # noqa: PLC0415 - as above

    with acting_for(tenant):
        return look(lambda pool: AdmissionStore(pool).find(**query))


def _row(item: "Recorded") -> dict[str, Any]:
    decision = item.decision
    return {
        "id": item.id, "at": item.at, "verdict": decision.verdict, "stage": decision.stage, "code": decision.code,
        "reason": decision.reason, "delay_seconds": decision.delay_seconds, "agent": item.agent, "user": item.user,
        "api_key": item.key_id, "thread_id": item.thread_id, "times": item.times,
    }  # fmt: skip


def _table(rows: Sequence[dict[str, Any]]) -> None:
    cells = [[_cell(row[name]) for name in _COLUMNS] for row in rows]
    printing.rows(_COLUMNS, cells, nothing="nothing was refused or delayed", whole=("at", "verdict"))


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value.astimezone().strftime("%Y-%m-%d %H:%M:%S") if isinstance(value, datetime) else str(value)
    return text.replace("\t", " ").replace("\n", " ")
