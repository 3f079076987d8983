"""`outlast anomalies`: what was found not to be as usual, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Final, get_args
from uuid import UUID

import typer

from outlast.cli import printing
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.domain.anomaly import AnomalyQuery
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from outlast.domain.anomaly import Anomaly
    from outlast.storage.postgres.anomalies import ObservedRun

app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="See which agents are not as usual although nothing failed."
)
Tenant = Annotated[str, typer.Option(help="Whose agents.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_UNITS: Final = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_MOST_DIGITS: Final = 4
_COLUMNS: Final = ("id", "severity", "agent", "model", "kind", "found", "ended", "runs", "text")
_RUN_COLUMNS: Final = ("run", "ended", "status", "length", "confidence", "tokens", "cost_usd", "seconds", "tools")


@app.command("list")
def list_anomalies(
    *,
    agent: Annotated[str | None, typer.Option(help="Only of this agent.")] = None,
    kind: Annotated[str | None, typer.Option(help="Only of this kind, as length, cost or repeated.")] = None,
    every: Annotated[bool, typer.Option("--all", help="Those that are over, too.")] = False,
    since: Annotated[str | None, typer.Option(metavar="WHEN", help="Found since: 2h, 7d, 4w; implies --all.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 20,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """List what is not as usual, newest first.

    One line for each fault, however many runs show it. It is over when the last ten runs were as usual (normal), when
    it went on for so long that it is what is usual (usual), or when the agent runs no more (silent).

    What is learned, and how much evidence it takes, are settings: [anomalies] of outlast.toml.

    \b
    Examples:
      outlast anomalies list
      outlast anomalies list --agent support --since 7d
      outlast anomalies list --all --json
    """
    from outlast.cli.direct import look
    from outlast.settings_anomalies import AnomalyKind
    from outlast.storage.postgres.anomalies import AnomalyStore
    from outlast.storage.postgres.listing import Page

    kinds = get_args(AnomalyKind)
    if kind is not None and kind not in kinds:
        raise InvalidInput(f"there is no kind {kind!r}; there are {', '.join(kinds)}")
    query = AnomalyQuery(agent=agent, kind=kind, open=not every and since is None, since=_since(since))
    with acting_for(tenant):
        found, total = look(lambda pool: AnomalyStore(pool).find(query, page=Page(limit)))
    if as_json:
        printing.json(found)
        return
    nothing = "everything is as usual" if query.open else "nothing was found"
    printing.rows(_COLUMNS, [_cells(each) for each in found], nothing=nothing, whole=("id",))
    if total > len(found):
        typer.echo(f"{total - len(found)} more; see --limit", err=True)


@app.command()
def show(
    anomaly: Annotated[str, typer.Argument(metavar="ID", help="As `outlast anomalies list` shows it.")],
    *,
    runs: Annotated[int, typer.Option(min=0, max=1000, help="So many runs of its time.")] = 20,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Show a finding, and what runs of its time were like.

    Those of the agent with the model from an hour before it was found, newest first.

    \b
    Examples:
      outlast anomalies show 6f9619ff-8b86-4d01-b42d-00cf4fc964ff
      outlast anomalies show 6f9619ff-8b86-4d01-b42d-00cf4fc964ff --runs 100

    Next: `outlast runs show RUN`, or `outlast logs THREAD`, for the whole story of one of them.
    """
    from outlast.cli.direct import look
    from outlast.storage.postgres.anomalies import AnomalyStore
    from outlast.storage.postgres.pool import Pool

    try:
        key = UUID(anomaly)
    except ValueError as error:
        raise InvalidInput(f"{anomaly!r} is no id of a finding; `outlast anomalies list` shows them") from error

    async def both(pool: Pool) -> "tuple[Anomaly, list[ObservedRun]]":
        store = AnomalyStore(pool)
        found = await store.get(key)
        return found, await store.runs_of(found, limit=runs) if runs else []

    with acting_for(tenant):
        found, around = look(both)
    if as_json:
        printing.json({"anomaly": found, "runs": around})
        return
    printing.facts((
        ("anomaly", found.id), ("severity", found.severity), ("agent", found.agent), ("model", found.model),
        ("kind", found.kind), ("found", printing.moment(found.found_at)),
        ("ended", f"{printing.moment(found.ended_at)} {found.ended_as}" if found.ended_at else "open"),
        ("run", found.run_id), ("runs", found.seen_runs), ("text", found.text),
    ))  # fmt: skip
    if around:
        sys.stdout.write("\n")
        printing.rows(_RUN_COLUMNS, [_run_cells(each) for each in around], nothing="", whole=("run",))


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    amount, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not amount.isdigit() or len(amount) > _MOST_DIGITS:
        raise InvalidInput(f"{text!r} is no time; write 30m, 2h, 7d or 4w")
    return datetime.now(UTC) - timedelta(**{unit: int(amount)})


def _cells(each: "Anomaly") -> list[str]:
    ended = f"{printing.moment(each.ended_at)} {each.ended_as}" if each.ended_at else ""
    return [
        str(each.id), each.severity, each.agent, each.model, each.kind, printing.moment(each.found_at), ended,
        str(each.seen_runs), each.text,
    ]  # fmt: skip


def _run_cells(run: "ObservedRun") -> list[str]:
    length = "" if run.output_length is None else str(run.output_length)
    sure = "" if run.confidence is None else f"{run.confidence:.2f}"
    status = run.status if run.error is None else f"{run.status} {run.error}"
    return [
        str(run.run_id), printing.moment(run.ended_at), status, length, sure, str(run.tokens), f"{run.cost_usd:.4f}",
        f"{run.seconds:.2f}", str(run.tool_calls),
    ]  # fmt: skip
