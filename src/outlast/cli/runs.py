"""`outlast runs`: look at runs and decide about them, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import orjson
import typer

from outlast.cli import printing, show
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.domain.run import RunStatus
from outlast.errors import Conflict, InvalidInput

if TYPE_CHECKING:
    from outlast.domain.run import RunView
    from outlast.queues.queue import RunQueue
    from outlast.settings import Settings
    from outlast.storage.postgres.admission import Recorded
    from outlast.storage.postgres.pool import Pool

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at runs, and cancel, answer or replay them.")
RunId = Annotated[str, typer.Argument(metavar="ID", help="The run's id, as `outlast runs list` shows it.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Tenant = Annotated[str, typer.Option(help="Whose run it is.")]


@app.command("list")
def list_runs(
    *,
    status: Annotated[RunStatus | None, typer.Option(help="Only runs in this state.")] = None,
    agent: Annotated[str | None, typer.Option(help="Only runs of this agent.")] = None,
    thread: Annotated[str | None, typer.Option(help="Only runs of this thread.")] = None,
    tenant: Annotated[str, typer.Option(help="Whose runs.")] = DEFAULT_TENANT,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List runs, newest first.

    A table on a terminal; through a pipe, lines of tab-separated columns.

    \b
    Examples:
      outlast runs list
      outlast runs list --status failed        what needs a person: see `runs show`, then `runs replay`
      outlast runs list --status waiting       what waits for an answer: `runs answer`
      outlast runs list --agent support --json
    """
    found = _call(tenant, lambda queue, _: queue.store.find(thread_id=thread, status=status, agent=agent, limit=limit))
    if as_json:
        printing.json(found)
    else:
        show.table(found)


@app.command("show")
def show_run(run_id: RunId, *, tenant: Tenant = DEFAULT_TENANT, as_json: AsJson = False) -> None:
    """Show everything about one run.

    Its state, progress, output or error, what it asks if it waits for a person, what admission decided about it, and
    what can be done next.

    \b
    Examples:
      outlast runs show 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
      outlast runs show 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --json
    """
    with acting_for(tenant):
        found, decided = _shown(_id(run_id))
    if as_json:
        printing.json(found)
    else:
        show.details(found, decided)


@app.command()
def cancel(
    run_id: RunId,
    *,
    tenant: Tenant = DEFAULT_TENANT,
    wait: Annotated[bool, typer.Option("--wait", help="Return when it has really stopped.")] = False,
) -> None:
    """Cancel a run that has not ended.

    A run that nobody executes is cancelled at once. One that runs is stopped by its worker: the step in progress is
    interrupted, what was saved stays saved. Runs behind it on the same thread go on.

    \b
    Examples:
      outlast runs cancel 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
      outlast runs cancel 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e --wait
    """
    key = _id(run_id)
    status = _call(tenant, lambda queue, settings: _cancel(queue, settings, key, wait=wait))
    if wait and status is not RunStatus.CANCELLED:
        msg = f"run {key} is {status}: it was not cancelled in time"
        raise Conflict(msg)
    if status is RunStatus.RUNNING:
        typer.echo(f"run {key} will be cancelled: its worker was asked to stop it")
    else:
        typer.echo(f"run {key} is {status}")


@app.command()
def replay(run_id: RunId, *, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Give a failed run another set of attempts.

    It keeps its id and its progress: it goes on from its last saved step, not from the beginning. Repair the cause
    first; a worker takes it up within a second.

    \b
    Examples:
      outlast runs list --status failed
      outlast runs replay 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e
    """
    key = _id(run_id)
    status = _call(tenant, lambda queue, _: queue.replay(key))
    typer.echo(f"run {key} is {status}")


@app.command()
def answer(
    run_id: RunId,
    value: Annotated[str, typer.Argument(metavar="JSON", help="The answer; a text needs quotes.")],
    *,
    tenant: Tenant = DEFAULT_TENANT,
) -> None:
    """Answer a run that waits for a person.

    The value is what `interrupt()` returns in the graph. The first answer counts; a second one is refused. The run
    goes on where it asked, also if it asked days ago.

    \b
    Examples:
      outlast runs show 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e          reads the question
      outlast runs answer 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e '"We refund it today."'
      outlast runs answer 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e '{"approved": true}'
    """
    key, parsed = _id(run_id), _json(value)
    status = _call(tenant, lambda queue, _: queue.answer(key, parsed))
    typer.echo(f"run {key} has its answer and is {status}")


def _shown(run_id: UUID) -> "tuple[RunView, Recorded | None]":
    from outlast.cli.direct import call_with_pool  # noqa: PLC0415 - `outlast --help` needs no database driver
    from outlast.storage.postgres.admission import AdmissionStore  # noqa: PLC0415 - as above

    async def both(queue: "RunQueue", pool: "Pool", _settings: "Settings") -> "tuple[RunView, Recorded | None]":
        return await queue.store.get(run_id), await AdmissionStore(pool).of_run(run_id)

    return call_with_pool(both)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        msg = f"{text!r} is no run id; an id looks like 019a5b7e-3c1d-7e02-9d5f-0a6c1f2b3d4e, see `outlast runs list`"
        raise InvalidInput(msg, field="id") from error


def _json(text: str) -> object:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        msg = f"the answer is no JSON ({error}); a text needs quotes inside the shell's: '\"yes\"'"
        raise InvalidInput(msg, field="answer") from error


async def _cancel(queue: "RunQueue", settings: "Settings", run_id: UUID, *, wait: bool) -> RunStatus:
    status = await queue.cancel(run_id)
    if not wait or status is not RunStatus.RUNNING:
        return status
    return (await queue.wait(run_id, timeout=settings.server.wait)).status


def _call(tenant: str, action: "Callable[[RunQueue, Settings], Awaitable[T]]") -> T:
    from outlast.cli.direct import call  # noqa: PLC0415 - `outlast --help` needs no database driver

    with acting_for(tenant):
        return call(action)
