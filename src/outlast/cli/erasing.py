"""`outlast erase` and `outlast export`: what belongs to somebody, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

import os
import sys
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.domain.erasure import Receipt, Scope, Subject
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from outlast.settings import Settings
    from outlast.storage.postgres.audit import AuditLog
    from outlast.storage.postgres.erasure import Erasure
    from outlast.storage.postgres.pool import Pool

User = Annotated[str | None, typer.Option(help="A user: their threads, and what names them elsewhere.")]
Thread = Annotated[str | None, typer.Option(help="One thread.")]
Tenant = Annotated[
    str | None, typer.Option(help="Alone: a whole tenant. With --user or --thread: whose user or thread that is.")
]
Namespaces = Annotated[
    list[str] | None,
    typer.Option("--namespace", metavar="A/B", help="A namespace of the store that belongs to it, with all below it."),
]


def erase(
    *,
    user: User = None,
    thread: Thread = None,
    tenant: Tenant = None,
    namespace: Namespaces = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")] = False,
) -> None:
    """Erase what belongs to a user, a thread or a tenant.

    Threads with their runs, states and events, crons, keys, items of the store that lie in a namespace with the name as
    a label, cached answers. What was used stays counted, without the name. Late writes of runs that are being executed
    are refused. Prints a receipt, which is kept as well and names nobody. A tenant's keys of encryption go too, so that
    copies of the database can be read by nobody.

    Before it erases a whole tenant, have its clients stopped: `outlast switch off tenant`.

    \b
    Examples:
      outlast erase --user ann --dry-run
      outlast erase --user ann --tenant acme --namespace memories/ann
      outlast erase --thread order-7 --yes
      outlast erase --tenant acme
    """
    subject, of = _subject(user, thread, tenant, namespace)

    async def count(pool: "Pool", settings: "Settings") -> dict[str, int]:
        with acting_for(of):
            return await _erasure(pool, settings).plan(subject)

    async def remove(pool: "Pool", settings: "Settings") -> Receipt:
        with acting_for(of):
            return await _erasure(pool, settings).erase(subject)

    from outlast.cli.direct import change  # noqa: PLC0415 - `outlast --help` loads nothing heavy

    if dry_run:
        _tell_plan(change(count), subject, as_json=as_json)
        return
    if not yes:
        _confirm(change(count), subject)
    _tell(change(remove), as_json=as_json)


def export(
    *,
    user: User = None,
    thread: Thread = None,
    tenant: Tenant = None,
    namespace: Namespaces = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Into this new file.  [default: stdout]")
    ] = None,
) -> None:
    """Write out what belongs to a user, a thread or a tenant.

    JSON lines with every row that `outlast erase` would find, decrypted: `{"table": ..., "row": ...}`. The first line
    says whose data it is; the last one is `{"end": ...}`, or the file is not whole.

    \b
    Examples:
      outlast export --user ann > ann.jsonl
      outlast export --tenant acme --output acme.jsonl
    """
    subject, of = _subject(user, thread, tenant, namespace)

    async def write(pool: "Pool", settings: "Settings") -> None:
        from outlast.agents.codec import Codec  # noqa: PLC0415 - `outlast --help` loads nothing heavy
        from outlast.agents.exporting import exported_lines  # noqa: PLC0415 - `outlast --help` loads nothing heavy
        from outlast.storage.postgres.export import exported_rows  # noqa: PLC0415 - `outlast --help` loads nothing heavy

        with acting_for(of), _target(output) as file:
            async for line in exported_lines(exported_rows(pool, subject), subject, Codec(), tenant=of):
                file.write(line)
            await _audit(pool, settings).record("data.exported", f"{subject.scope}:{subject.name}")

    from outlast.cli.direct import change  # noqa: PLC0415 - `outlast --help` loads nothing heavy

    if output is not None and output.exists():
        raise InvalidInput(f"{output} is there already; name another file", field="output")
    change(write)


def _target(output: Path | None) -> AbstractContextManager[IO[bytes]]:
    if output is None:
        return nullcontext(sys.stdout.buffer)
    # Its owner alone may read it; a file that is there is not overwritten.
    return os.fdopen(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb")


def _subject(
    user: str | None, thread: str | None, tenant: str | None, namespaces: list[str] | None
) -> tuple[Subject, str]:
    """Return whose data it is, and the tenant for which to act."""
    if user is not None and thread is not None:
        raise InvalidInput("give either --user or --thread", field="user")
    places = tuple(tuple(text.strip("/").split("/")) for text in namespaces or ())
    of = tenant if tenant is not None else DEFAULT_TENANT
    if user is not None:
        return Subject(scope=Scope.USER, name=user, namespaces=places), of
    if thread is not None:
        return Subject(scope=Scope.THREAD, name=thread, namespaces=places), of
    if tenant is None:
        raise InvalidInput("say whose data: --user NAME, --thread ID or --tenant NAME", field="user")
    return Subject(scope=Scope.TENANT, name=tenant, namespaces=places), of


def _audit(pool: "Pool", settings: "Settings") -> "AuditLog":
    from outlast.storage.postgres.audit import AuditLog  # noqa: PLC0415 - `outlast --help` loads nothing heavy

    return AuditLog(pool, settings.audit.key.reveal().encode(), nobody="cli")


def _erasure(pool: "Pool", settings: "Settings") -> "Erasure":
    from outlast.agents.checkpoints import erasing  # noqa: PLC0415 - `outlast --help` loads nothing heavy
    from outlast.calls.cache_redis import clearing  # noqa: PLC0415 - `outlast --help` loads nothing heavy
    from outlast.storage.postgres.erasure import Erasure  # noqa: PLC0415 - `outlast --help` loads nothing heavy
    from outlast.storage.postgres.threads import ThreadStore  # noqa: PLC0415 - `outlast --help` loads nothing heavy

    clear = clearing(settings.calls.cache.redis_url)
    return Erasure(pool, ThreadStore(pool, erasing), _audit(pool, settings), forget_cache=clear)


def _confirm(plan: Mapping[str, int], subject: Subject) -> None:
    """Ask for the name; raises InvalidInput where there is nobody to ask, Abort when it is another one."""
    if not sys.stdin.isatty():
        raise InvalidInput("there is nobody to ask; say --yes, or look first with --dry-run", field="yes")
    typer.echo(f"{sum(plan.values()):,} rows of {subject.scope} {subject.name} will be erased for good.", err=True)
    if typer.prompt(f"Write the name of the {subject.scope} to go on", err=True) != subject.name:
        typer.echo("that is another name; nothing was erased", err=True)
        raise typer.Abort


def _tell_plan(plan: Mapping[str, int], subject: Subject, *, as_json: bool) -> None:
    if as_json:
        _json({"scope": subject.scope.value, "name": subject.name, "rows": dict(plan)})
        return
    _counts(plan)
    typer.echo(f"{sum(plan.values()):,} rows would be erased; nothing was changed")


def _tell(receipt: Receipt, *, as_json: bool) -> None:
    if as_json:
        _json(receipt.as_json())
        return
    _counts(receipt.removed)
    for table, why in receipt.kept.items():
        typer.echo(f"kept  {table}: {why}")
    typer.echo(f"erasure {receipt.id}: {sum(receipt.removed.values()):,} rows of {receipt.scope} {receipt.subject}")


def _counts(counts: Mapping[str, int]) -> None:
    for table, count in sorted(counts.items()):
        typer.echo(f"{count:>9,}  {table}")


def _json(value: Any) -> None:
    from outlast.cli import printing  # noqa: PLC0415 - `outlast --help` loads nothing heavy

    printing.json(value)
