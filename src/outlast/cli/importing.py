"""`outlast import`: threads that were kept by something else."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of commands: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from outlast.errors import AgentLoadError, InvalidInput

if TYPE_CHECKING:
    from outlast.agents.importing.langgraph import Report
    from outlast.agents.importing.threads import Saver
    from outlast.runtime import Runtime
    from outlast.storage.postgres.langgraph_source import LangGraphTables

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring threads over from elsewhere.")
_SHOWN = 20


@app.callback()
def _import() -> None:
    """Bring threads over from elsewhere."""


@app.command()
def langgraph(
    source: Annotated[str, typer.Option("--from", metavar="URL", help="The database of LangGraph's PostgresSaver.")],
    *,
    schema: Annotated[str, typer.Option(help="Where its tables are.")] = "public",
    agent: Annotated[str | None, typer.Option(help="The graph of the threads, if there are several.")] = None,
    thread: Annotated[list[str] | None, typer.Option(help="Only this thread; may be given several times.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check everything, write nothing.")] = False,
    report: Annotated[Path | None, typer.Option(help="Write what became of the threads here, as JSON.")] = None,
    concurrency: Annotated[int, typer.Option(min=1, max=64, help="Threads at the same time.")] = 8,
) -> None:
    """Copy threads out of LangGraph's PostgresSaver.

    All their checkpoints and writes, exactly. The source is only read. Run it in the project whose agents wrote the
    threads: the types of their state are looked up there. Stopped or failed half-way, the same command goes on where it
    was; started again later, it brings what has come since. A thread that cannot be copied exactly is named with the
    reason and left out. One that has gone on here is left as it is.

    \b
    Examples:
      outlast import langgraph --from postgresql://localhost/app --dry-run
      outlast import langgraph --from postgresql://localhost/app --agent support --report import.json

    Exits with 1 when a thread could not be imported.

    Next: `outlast dev`, and open one of the threads.
    """
    from outlast.cli.processes import run

    given = Request(source, schema, agent, tuple(thread or ()), dry_run, concurrency)
    result = run(_imported(given))
    if report is not None:
        report.write_text(json.dumps(as_json(result), indent=2) + "\n", encoding="utf-8")
    for line in told(result, dry_run=dry_run):
        typer.echo(line)
    if result.failed:
        raise typer.Exit(1)


@dataclass(frozen=True, slots=True)
class Request:
    """What the command line says."""

    url: str
    schema: str
    agent: str | None
    threads: tuple[str, ...]
    dry_run: bool
    concurrency: int


async def _imported(request: Request) -> "Report":
    from outlast.cli.session import database, project_or_database
    from outlast.runtime import Runtime
    from outlast.storage.postgres.langgraph_source import LangGraphTables

    project, settings = project_or_database()
    if request.agent is not None and request.agent not in project.agents:
        names = ", ".join(project.agents) or "none"
        raise InvalidInput(f"there is no agent {request.agent!r} in this project; there are: {names}", field="--agent")
    async with (
        LangGraphTables.open(request.url, schema=request.schema, connections=request.concurrency) as source,
        database(settings, project.root) as complete,
        Runtime.open(complete, project, application_name="outlast-import") as runtime,
    ):
        await _load_agents(runtime)
        return await _import_into(runtime, source, request)


async def _load_agents(runtime: "Runtime") -> None:
    """Import the agents' modules, in which the types of the state are looked up."""
    try:
        await runtime.registry.load_all()
    except AgentLoadError as error:
        typer.echo(f"going on without agents that do not load; their types are not known: {error}", err=True)


async def _import_into(runtime: "Runtime", source: "LangGraphTables", request: Request) -> "Report":
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from outlast.agents.codec import Codec
    from outlast.agents.importing.langgraph import Trial, all_threads, import_threads
    from outlast.storage.postgres.imports import Imports

    codec = Codec(max_value_bytes=runtime.settings.checkpoint.max_value_bytes)
    saver: Saver = Trial(codec) if request.dry_run else runtime.saver
    total = len(request.threads) or await source.count_threads()
    agents = runtime.registry.names
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    # Standard error: what the command prints is its result.
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("checking threads" if request.dry_run else "importing threads", total=total)
        return await import_threads(
            source,
            Imports(runtime.pool, runtime.threads),
            saver,
            _named(request.threads) if request.threads else all_threads(source),
            agent=request.agent or (agents[0] if len(agents) == 1 else None),
            trial=request.dry_run,
            concurrency=request.concurrency,
            done=lambda _thread: progress.advance(bar),
        )


async def _named(threads: Iterable[str]) -> AsyncIterator[str]:
    for thread in threads:
        yield thread


def told(report: "Report", *, dry_run: bool) -> list[str]:
    """Return the report as a person reads it."""
    from outlast.agents.importing.threads import Result

    done = "can be imported" if dry_run else "imported"
    phrases = {
        Result.IMPORTED: done,
        Result.CONTINUED: f"{done}, a part of which was there",
        Result.UNCHANGED: "were there already",
        Result.MOVED_ON: "have gone on here and were left as they are",
    }
    lines = [f"{report.threads} threads: {report.checkpoints} checkpoints, {report.writes} writes"]
    lines += [f"  {report.results[result]} {phrase}" for result, phrase in phrases.items() if report.results[result]]
    if report.failed:
        lines.append(f"  {len(report.failed)} cannot be imported:")
        lines += [f"    {thread}: {reason}" for thread, reason in list(report.failed.items())[:_SHOWN]]
    if len(report.failed) > _SHOWN:
        lines.append(f"    and {len(report.failed) - _SHOWN} more; --report FILE names all of them")
    return lines


def as_json(report: "Report") -> dict[str, Any]:
    """Return the report as a program reads it."""
    return {
        "threads": report.threads,
        "checkpoints": report.checkpoints,
        "writes": report.writes,
        **{result.value: count for result, count in report.results.items()},
        "failed": report.failed,
    }
