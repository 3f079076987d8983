"""`outlast logs`: the whole story of a thread, straight from the database; no server and no log platform is needed."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import asyncio
import os
import sys
import time
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

import typer

from outlast.cli.usage import moment_of
from outlast.domain.acting import DEFAULT_TENANT, acting_for
from outlast.errors import InvalidInput

if TYPE_CHECKING:
    from datetime import datetime

    from outlast.cli.show_story import Printer
    from outlast.storage.postgres.pool import Pool

_FOLLOW_SECONDS: Final = 1.0
# A long story that is read again and again must not keep the database busy.
_REST: Final = 10


def logs(
    thread: Annotated[str, typer.Argument(metavar="THREAD_ID", help="The thread's id.")],
    *,
    run: Annotated[str | None, typer.Option(metavar="ID", help="Only this run of it.")] = None,
    since: Annotated[str | None, typer.Option(help="30m, 24h, 7d, 4w, or a time as 2026-01-31.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    content: Annotated[
        bool, typer.Option("--content", help="With inputs, outputs, arguments, answers and messages of errors.")
    ] = False,
    tenant: Annotated[str, typer.Option(help="Whose thread.")] = DEFAULT_TENANT,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object per line, for programs.")] = False,
) -> None:
    """Tell the whole story of a thread.

    Its runs and their attempts, steps, model calls, effects, decisions, questions, and who answered them, in order of
    time. It is read from the database alone: it is there without a log platform, and for what nobody has watched. A
    table on a terminal; through a pipe, lines of tab-separated columns.

    What was said is left out unless --content asks for it; encrypted content needs its keys then.

    \b
    Examples:
      outlast logs support-7
      outlast logs support-7 --follow
      outlast logs support-7 --since 1h --json | jq 'select(.kind == "effect")'
      outlast logs support-7 --run 0199c1d2-7a3b-7e0a-8002-5d8f2f1a9c3b --content

    Next: `outlast runs show ID` and `outlast effects show KEY` say what can be done.
    """
    run_id, after = None if run is None else _run_id(run), None if since is None else moment_of(since)
    from outlast.cli.direct import look
    from outlast.cli.show_story import printer

    async def tell(pool: "Pool") -> None:
        await _tell(pool, thread, printer(as_json=as_json, follow=follow), run_id, after, content=content)

    try:
        with acting_for(tenant):
            look(tell)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever reads has seen enough; what is left in the buffer must not be written at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


async def _tell(
    pool: "Pool", thread: str, printer: "Printer", run_id: UUID | None, since: "datetime | None", *, content: bool
) -> None:
    from outlast.monitoring.story import story_of

    while True:
        began = time.monotonic()
        story = await story_of(pool, thread, content=content, run_id=run_id, since=since)
        printer.show(story)
        if not printer.follows:
            return
        await asyncio.sleep(max(_FOLLOW_SECONDS, _REST * (time.monotonic() - began)))


def _run_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        msg = f"{text!r} is no run id; see `outlast runs list`"
        raise InvalidInput(msg, field="run") from error
