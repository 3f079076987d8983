"""`outlast db`: the schema, and where the database is."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import typer

if TYPE_CHECKING:
    from outlast.settings import DatabaseSettings

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring the schema up to date, see where it stands.")


@app.command()
def migrate() -> None:
    """Bring the schema to what this version of Outlast needs.

    Do it once per deploy, before the new processes start. Any number may run at the same time: one does the work, the
    others wait for it. What was applied is never applied again. `outlast dev` does it by itself.

    \b
    Examples:
      outlast db migrate
      DATABASE_URL=postgresql://outlast:secret@db:5432/app outlast db migrate
    """
    from outlast.storage.postgres import migrate as schema  # noqa: PLC0415 - loads the database driver

    applied = _call(schema.migrate)
    for migration in applied:
        typer.echo(f"applied {migration.version:04d}_{migration.name}")
    if not applied:
        typer.echo("the schema is current; nothing to do")


@app.command()
def status() -> None:
    """Show which migrations the database has.

    Exits with 1 when some are missing.

    \b
    Examples:
      outlast db status
      outlast db status || outlast db migrate
    """
    from outlast.storage.postgres import migrate as schema  # noqa: PLC0415 - loads the database driver

    found = _call(schema.status)
    for item in found:
        when = "missing" if item.applied_at is None else f"applied {item.applied_at.astimezone():%Y-%m-%d %H:%M:%S}"
        typer.echo(f"{item.migration.version:04d}_{item.migration.name:<24}{when}")
    if any(item.applied_at is None for item in found):
        typer.echo("some are missing: run `outlast db migrate`", err=True)
        raise typer.Exit(1)


@app.command()
def url() -> None:
    """Print the database's URL, for psql and the like.

    It holds the password: keep it out of logs and tickets. Without DATABASE_URL it is the project's private server,
    which runs only while something of Outlast does: keep `outlast dev` running meanwhile.

    \b
    Examples:
      psql "$(outlast db url)"
    """

    async def url_of(database: "DatabaseSettings") -> str:
        return database.url

    typer.echo(_call(url_of))


def _call(action: "Callable[[DatabaseSettings], Awaitable[T]]") -> T:
    """Do one thing with the database of this project."""
    from outlast.cli.processes import run  # noqa: PLC0415 - `outlast --help` needs neither loop nor settings
    from outlast.cli.session import database, project_or_database  # noqa: PLC0415 - as above

    async def main() -> T:
        project, settings = project_or_database()
        async with database(settings, project.root) as complete:
            return await action(complete.database)

    return run(main())
