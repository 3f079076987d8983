"""`outlast recover`: which threads do not go on, why, and what can be done about it."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

from typing import TYPE_CHECKING, Annotated

import typer

from outlast.cli import printing
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.domain.dead_letter import DeadLetterQuery
from outlast.domain.stuck import HOPELESS

if TYPE_CHECKING:
    from outlast.domain.stuck import Standstill

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Find threads that do not go on, and recover them.")
Agent = Annotated[str | None, typer.Option(help="Only runs of this agent.")]
Tenant = Annotated[str, typer.Option(help="Whose threads.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_COLUMNS = ("thread", "why", "since", "agent", "stands at", "next", "recoverable", "what to do")


@app.command()
def scan(
    *,
    agent: Agent = None,
    tenant: Tenant = DEFAULT_TENANT,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 100,
    as_json: AsJson = False,
) -> None:
    """List threads that do not go on, oldest first.

    Failed runs, runs whose worker is dead or says nothing, runs that are due and that nobody takes, threads whose state
    cannot be read. What waits for a person is not stuck: see `outlast inbox list`. Dead workers and empty fronts are
    repaired by any live worker within seconds; the rest is told here with what to do. Nothing is changed.

    \b
    Examples:
      outlast recover scan
      outlast recover scan --agent support --json
    """
    from outlast.cli.direct_runtime import call

    with acting_for(tenant):
        found = call(lambda runtime: runtime.recovery_desk().standstills.scan(agent=agent, limit=limit))
    if as_json:
        printing.json([_plain(each) for each in found])
        return
    printing.rows(_COLUMNS, [_cells(each) for each in found], nothing="nothing is stuck", whole=("thread",))


@app.command()
def show(
    thread: Annotated[str, typer.Argument(metavar="THREAD")],
    *,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Say whether a thread is stuck, and why.

    Where it stands, its last nodes, what is to run next, tool calls without a result, and what to do about it.

    \b
    Examples:
      outlast recover show support-7
    """
    from outlast.cli.direct_runtime import call

    with acting_for(tenant):
        found = call(lambda runtime: runtime.recovery_desk().standstills.is_stuck(thread))
    if as_json:
        printing.json(None if found is None else _plain(found))
    elif found is None:
        typer.echo(f"thread {thread} is not stuck")
    else:
        _details(found)


@app.command("run")
def recover(
    *,
    agent: Agent = None,
    error: Annotated[str | None, typer.Option(metavar="CODE", help="Only with this error.")] = None,
    rate: Annotated[float, typer.Option(min=0.001, max=1000, help="Runs per second.")] = 10.0,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most this many.")] = 100,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Replay failed runs that can be recovered.

    Oldest first; not those whose error comes again until somebody has repaired something (`recover scan` says what).
    Each goes on from its last checkpoint. To have this done without a person, name errors in `recovery.replay` of
    outlast.toml.

    \b
    Examples:
      outlast recover run --dry-run
      outlast recover run --error provider_unavailable --limit 1000 --rate 5
    """
    from outlast.cli.direct_runtime import call

    query = DeadLetterQuery(agent=agent, code=error, without=tuple(HOPELESS))
    with acting_for(tenant):
        if dry_run:
            found, total = call(lambda runtime: runtime.recovery_desk().dead_letters.find(query, limit=limit))
            cells = [(str(letter.run_id), letter.agent, letter.code, letter.thread_id) for letter in found]
            printing.rows(("run", "agent", "error", "thread"), cells, nothing="nothing to recover", whole=("run",))
            typer.echo(f"{total} runs can be recovered", err=True)
            return
        done = call(
            lambda runtime: runtime.recovery_desk().dead_letters.replay_all(query, rate=rate, limit=limit)
        )  # fmt: skip
    more = f"; {done.remaining} more match" if done.remaining else ""
    typer.echo(f"{len(done.run_ids)} runs are replayed{more}")


def _details(found: "Standstill") -> None:
    place = found.place
    printing.facts([
        ("thread", found.thread_id), ("why", found.why), ("since", printing.moment(found.since)),
        ("run", found.run_id), ("agent", found.agent), ("error", found.error_code), ("detail", found.detail),
        ("stands at", "" if place is None else f"{place.checkpoint_id} (step {place.step})"),
        ("last nodes", "" if place is None else ", ".join(place.last)),
        ("next nodes", "" if place is None else ", ".join(place.next)),
        ("recoverable", "yes" if found.recoverable else "no"), ("what to do", found.advice),
    ])  # fmt: skip
    for call in () if place is None else place.pending_calls:
        printing.block(f"tool call without a result: {call.name}", call.arguments)


def _cells(found: "Standstill") -> list[str]:
    place = found.place
    return [
        found.thread_id, found.why if found.error_code is None else f"{found.why}: {found.error_code}",
        printing.moment(found.since), found.agent or "", "" if place is None else ", ".join(place.last),
        "" if place is None else ", ".join(place.next), "yes" if found.recoverable else "no", found.advice,
    ]  # fmt: skip


def _plain(found: "Standstill") -> dict[str, object]:
    from dataclasses import asdict

    return {**asdict(found), "recoverable": found.recoverable, "advice": found.advice}
