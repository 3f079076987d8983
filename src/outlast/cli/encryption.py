"""`outlast encryption`: encrypt what is stored, rotate keys, see where it stands."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of commands: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer

if TYPE_CHECKING:
    from outlast.settings import Settings
    from outlast.storage.postgres.data_keys import DataKeys
    from outlast.storage.postgres.pool import Pool

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Encrypt what is stored, rotate its keys.")


@app.command()
def enable(
    *,
    now: Annotated[bool, typer.Option("--now", help="Also while workers are running.", show_default=False)] = False,
) -> None:
    """Encrypt a database that holds content already.

    An empty database needs none of this: it is encrypted from its first row on when a master key is set. Stop all
    processes that have no master key, run this, and start them with one; they may start as soon as the first line is
    printed. It can be run again where it was interrupted. When it ends, whatever is not encrypted is refused.

    \b
    Examples:
      export OUTLAST_ENCRYPTION__MASTER_KEY_FILE=/run/secrets/outlast
      outlast encryption enable

    Next: `outlast encryption status`, then VACUUM FULL, since dead rows keep what was there until then.
    """

    async def main(keys: "DataKeys", pool: "Pool", settings: "Settings") -> None:
        if not now and await keys.live_workers():
            raise typer.BadParameter("workers are running; stop them first, or say --now if all have the master key")
        state = await keys.begin(with_content="enabling")
        if state == "on":
            typer.echo("everything is encrypted already; nothing to do")
            return
        typer.echo("from here on everything new is encrypted; processes with the master key may start")
        await keys.forget_transient()
        count = await _walk(keys, pool, settings)
        await _audit(pool, settings, "encryption.enabled", count)
        typer.echo(f"encrypted {count:,} rows; what is not encrypted is refused from here on")

    _call(main)


@app.command()
def rotate(
    *,
    tenant: Annotated[str | None, typer.Option(help="Of this tenant alone.", show_default=False)] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Encrypt all rows anew before it ends.", show_default=False)] = (
        False
    ),
) -> None:
    """Give every tenant a new data key.

    Nothing has to stop: what is new is encrypted with the new key within seconds, and workers encrypt the rest anew in
    small steps. Old keys stay, to read backups with; `status` says when none of them is needed for the database itself.

    \b
    Examples:
      outlast encryption rotate
      outlast encryption rotate --tenant acme --wait
    """

    async def main(keys: "DataKeys", pool: "Pool", settings: "Settings") -> None:
        rotated = await keys.rotate(tenant)
        await _audit(pool, settings, "encryption.rotated", len(rotated))
        typer.echo(f"{len(rotated)} new key{'' if len(rotated) == 1 else 's'}")
        if wait:
            typer.echo(f"encrypted {await _walk(keys, pool, settings):,} rows anew")

    _call(main)


@app.command()
def rewrap() -> None:
    """Wrap all data keys with the master key that is set now.

    To change the master key: put the new one into encryption.master_key and the old one into
    encryption.old_master_keys of every process, run this, then leave the old one out. Rows are not touched.

    \b
    Examples:
      outlast encryption rewrap
    """

    async def main(keys: "DataKeys", pool: "Pool", settings: "Settings") -> None:
        count = await keys.rewrap()
        await _audit(pool, settings, "encryption.rewrapped", count)
        typer.echo(f"wrapped {count} key{'' if count == 1 else 's'} anew")

    _call(main)


@app.command()
def status() -> None:
    """Show what is encrypted and with which keys.

    For each tenant: how many data keys it has, whether rows are left that an old one has encrypted, and whether some
    were wrapped by another master key than the one that is set. No key is shown.

    \b
    Examples:
      outlast encryption status
    """

    async def main(keys: "DataKeys", _pool: "Pool", _settings: "Settings") -> None:
        state = await keys.state()
        words = {None: "off", "enabling": "being encrypted; run `outlast encryption enable` to its end", "on": "on"}
        typer.echo(f"encryption: {words[state]}")
        typer.echo(f"master key: {keys.master}")
        for row in await keys.counts():
            parts = [f"{row.keys} keys", f"newest {row.newest_at:%Y-%m-%d %H:%M}"]
            parts += [f"{row.retiring} old still in use"] if row.retiring else []
            parts += [f"{row.foreign} wrapped by another master key: run rewrap"] if row.foreign else []
            typer.echo(f"{row.tenant or '(shared)':<20}{', '.join(parts)}")

    _call(main)


async def _walk(keys: "DataKeys", pool: "Pool", settings: "Settings") -> int:
    """Seal all rows anew, now; return how many that were."""
    from outlast.storage.postgres.resealing import Resealing
    from outlast.storage.postgres.sealing import Sealed

    pool.sealing = Sealed(keys)
    # Other processes go on with an old key for so long.
    return await Resealing(pool, settled=settings.encryption.refresh * 2, batch=settings.encryption.batch).whole()


async def _audit(pool: "Pool", settings: "Settings", action: str, rows: int) -> None:
    from outlast.storage.postgres.audit import AuditLog

    log = AuditLog(pool, settings.audit.key.reveal().encode(), nobody="cli")
    await log.record(action, "database:outlast", {"count": rows})


def _call(action: "Callable[[DataKeys, Pool, Settings], Awaitable[T]]") -> T:
    """Open the keys of this project's database, do one thing."""
    from outlast.agents.key_providers import key_provider
    from outlast.cli.processes import run
    from outlast.cli.session import database, project_or_database
    from outlast.errors import ConfigurationError
    from outlast.storage.postgres.data_keys import opened_keys
    from outlast.storage.postgres.pool import Pool

    async def main() -> T:
        project, settings = project_or_database()
        provider = key_provider(settings.encryption, project)
        if provider is None:
            msg = "there is no master key; set encryption.master_key (OUTLAST_ENCRYPTION__MASTER_KEY_FILE)"
            raise ConfigurationError(msg)
        async with database(settings, project.root) as complete:
            pool = Pool(complete.database, application_name="outlast-cli", size=2)
            await pool.open()
            try:
                async with opened_keys(pool, provider, refresh=settings.encryption.refresh) as keys:
                    return await action(keys, pool, complete)
            finally:
                await pool.close()

    return run(main())
