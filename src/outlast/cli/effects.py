"""`outlast effects`: look at writes to the outside, straight in the database; no server has to run."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# ruff: noqa: D301

import sys
from collections.abc import Awaitable, Callable
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, TypeVar
from uuid import UUID

import typer

from outlast.cli import show_effects
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.errors import InvalidInput, NotFound

if TYPE_CHECKING:
    from outlast.storage.postgres.effects import EffectStore

T = TypeVar("T")
app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Look at writes to the outside (`outlast.effect`).")
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Tenant = Annotated[str, typer.Option(help="Whose effects.")]
_SHORTEST = 6


class EffectState(StrEnum):
    """Where an effect is."""

    INTENT = "intent"
    DONE = "done"
    FAILED = "failed"
    UNKNOWN = "unknown"


@app.command("list")
def list_effects(
    *,
    state: Annotated[EffectState | None, typer.Option(help="Only effects in this state.")] = None,
    name: Annotated[str | None, typer.Option(help="Only effects of this name.")] = None,
    run: Annotated[str | None, typer.Option(metavar="ID", help="Only effects of this run.")] = None,
    tenant: Tenant = DEFAULT_TENANT,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="At most this many.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List effects, newest first.

    A table on a terminal; through a pipe, lines of tab-separated columns.

    \b
    intent    announced; its run is calling the receiver right now
    done      applied; its result is kept, and the receiver is never called again
    failed    certainly not applied: refused, or the receiver was not reached
    unknown   begun, and nobody knows whether it was applied: its process died, or the call broke

    \b
    Examples:
      outlast effects list
      outlast effects list --state unknown       what may need a person: see `effects show`
      outlast effects list --name charge --json
    """
    run_id = None if run is None else _run_id(run)
    chosen = None if state is None else state.value
    found = _call(tenant, lambda store: store.find(state=chosen, name=name, run_id=run_id, limit=limit))
    if as_json:
        show_effects.json(found)
    else:
        show_effects.table(found)


@app.command("show")
def show_effect(
    key: Annotated[str, typer.Argument(metavar="KEY", help="The key, or its beginning, as `effects list` shows it.")],
    *,
    tenant: Tenant = DEFAULT_TENANT,
    as_json: AsJson = False,
) -> None:
    """Show everything about one effect.

    Its state, its arguments, what its last call ended with, what a person said, and what can be done next. The key is
    what the receiver got as the idempotency key: look there with it.

    \b
    Examples:
      outlast effects show 63d2b70e5619
      outlast effects show 63d2b70e56192a2e54e7e8c78a9591f70bd5d41ed8b0a7c1f2e3d4c5b6a79887 --json
    """
    if len(key) < _SHORTEST:
        msg = f"{key!r} is too short; give at least the first {_SHORTEST} characters of the key"
        raise InvalidInput(msg, field="key")
    found = _call(tenant, lambda store: store.show(key))
    if not found:
        raise NotFound("effect", key, hint="; see `outlast effects list`")
    if len(found) > 1:
        msg = f"more than one effect has a key that begins with {key!r}; give more of it"
        raise InvalidInput(msg, field="key")
    if as_json:
        show_effects.json(found[0])
    else:
        sys.stdout.write(show_effects.details(found[0]))


def _run_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        msg = f"{text!r} is no run id; see `outlast runs list`"
        raise InvalidInput(msg, field="run") from error


def _call(tenant: str, action: "Callable[[EffectStore], Awaitable[T]]") -> T:
    from outlast.cli.direct import look  # noqa: PLC0415 - `outlast --help` needs no database driver
    from outlast.storage.postgres.effects import EffectStore  # noqa: PLC0415 - as above

    with acting_for(tenant):
        return look(lambda pool: action(EffectStore(pool)))
