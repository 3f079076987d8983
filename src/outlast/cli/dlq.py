"""`outlast dlq`: failed runs, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, TypeVar
from uuid import UUID

import typer

from outlast.cli import printing
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.domain.dead_letter import DeadLetterQuery
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from outlast.domain.dead_letter import DeadLetter
    from outlast.recovery.dead_letters import DeadLetters, Opened

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Look at failed runs, and replay, repeat or discard them."
)
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, as `outlast dlq list` shows it.")]
Agent = Annotated[str | None, typer.Option(help="Only runs of this agent.")]
Error = Annotated[str | None, typer.Option(metavar="CODE", help="Only with this error, as `dlq classes` shows it.")]
Thread = Annotated[str | None, typer.Option(help="Only runs of this thread.")]
Since = Annotated[str | None, typer.Option(metavar="WHEN", help="Failed since: 2h, 7d, or a time as 2026-11-21T08:00.")]
Tenant = Annotated[str, typer.Option(help="Whose runs.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_COLUMNS = ("run", "agent", "error", "attempts", "failed", "thread", "message")


@app.command("list")
def list_letters(
    *,
    agent: Agent = None,
    error: Error = None,
    thread: Thread = None,
    since: Since = None,
    discarded: Annotated[bool, typer.Option("--discarded", help="Those that were discarded.")] = False,
    tenant: Tenant = DEFAULT_TENANT,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List failed runs, newest first.

    Those that nobody has replayed or discarded. A table on a terminal; through a pipe, lines of tab-separated columns.

    \b
    Examples:
      outlast dlq list
      outlast dlq list --error provider_unavailable --since 2h
      outlast dlq list --discarded --json
    """
    query = DeadLetterQuery(agent=agent, code=error, thread_id=thread, since=_since(since), discarded=discarded)
    found, total = _call(tenant, lambda letters: letters.find(query, limit=limit))
    if as_json:
        printing.json(found)
        return
    printing.rows(_COLUMNS, [_cells(letter) for letter in found], nothing="no dead letters", whole=("run",))
    if total > len(found):
        typer.echo(f"{total - len(found)} more; see --limit", err=True)


@app.command()
def classes(*, agent: Agent = None, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """Count failed runs by agent and error.

    What a person repairs is a class of runs, and not one of them.

    \b
    Examples:
      outlast dlq classes
      outlast dlq classes --agent support
    """
    found = _call(tenant, lambda letters: letters.classes(DeadLetterQuery(agent=agent), limit=1000))
    if as_json:
        printing.json(found)
        return
    cells = [
        (str(each.count), each.agent, each.code, printing.moment(each.oldest_at), printing.moment(each.newest_at))
        for each in found
    ]
    printing.rows(("runs", "agent", "error", "first", "last"), cells, nothing="no dead letters")


@app.command()
def show(run_id: RunId, *, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """Show everything about a failed run.

    Its input, the error of each attempt, where it would go on, what it has used, and what it has done outside.

    \b
    Examples:
      outlast dlq show 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
    """
    key = _id(run_id)
    opened = _call(tenant, lambda letters: letters.open(key))
    if as_json:
        printing.json(opened)
    else:
        _details(opened)


@app.command()
def replay(
    run_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="One run; or say which with options.")] = None,
    *,
    every: Annotated[bool, typer.Option("--all", help="All of them.")] = False,
    agent: Agent = None,
    error: Error = None,
    thread: Thread = None,
    since: Since = None,
    rate: Annotated[float, typer.Option(min=0.001, max=1000, help="Runs per second.")] = 10.0,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most this many.")] = 1_000_000,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Let failed runs go on.

    Each keeps its id, its progress and the keys of its effects: it goes on from its last checkpoint, and what was
    done is not done again. Repair the cause first. Many become due one after the other, at the given rate; that is
    stored with each of them, so the command need not stay. A run that fails again meanwhile is not replayed again.

    \b
    Examples:
      outlast dlq replay 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
      outlast dlq replay --error provider_unavailable --rate 5
      outlast dlq replay --agent support --since 1d
      outlast dlq replay --all
    """
    if run_id is not None:
        key = _id(run_id)
        status = _call(tenant, lambda letters: letters.replay(key))
        typer.echo(f"run {key} is {status}")
        return
    if not (every or agent or error or thread or since):
        raise typer.BadParameter("give a run, say which with --agent, --error, --thread or --since, or give --all")
    query = DeadLetterQuery(agent=agent, code=error, thread_id=thread, since=_since(since))
    done, remaining = _call(tenant, lambda letters: _replay_all(letters, query, rate, limit))
    more = f"; {remaining} more match" if remaining else ""
    typer.echo(f"{done} runs are replayed, {rate:g} of them per second{more}")


@app.command()
def again(
    run_id: RunId,
    *,
    same_thread: Annotated[
        bool, typer.Option("--same-thread", help="On the old thread, behind what it holds; else on a new one.")
    ] = False,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Run the input of a failed run again, as a new run.

    It begins at the beginning, with an id and effects of its own: what the failed run has done outside may be done a
    second time (`dlq show` tells what that was). To go on where it failed, use `dlq replay`.

    \b
    Examples:
      outlast dlq again 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
    """
    key = _id(run_id)
    view = _call(tenant, lambda letters: letters.again(key, same_thread=same_thread))
    typer.echo(f"run {view.id} is {view.status}, on thread {view.thread_id}")


@app.command()
def discard(
    run_id: RunId,
    *,
    reason: Annotated[str | None, typer.Option(help="Why; kept with the run.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Mark a failed run as not to be replayed.

    It stays as it is, and is listed and counted no more. `dlq replay ID` brings it back.

    \b
    Examples:
      outlast dlq discard 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --reason "the customer has cancelled"
    """
    key = _id(run_id)
    _call(tenant, lambda letters: letters.discard(key, reason=reason))
    typer.echo(f"run {key} is discarded")


async def _replay_all(letters: "DeadLetters", query: DeadLetterQuery, rate: float, limit: int) -> tuple[int, int]:
    if not sys.stderr.isatty():
        done = await letters.replay_all(query, rate=rate, limit=limit)
        return len(done.run_ids), done.remaining
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("replaying"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=min(limit, await letters.count(query)))
        done = await letters.replay_all(query, rate=rate, limit=limit, told=lambda _: progress.advance(bar))
    return len(done.run_ids), done.remaining


def _details(opened: "Opened") -> None:
    from outlast.domain.budget import usd

    letter, at, usage = opened.letter, opened.checkpoint, opened.usage
    where = "at the beginning: nothing was saved"
    if at is not None:
        own = "" if at.of_run else ", where its thread stood before it"
        where = f"from checkpoint {at.checkpoint_id} (step {at.step}){own}"
    effects = ", ".join(f"{count} {state}" for state, count in sorted(opened.effects.items()))
    printing.facts([
        ("run", letter.run_id), ("agent", letter.agent), ("thread", letter.thread_id), ("user", letter.user),
        ("error", f"{letter.code}: {letter.message}" if letter.message else letter.code),
        ("created", printing.moment(letter.created_at)), ("failed", printing.moment(letter.failed_at)),
        ("goes on", where), ("effects", effects),
        ("used", f"{usage.calls} model calls, {usage.tokens} tokens, ${usd(usage.cost_micros)}" if usage.calls else ""),
        ("discarded", _discarded(letter)),
    ])  # fmt: skip
    printing.block("input", opened.input)
    sys.stdout.write("attempts\n")
    for attempt in opened.attempts:
        told = attempt.message or ("its worker died" if attempt.kind == "crash" else attempt.code)
        worker = f" on {attempt.worker}" if attempt.worker else ""
        sys.stdout.write(f"  {printing.moment(attempt.ended_at)}  {attempt.kind}{worker}: {told}\n")
    sys.stdout.write(f"\nWhen the cause is repaired: outlast dlq replay {letter.run_id}\n")


def _discarded(letter: "DeadLetter") -> str:
    if letter.discarded_at is None:
        return ""
    by = f" by {letter.discarded_by}" if letter.discarded_by else ""
    reason = f": {letter.discard_reason}" if letter.discard_reason else ""
    return f"{printing.moment(letter.discarded_at)}{by}{reason}"


def _cells(letter: "DeadLetter") -> list[str]:
    return [
        str(letter.run_id), letter.agent, letter.code, str(letter.attempts), printing.moment(letter.failed_at),
        letter.thread_id, letter.message or "",
    ]  # fmt: skip


def _since(text: str | None) -> datetime | None:
    if text is None:
        return None
    try:
        if text[-1:] in _UNITS and text[:-1]:
            return datetime.now(UTC) - timedelta(**{_UNITS[text[-1]]: float(text[:-1])})
        return datetime.fromisoformat(text).astimezone()
    except (ValueError, OverflowError) as error:
        msg = f"--since {text!r} is no time; write 30m, 2h, 7d, or a time as 2026-11-21T08:00"
        raise InvalidInput(msg, field="since") from error


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        msg = f"{text!r} is no run id; an id looks like 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e, see `outlast dlq list`"
        raise InvalidInput(msg, field="run") from error


def _call(tenant: str, action: "Callable[[DeadLetters], Awaitable[T]]") -> T:
    from outlast.cli.direct import call_with_pool
    from outlast.recovery.dead_letters import DeadLetters
    from outlast.storage.postgres.audit import AuditLog
    from outlast.storage.postgres.dead_letters import DeadLetterStore
    from outlast.storage.postgres.usage import UsageStore

    async def act(queue: Any, pool: Any, settings: Any) -> T:
        audit = AuditLog(pool, settings.audit.key.reveal().encode(), nobody="cli")
        with acting_for(tenant):
            return await action(DeadLetters(queue, DeadLetterStore(pool), UsageStore(pool), audit))

    return call_with_pool(act)
