"""The command `outlast`. Whatever is heavy is imported by the command that needs it."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of commands: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from typer.core import TyperGroup

from outlast import __version__
from outlast.cli import (
    admission,
    alerts,
    anomalies,
    audit,
    budget,
    db,
    dlq,
    effects,
    encryption,
    erasing,
    importing,
    inbox,
    keys,
    notifications,
    policy,
    recover,
    runs,
    slo,
    switch,
    thread_story,
    threads,
    top,
    usage,
    validating,
)
from outlast.cli.failures import exit_code, message, wrong_usage
from outlast.errors import OutlastError

Host = Annotated[str | None, typer.Option(help="Listen on this address.  [default: 127.0.0.1]", show_default=False)]
Port = Annotated[int | None, typer.Option(min=0, max=65535, help="Listen here; 0 picks a free one.  [default: 8123]")]
Anonymous = Annotated[
    bool | None,
    typer.Option(
        "--allow-anonymous", help="Let other machines in although the project has no auth.", show_default=False
    ),
]
Concurrency = Annotated[
    int | None, typer.Option(min=1, max=1000, help="Runs at the same time in a worker.  [default: 32]")
]
Parent = Annotated[int | None, typer.Option(hidden=True, help="End with this process.")]

# Typer shows of its parser's errors only this one.
_UsageError: Any = typer.BadParameter.__base__


class _Commands(TyperGroup):
    def invoke(self, ctx: Any) -> Any:
        """Run the command; an error raised on purpose ends it with one message and its exit status."""
        try:
            return super().invoke(ctx)
        except OutlastError as error:
            if ctx.params["debug"]:
                raise
            typer.echo(f"outlast: {message(error)}", err=True)
            raise typer.Exit(exit_code(error)) from error
        except _UsageError as error:
            error.message = wrong_usage(error)
            raise


app = typer.Typer(
    cls=_Commands, no_args_is_help=True, rich_markup_mode=None, pretty_exceptions_enable=False, add_completion=False
)
app.add_typer(runs.app, name="runs")
app.add_typer(inbox.app, name="inbox")
app.add_typer(dlq.app, name="dlq")
app.add_typer(recover.app, name="recover")
app.add_typer(threads.app, name="threads")
app.add_typer(effects.app, name="effects")
app.add_typer(budget.app, name="budget")
app.add_typer(policy.app, name="policy")
app.add_typer(switch.app, name="switch")
app.add_typer(alerts.app, name="alerts")
app.add_typer(notifications.app, name="notifications")
app.add_typer(anomalies.app, name="anomalies")
app.add_typer(db.app, name="db")
app.add_typer(encryption.app, name="encryption")
app.add_typer(keys.app, name="keys")
app.add_typer(audit.app, name="audit")
app.add_typer(importing.app, name="import")


def main() -> None:
    """Run the command line."""
    app(prog_name="outlast")


def _version(asked: bool) -> None:  # noqa: FBT001 - how typer calls it
    if asked:
        typer.echo(f"outlast {__version__}")
        raise typer.Exit


@app.callback()
def _outlast(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error.")] = False,
) -> None:
    """Run AI agents so that they outlast crashes, outages and deploys.

    Run it in a directory with an outlast.toml or a langgraph.json, or below one.

    \b
    Try it here:           outlast dev
    In production:         outlast db migrate, then outlast serve and outlast worker,
                           as many as you like, with DATABASE_URL set
    Look at what happens:  outlast runs list, outlast runs show ID, outlast logs THREAD_ID

    \b
    Exit status: 0 done; 1 failed; 2 wrong arguments, settings or project; 4 no such run;
                 5 not possible in this state; 69 the database does not answer.
    """


@app.command()
def dev(
    *,
    host: Host = None,
    port: Port = None,
    workers: Annotated[int | None, typer.Option(min=1, max=64, help="Worker processes.  [default: 1]")] = None,
    in_process: Annotated[bool, typer.Option("--in-process", help="Execute runs in the API's own process.")] = False,
    allow_anonymous: Anonymous = None,
    concurrency: Concurrency = None,
    parent: Parent = None,
) -> None:
    """Run everything on this machine: database, API and workers.

    Checks that every agent of the project loads. Without DATABASE_URL it starts a private PostgreSQL in .outlast/ of
    the project, which keeps its data for the next time. A worker that dies is replaced, and its runs go on. Ctrl-C lets
    steps in progress end and stops everything; a second Ctrl-C stops now. Either way nothing that was saved is lost.

    With --in-process there is one process: the first token comes sooner, and your debugger can stop inside of nodes.
    What kills or blocks it then also stops the API.

    \b
    Examples:
      outlast dev
      outlast dev --port 0 --workers 2
      outlast dev --in-process
      DATABASE_URL=postgresql://localhost/app outlast dev

    Next: start a run with the curl line it prints, then `outlast runs list`.
    """
    from outlast.cli import processes, session

    if in_process and workers is not None:
        raise typer.BadParameter("give either --workers or --in-process")
    processes.end_with_parent(parent)
    project, settings = session.read(
        _arguments(host=host, port=port, allow_anonymous=allow_anonymous, concurrency=concurrency)
    )
    from outlast.cli.collector import put_off_collecting

    put_off_collecting()
    from outlast.cli.dev import develop

    processes.run(develop(project, settings, workers=0 if in_process else workers or 1))


@app.command()
def serve(*, host: Host = None, port: Port = None, allow_anonymous: Anonymous = None) -> None:
    """Serve the HTTP API, and nothing else.

    Runs are executed by `outlast worker`. Start as many as you like, on any machine that reaches the database. They
    share nothing but the database, so any of them can answer for any run. SIGTERM lets requests in progress end.

    Other machines are let in where callers are asked who they are: by API keys (auth.keys, `outlast keys create`), by
    tokens (auth.jwt), or by the auth of langgraph.json. Without, an address that they can reach is refused, unless
    --allow-anonymous says that something in front of it asks.

    \b
    Examples:
      DATABASE_URL=postgresql://localhost/app outlast serve
      DATABASE_URL=postgresql://localhost/app outlast serve --host 0.0.0.0 --port 80 --allow-anonymous

    Next: GET /health says whether database, schema and a worker are there.
    """
    from outlast.cli import processes, session

    project, settings = session.read(_arguments(host=host, port=port, allow_anonymous=allow_anonymous))
    from outlast.cli.collector import put_off_collecting

    put_off_collecting()
    from outlast.cli.serving import serve as serve_api

    processes.run(serve_api(project, settings, ready=lambda url: typer.echo(f"API: {url}")))


@app.command()
def worker(*, concurrency: Concurrency = None, parent: Parent = None) -> None:
    """Execute runs, saving after every step.

    Start as many as you like, on any machine that reaches the database. When one dies, the others take over its runs
    within seconds, from their last saved step. SIGTERM or Ctrl-C: it claims nothing more, steps in progress may end (25
    seconds, see worker.drain), the rest is handed back; a second signal ends it on the spot.

    \b
    Examples:
      DATABASE_URL=postgresql://localhost/app outlast worker
      outlast worker --concurrency 100

    Next: `outlast runs list --status running` shows what it does.
    """
    from outlast.cli import processes, session

    processes.end_with_parent(parent)
    project, settings = session.read(_arguments(concurrency=concurrency))
    from outlast.cli.collector import put_off_collecting

    put_off_collecting()
    from outlast.cli.working import work

    processes.run(work(project, settings, has_parent=parent is not None))


@app.command("isolated-run", hidden=True)
def isolated_run(
    run_id: Annotated[UUID, typer.Argument()],
    epoch: Annotated[int, typer.Argument()],
    *,
    project: Annotated[Path, typer.Option()],
    begun: Annotated[int, typer.Option(help="The descriptor to write to when the run begins.")],
    parent: Annotated[int, typer.Option()],
) -> None:
    """Execute one run for the worker that owns it; started by the worker."""
    from outlast.cli import isolation, processes

    processes.end_with_parent(parent)
    processes.run(isolation.isolated_run(run_id, epoch, project, begun))


def _arguments(
    *,
    host: str | None = None,
    port: int | None = None,
    allow_anonymous: bool | None = None,
    concurrency: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Return what was given, in the shape of the settings; None is not given."""
    server = {"host": host, "port": port, "allow_anonymous": allow_anonymous}
    return {"server": server, "worker": {"concurrency": concurrency}}


app.command("logs")(thread_story.logs)
# Last in the list of commands.
app.command("usage")(usage.show_usage)
app.command("slo")(slo.show_slo)
app.command("top")(top.top)
app.command("validate")(validating.validate)
app.command("erase")(erasing.erase)
app.command("export")(erasing.export)
app.command("admission")(admission.show_admission)
