"""`outlast audit`: who did what, straight from the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

import json
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, Final, TypeVar

import typer

from outlast.cli import printing
from outlast.cli.usage import moment_of
from outlast.domain.acting import DEFAULT_TENANT, across_tenants, acting_for
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from outlast.domain.audit import AuditEntry, Head
    from outlast.settings import Settings
    from outlast.storage.postgres.audit_reading import AuditReader, Verified

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Who did what: look, verify, export.")
Tenant = Annotated[str, typer.Option(help="Whose log.")]
_COLUMNS: Final = ("seq", "at", "actor", "key", "action", "object", "details")


@app.command("list")
def list_entries(
    *,
    tenant: Tenant = DEFAULT_TENANT,
    action: Annotated[str | None, typer.Option(help="Only this one, as key.revoked, or all of a kind, as key.")] = None,
    object_: Annotated[
        str | None, typer.Option("--object", help="Only what was done to this, as user:ann or key:7f3a.")
    ] = None,
    actor: Annotated[str | None, typer.Option(help="Only what this one did, as user:ann, key:7f3a or cli.")] = None,
    since: Annotated[str, typer.Option(help="30m, 24h, 7d, 4w, or a time as 2026-01-31.")] = "30d",
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many lines.")] = 100,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """List entries of the audit log, the newest first.

    A table on a terminal; through a pipe, lines of tab-separated columns. Users and threads whose data was erased have
    no names any more; they are shown by their pseudonyms, and found by them too.

    \b
    Examples:
      outlast audit list
      outlast audit list --action key --since 7d
      outlast audit list --actor user:ann --tenant acme --json
    """
    after = moment_of(since)

    async def find(reader: "AuditReader", _settings: "Settings") -> "list[AuditEntry]":
        from outlast.storage.postgres.audit_reading import AuditQuery  # noqa: PLC0415 - `outlast --help` loads nothing heavy

        query = AuditQuery(action=action, object=object_, actor=actor, after=after, limit=limit)
        with acting_for(tenant):
            return await reader.search(query)

    found = _call(find)
    if as_json:
        printing.json([_plain(entry) for entry in found])
    else:
        _table(found)


@app.command("verify")
def verify(
    *,
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's log.  [default: all]")] = None,
    head: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[TENANT:]SEQ:HASH", help="Where a log ended once, from an `audit.head` line of a process."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Say whether the audit log is as it was written.

    Finds entries that were changed, left out, put in or signed with another key, and an end that was cut off. An end
    that was cut off together with the place where it is remembered shows only with --head: workers say the heads every
    audit.head_every (1 h) in their own log, which is best kept elsewhere.

    \b
    Examples:
      outlast audit verify
      outlast audit verify --head 4711:9f86d081884c7d65...

    Exit status: 0 whole; 1 not.
    """
    kept = [_head(text, tenant or DEFAULT_TENANT) for text in head or ()]

    async def look(reader: "AuditReader", settings: "Settings") -> "list[Verified]":
        from outlast.storage.postgres.audit_reading import keys_of  # noqa: PLC0415 - `outlast --help` loads nothing heavy

        with across_tenants() if tenant is None else acting_for(tenant):
            found = await reader.verify(keys_of(settings.audit), kept=kept)
        return [each for each in found if tenant in {None, each.tenant}]

    found = _call(look)
    if as_json:
        printing.json([_verified(each) for each in found])
    else:
        _tell(found)
    if any(each.problems for each in found):
        raise typer.Exit(1)


@app.command("export")
def export(*, tenant: Tenant = DEFAULT_TENANT) -> None:
    """Write the whole log of a tenant as JSON lines.

    In the order of its chain and as it is stored: with pseudonyms, and with all that is hashed, so that whoever has the
    key can verify the file by itself.

    \b
    Examples:
      outlast audit export > audit.jsonl
      outlast audit export --tenant acme > acme.jsonl
    """

    async def write(reader: "AuditReader", _settings: "Settings") -> None:
        with acting_for(tenant):
            async for entry in reader.entries(tenant):
                hashed = {
                    "payload_hash": _hex(entry.payload_hash),
                    "mac_key": entry.mac_key,
                    "previous": _hex(entry.previous),
                }
                sys.stdout.write(json.dumps(_plain(entry) | hashed, default=str) + "\n")

    _call(write)


def _call(action: "Callable[[AuditReader, Settings], Awaitable[T]]") -> T:
    from outlast.cli.direct import change  # noqa: PLC0415 - `outlast --help` loads nothing heavy
    from outlast.storage.postgres.audit_reading import AuditReader  # noqa: PLC0415 - `outlast --help` loads nothing heavy

    return change(lambda pool, settings: action(AuditReader(pool), settings))


def _head(text: str, tenant: str) -> "Head":
    from outlast.domain.audit import Head  # noqa: PLC0415 - `outlast --help` loads nothing heavy

    match = re.fullmatch(r"(?:(.+):)?(\d{1,18}):([0-9a-f]{64})", text)
    if match is None:
        raise InvalidInput(
            f"--head {text!r} is no head; it looks like 4711:9f86... with 64 hexadecimal digits", field="head"
        )
    return Head(tenant=match[1] or tenant, seq=int(match[2]), hash=bytes.fromhex(match[3]))


def _plain(entry: "AuditEntry") -> dict[str, Any]:
    return {
        "tenant": entry.tenant, "seq": entry.seq, "at": entry.at, "actor": entry.actor, "key_id": entry.key_id,
        "action": entry.action, "object": entry.object, "details": json.loads(entry.details), "hash": entry.hash.hex(),
    }  # fmt: skip


def _verified(found: "Verified") -> dict[str, Any]:
    return {
        "tenant": found.tenant, "entries": found.entries, "unsigned": found.unsigned,
        "head": {"seq": found.head.seq, "hash": found.head.hash.hex()},
        "problems": [{"seq": item.seq, "kind": item.kind, "message": item.message} for item in found.problems],
    }  # fmt: skip


def _tell(found: "Sequence[Verified]") -> None:
    if not found:
        typer.echo("the log is empty")
    for each in found:
        unsigned = f", {each.unsigned} of them not signed" if each.unsigned else ""
        state = f"{len(each.problems)} problems" if each.problems else "whole"
        typer.echo(f"{each.tenant}: {each.entries} entries{unsigned}, {state}")
        typer.echo(f"  head {each.tenant}:{each.head.seq}:{each.head.hash.hex()}")
        for problem in each.problems:
            typer.echo(f"  entry {problem.seq}: {problem.kind}: {problem.message}")


def _hex(data: bytes | None) -> str | None:
    return None if data is None else data.hex()


def _table(entries: "Sequence[AuditEntry]") -> None:
    printing.rows(_COLUMNS, [*map(_cells, entries)], nothing="no entries in this time", whole=("seq", "at"))


def _cells(entry: "AuditEntry") -> list[str]:
    at = entry.at.isoformat(sep=" ", timespec="seconds")
    details = "" if entry.details == "{}" else entry.details
    return [str(entry.seq), at, entry.actor, entry.key_id or "", entry.action, entry.object, details]
