"""`outlast threads`: the history of threads, and how much of it there is."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

from collections.abc import Awaitable, Callable
from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import orjson
import typer

from outlast.cli import printing
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from outlast.runtime import Runtime

T = TypeVar("T")
app = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Travel in the history of threads, and clean it up."
)
Thread = Annotated[str, typer.Argument(metavar="THREAD", help="The thread's id.")]
Checkpoint = Annotated[str, typer.Argument(metavar="CHECKPOINT", help="As `threads history` shows it.")]
Tenant = Annotated[str, typer.Option(help="Whose threads.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
_SHORT = 60


class Strategy(StrEnum):
    """What is deleted."""

    KEEP_LATEST = "keep_latest"
    DELETE = "delete"


@app.command()
def history(
    thread: Thread,
    *,
    tenant: Tenant = DEFAULT_TENANT,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the checkpoints of a thread, newest first.

    `*` is where it stands.

    \b
    Examples:
      outlast threads history support-7
      outlast threads history support-7 --limit 100 --json
    """
    from outlast.cli import time_travel

    found = _call(tenant, lambda runtime: time_travel.history(runtime, thread, limit=limit))
    if as_json:
        printing.json(found)
        return
    cells = [
        (
            "*" if each.head else "", each.checkpoint_id, "" if each.step is None else str(each.step),
            each.source or "", ", ".join(each.next), each.saved_at or "", each.run_id or "",
        )
        for each in found
    ]  # fmt: skip
    columns = ("", "checkpoint", "step", "made by", "next", "saved", "run")
    printing.rows(columns, cells, nothing="no checkpoints", whole=("checkpoint",))


@app.command()
def diff(
    thread: Thread,
    before: Checkpoint,
    after: Annotated[str | None, typer.Argument(metavar="[CHECKPOINT]", help="Without it, the present state.")] = None,
    *,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Show what differs in the values of two checkpoints.

    By place: `+` was added, `-` removed, `~` changed.

    \b
    Examples:
      outlast threads diff support-7 1f0c6d1e-7a3b-6e0a-8002-5d8f2f1a9c3b
    """
    from outlast.cli import time_travel

    found = _call(tenant, lambda runtime: time_travel.compare(runtime, thread, before, after))
    if as_json:
        printing.json(found)
        return
    signs = {"added": "+", "removed": "-", "changed": "~"}
    cells = [(signs[each.kind], each.path, _short(each.before), _short(each.after)) for each in found]
    printing.rows(("", "place", "before", "after"), cells, nothing="no difference")


@app.command()
def fork(
    thread: Thread,
    checkpoint: Checkpoint,
    *,
    values: Annotated[str | None, typer.Option(metavar="JSON", help="As if a node had returned them there.")] = None,
    as_node: Annotated[str | None, typer.Option(metavar="NODE", help="That node.")] = None,
    to: Annotated[str | None, typer.Option(metavar="THREAD", help="On a copy of the thread, of this new id.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Let a thread stand at an older checkpoint again.

    With other values, if wanted. The line that it leaves stays in its history. `threads rerun` goes on from there.

    \b
    Examples:
      outlast threads fork support-7 1f0c6d1e-7a3b-6e0a-8002-5d8f2f1a9c3b --to support-7-again
      outlast threads fork support-7 1f0c6d1e-7a3b-6e0a-8002-5d8f2f1a9c3b --values '{"amount": 20}' --as-node decide
    """
    from outlast.cli import time_travel

    given = None if values is None else _json(values, "values")
    if as_node is not None and values is None:
        raise typer.BadParameter("--as-node says who returns --values; give both")
    forked, at = _call(
        tenant, lambda runtime: time_travel.fork(runtime, thread, checkpoint, values=given, as_node=as_node, to=to)
    )
    typer.echo(f"thread {forked} stands at {at}; to go on: outlast threads rerun {forked}")


@app.command()
def rerun(
    thread: Thread,
    checkpoint: Annotated[
        str | None, typer.Argument(metavar="[CHECKPOINT]", help="Without it, from where the thread stands.")
    ] = None,
    *,
    given: Annotated[str | None, typer.Option("--input", metavar="JSON", help="With this input.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Start a run that goes on from a checkpoint.

    What comes behind the checkpoint is executed anew, by a new run: its calls are paid and its effects done again.
    To let a failed run go on without that, use `outlast dlq replay`.

    \b
    Examples:
      outlast threads rerun support-7
      outlast threads rerun support-7 1f0c6d1e-7a3b-6e0a-8002-5d8f2f1a9c3b
    """
    from outlast.cli import time_travel

    parsed = None if given is None else _json(given, "input")
    view = _call(tenant, lambda runtime: time_travel.rerun(runtime, thread, checkpoint, given=parsed))
    typer.echo(f"run {view.id} is {view.status}")


@app.command()
def stats(*, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """Count and weigh all checkpoints, by agent.

    Reads each of them once.

    \b
    Examples:
      outlast threads stats
      outlast threads stats --json
    """
    found = _call(tenant, lambda runtime: runtime.recovery_desk().checkpoints.stats())
    if as_json:
        printing.json({
            "count": found.count, "bytes": found.size_bytes, "shared_bytes": found.shared_bytes,
            "writes_bytes": found.writes_bytes, "agents": found.agents,
        })  # fmt: skip
        return
    cells = [
        (
            each.agent or "(none)", str(each.count), str(each.threads), printing.moment(each.oldest_at),
            printing.moment(each.newest_at), printing.size(each.size_bytes),
        )
        for each in found.agents
    ]  # fmt: skip
    printing.rows(("agent", "checkpoints", "threads", "oldest", "newest", "size"), cells, nothing="no checkpoints")
    shared, writes = printing.size(found.shared_bytes), printing.size(found.writes_bytes)
    whole = printing.size(found.size_bytes)
    typer.echo(f"{whole} in all, {shared} of it shared values, {writes} task outputs", err=True)


@app.command()
def cleanup(
    *,
    older_than: Annotated[float, typer.Option(metavar="DAYS", min=0.001, max=36_500, help="Untouched for so long.")],
    strategy: Annotated[
        Strategy, typer.Option(help="Keep what a thread holds now, or delete the thread.")
    ] = Strategy.KEEP_LATEST,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="At most this many threads.")] = 1000,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say which.")] = False,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Delete the history of threads that nobody has used.

    Of those on which nothing has happened for long. What a thread holds now stays, unless --strategy delete. Threads
    with a run that has not ended, that waits for a person or that is a dead letter are left alone. To have this done
    by age without a person, set a TTL, or `retention.threads`.

    \b
    Examples:
      outlast threads cleanup --older-than 30 --dry-run
      outlast threads cleanup --older-than 30
    """
    age = timedelta(days=older_than)
    gone = _call(
        tenant,
        lambda runtime: runtime.recovery_desk().checkpoints.cleanup(
            age=age, strategy=strategy.value, limit=limit, dry_run=dry_run
        ),
    )
    if dry_run:
        printing.rows(("thread",), [(name,) for name in gone], nothing="no threads", whole=("thread",))
    else:
        typer.echo(f"{len(gone)} threads are cleaned up")


def _short(value: Any) -> str:
    if value is None:
        return ""
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= _SHORT else f"{text[:_SHORT]}..."


def _json(text: str, field: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        msg = f"--{field} is not valid JSON: {error}"
        raise InvalidInput(msg, field=field) from error


def _call(tenant: str, action: "Callable[[Runtime], Awaitable[T]]") -> T:
    from outlast.cli.direct_runtime import call

    with acting_for(tenant):
        return call(action)
