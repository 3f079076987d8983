"""`outlast keys`: API keys, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from outlast.cli import printing
from outlast.domain.access import CLIENT_SCOPES, READ_SCOPES, SCOPES, checked_scopes, checked_tenant, checked_user
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from outlast.domain.api_key import ApiKey, Minted
    from outlast.settings import Settings
    from outlast.storage.postgres.api_keys import ApiKeyStore
    from outlast.storage.postgres.audit import AuditLog

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Make, list, replace and revoke API keys.")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Tenant = Annotated[str, typer.Option(help="The tenant whose keys they are.")]
KeyId = Annotated[str, typer.Argument(metavar="KEY_ID", help="The public id, as `keys list` shows it.")]
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_COLUMNS: Final = ("key_id", "state", "tenant", "user", "name", "scopes", "created", "expires", "last used")


@app.command("create")
def create_key(
    *,
    tenant: Tenant = DEFAULT_TENANT,
    user: Annotated[str | None, typer.Option(help="On whose behalf it acts.")] = None,
    name: Annotated[str | None, typer.Option(help="What it is for, to tell keys apart.")] = None,
    scope: Annotated[
        list[str] | None, typer.Option(help="What it may do; several times.  [default: what a client needs]")
    ] = None,
    read_only: Annotated[bool, typer.Option("--read-only", help="Everything that changes nothing.")] = False,
    expires: Annotated[str | None, typer.Option(help="12h, 90d, 52w; without it, it has no end.")] = None,
    as_json: AsJson = False,
) -> None:
    """Make a key and show it, this once.

    Only its hash is stored, so nobody can show it again: not this command, and nobody who reads the database. Keys are
    asked for where `auth.keys` is on. A client sends one as `x-api-key`, as langgraph_sdk does, or as
    `Authorization: Bearer`.

    Without --scope it may do what a client of the API needs: runs, threads, assistants, crons and the store, answers to
    questions, usage. `admin` is everything in the tenant; writing does not include reading.

    \b
    Scopes: runs:read runs:write threads:read threads:write assistants:read
            assistants:write store:read store:write crons:read crons:write
            inbox:read inbox:answer usage:read metrics:read budgets:read
            budgets:write keys:admin admin

    \b
    Examples:
      outlast keys create
      outlast keys create --tenant acme --user ann --expires 90d
      outlast keys create --name prometheus --scope metrics:read
      outlast keys create --name dashboard --read-only --json
    """
    if scope and read_only:
        raise InvalidInput("give either --scope or --read-only", field="scope")
    scopes = checked_scopes(scope, field="scope") if scope else READ_SCOPES if read_only else CLIENT_SCOPES
    lifetime = None if expires is None else _duration(expires, "expires")
    checked_user(user)

    async def create(store: "ApiKeyStore", audit: "AuditLog") -> "tuple[ApiKey, Minted]":
        key, minted = await store.create(scopes=scopes, user=user, name=name, lifetime=lifetime)
        await audit.record("key.created", f"key:{key.key_id}", {"scopes": sorted(key.scopes)})
        return key, minted

    _tell(*_call(tenant, create), as_json=as_json)


@app.command("list")
def list_keys(
    *,
    tenant: Tenant = DEFAULT_TENANT,
    everything: Annotated[bool, typer.Option("--all", help="Also what is expired or revoked.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the keys of a tenant, newest first.

    A table on a terminal; through a pipe, lines of tab-separated columns. When a key was last used is known to about
    ten minutes.

    \b
    Examples:
      outlast keys list
      outlast keys list --tenant acme --all
      outlast keys list --json
    """
    found = _call(tenant, lambda store, _: store.listed(everything=everything))
    if as_json:
        _print_json([_plain(key) for key in found])
    else:
        _table(found)


@app.command("rotate")
def rotate_key(
    key_id: KeyId,
    *,
    tenant: Tenant = DEFAULT_TENANT,
    grace: Annotated[str, typer.Option(help="How long the old key goes on: 0s, 12h, 7d.")] = "24h",
    as_json: AsJson = False,
) -> None:
    """Replace a key: both open the same until the old one ends.

    The new key has the tenant, the user and the scopes of the old one, and lives as long as that was meant to. Give it
    to the clients while the old one still works. At most two live at a time: a key is replaced once.

    \b
    Examples:
      outlast keys rotate k3v5wq7a2bxy4nce
      outlast keys rotate k3v5wq7a2bxy4nce --grace 7d
      outlast keys rotate k3v5wq7a2bxy4nce --grace 0s     when it may have leaked
    """
    after = _duration(grace, "grace")

    async def rotate(store: "ApiKeyStore", audit: "AuditLog") -> "tuple[ApiKey, Minted]":
        old = await store.one(key_id)
        key, minted = await store.rotate(key_id, grace=after)
        await audit.record("key.rotated", f"key:{old.key_id}", {"replaced_by": key.key_id})
        return key, minted

    _tell(*_call(tenant, rotate), as_json=as_json)


@app.command("revoke")
def revoke_key(key_id: KeyId, *, tenant: Tenant = DEFAULT_TENANT) -> None:
    """End a key for ever.

    Every server refuses it within five seconds. Runs that were started with it go on: cancel them where that is not
    wanted.

    \b
    Examples:
      outlast keys revoke k3v5wq7a2bxy4nce
      outlast keys revoke k3v5wq7a2bxy4nce --tenant acme
    """

    async def revoke(store: "ApiKeyStore", audit: "AuditLog") -> "ApiKey":
        key = await store.revoke(key_id)
        await audit.record("key.revoked", f"key:{key.key_id}")
        return key

    key = _call(tenant, revoke)
    typer.echo(f"key {key.key_id} is revoked; every server refuses it within five seconds")


def _call(tenant: str, action: "Callable[[ApiKeyStore, AuditLog], Awaitable[T]]") -> T:
    from outlast.cli.direct import change  # noqa: PLC0415 - `outlast --help` needs no database driver
    from outlast.storage.postgres.api_keys import ApiKeyStore  # noqa: PLC0415 - as above
    from outlast.storage.postgres.audit import AuditLog  # noqa: PLC0415 - as above

    checked_tenant(tenant)

    async def act(pool: Any, settings: "Settings") -> T:
        audit = AuditLog(pool, settings.audit.key.reveal().encode(), nobody="cli")
        with acting_for(tenant):
            done = await action(ApiKeyStore(pool), audit)
        if not settings.auth.keys:
            typer.echo("note: nobody is asked for keys yet; set auth.keys = true ([auth] in outlast.toml)", err=True)
        return done

    return change(act)


def _tell(key: "ApiKey", minted: "Minted", *, as_json: bool) -> None:
    if as_json:
        _print_json({"key": minted.text, **_plain(key)})
        return
    # Alone on its line, so that `outlast keys create | tail -1` and `$(...)` get the key and nothing else.
    until = f" until {_time(key.expires_at)}" if key.expires_at else ""
    of_user = f", user {key.user}" if key.user else ""
    typer.echo(f"key {key.key_id} of tenant {key.tenant}{of_user} is live{until}", err=True)
    typer.echo("This is the only time that it is shown:", err=True)
    typer.echo(minted.text)


def _plain(key: "ApiKey") -> dict[str, Any]:
    return {
        "key_id": key.key_id, "tenant": key.tenant, "user": key.user, "name": key.name, "scopes": sorted(key.scopes),
        "state": key.state, "created_at": key.created_at, "expires_at": key.expires_at, "revoked_at": key.revoked_at,
        "last_used_at": key.last_used_at, "replaced_by": key.replaced_by,
    }  # fmt: skip


def _print_json(value: Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> None:

    printing.json(value)


def _table(keys: "Sequence[ApiKey]") -> None:
    nothing = "no keys; `outlast keys create` makes one"
    printing.rows(_COLUMNS, [*map(_cells, keys)], nothing=nothing, whole=("key_id", "state"))


def _cells(key: "ApiKey") -> list[str]:
    cells = [
        key.key_id, key.state, key.tenant, key.user or "", key.name or "", _shown_scopes(key.scopes),
        _time(key.created_at), _time(key.expires_at), _time(key.last_used_at),
    ]  # fmt: skip
    return [cell.replace("\t", " ").replace("\n", " ") for cell in cells]


def _shown_scopes(scopes: frozenset[str]) -> str:
    names = {CLIENT_SCOPES: "client", READ_SCOPES: "read-only"}
    return names.get(scopes) or " ".join(scope for scope in SCOPES if scope in scopes)


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M}"


def _duration(text: str, field: str) -> timedelta:
    found = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    seconds = int(found[1]) * _UNITS[found[2]] if found is not None else None
    # No calendar reaches further.
    if seconds is None or seconds > 100 * 366 * _UNITS["d"]:
        raise InvalidInput(f"{text!r} is no duration; write 30m, 12h, 90d or 52w", field=field)
    return timedelta(seconds=seconds)
