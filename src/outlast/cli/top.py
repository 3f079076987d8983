"""`outlast top`: what happens now, redrawn once a second, straight from the database."""

# The backspaces in docstrings tell click to leave a paragraph's lines alone.
# Imports inside of functions: `outlast --help` has to be quick.
# ruff: noqa: D301, PLC0415

import asyncio
import signal
import sys
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer

from outlast.domain.acting import DEFAULT_TENANT, across_tenants, acting_for
from outlast.errors import DatabaseUnavailable

if TYPE_CHECKING:
    from rich.live import Live

    from outlast.settings import Settings
    from outlast.storage.postgres.pool import Pool
    from outlast.storage.postgres.top import Figures

#: Figures of five minutes need not be read each second.
_AGENTS_EVERY_SECONDS: Final = 5.0


def top(
    *,
    once: Annotated[bool, typer.Option("--once", help="Print one frame and end; so it does through a pipe.")] = False,
    every: Annotated[float, typer.Option(min=0.2, max=3600, help="Seconds between two frames.")] = 1.0,
    tenant: Annotated[str | None, typer.Option(help="Only runs of this tenant.  [default: all]")] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the figures of one frame as JSON, for programs.")
    ] = False,
) -> None:
    """Watch the queue, runs, models, workers and alerts live.

    Redrawn once a second from the database, so it works wherever that can be reached; no server has to run. Rates and
    costs are of the last minute, agents of the last five. Workers and models belong to all tenants. It costs the
    database one round trip a second. q or Ctrl-C ends it.

    \b
    Examples:
      outlast top
      outlast top --tenant acme --every 5
      outlast top --once
      DATABASE_URL=postgresql://localhost/app outlast top

    Next: `outlast runs list --status running`, `outlast inbox list`, `outlast alerts list`.
    """
    from outlast.cli import printing
    from outlast.cli.direct import change

    with acting_for(tenant or DEFAULT_TENANT), across_tenants() if tenant is None else nullcontext():
        if as_json:
            printing.json(change(_whole))
        elif once or not sys.stdout.isatty():
            _print(change(_whole))
        else:
            change(lambda pool, _settings: _Watch(pool, every).run())


async def _whole(pool: "Pool", _settings: "Settings | None" = None) -> "Figures":
    from outlast.storage.postgres.top import TopStore

    store = TopStore(pool)
    return await store.figures(await store.agents())


def _print(figures: "Figures") -> None:
    from rich.console import Console

    from outlast.cli.top_frame import frame

    Console().print(frame(figures, title=_title()))


def _title() -> str:
    return f"outlast top  {datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"


class _Watch:
    """Reads and draws until somebody ends it."""

    def __init__(self, pool: "Pool", every: float) -> None:
        from outlast.storage.postgres.top import TopStore

        self._store = TopStore(pool)
        self._every = every
        self._ended = asyncio.Event()
        #: The terminal has another size.
        self._redraw = asyncio.Event()
        self._agents_at = 0.0
        self._figures: Figures | None = None
        self._heard_at = _title()
        self._trouble: str | None = None

    async def run(self) -> None:
        """Draw on the whole terminal, and leave it as it was."""
        from rich.live import Live

        from outlast.cli.processes import stop_signals

        screen = Live(screen=True, auto_refresh=False)
        with stop_signals(self._ended.set), self._resizes(), _keys(self._ended), screen as live:
            while not self._ended.is_set():
                await self._read()
                self._draw(live)
                await self._pause(live)

    async def _read(self) -> None:
        now = asyncio.get_running_loop().time()
        try:
            agents = self._figures.agents if self._figures else ()
            if now >= self._agents_at:
                agents = await self._store.agents()
                self._agents_at = now + _AGENTS_EVERY_SECONDS
            self._figures = replace(await self._store.figures(), agents=agents)
            self._heard_at, self._trouble = _title(), None
        except DatabaseUnavailable as error:
            self._trouble = f"{error}: what follows is older"

    def _draw(self, live: "Live") -> None:
        from outlast.cli.top_frame import frame

        if self._figures is not None:
            live.update(frame(self._figures, title=self._heard_at, trouble=self._trouble), refresh=True)

    async def _pause(self, live: "Live") -> None:
        """Wait for the next frame, for the end, and for the terminal to be drawn on anew."""
        until = asyncio.get_running_loop().time() + self._every
        while not self._ended.is_set() and (left := until - asyncio.get_running_loop().time()) > 0:
            await _first(self._ended, self._redraw, seconds=left)
            if self._redraw.is_set():
                self._redraw.clear()
                self._draw(live)

    @contextmanager
    def _resizes(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGWINCH, self._redraw.set)
        try:
            yield
        finally:
            loop.remove_signal_handler(signal.SIGWINCH)


async def _first(*events: asyncio.Event, seconds: float) -> None:
    """Wait for one of them, no longer than so many seconds."""
    waiting = [asyncio.create_task(event.wait()) for event in events]
    try:
        await asyncio.wait(waiting, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


@contextmanager
def _keys(ended: asyncio.Event) -> Generator[None]:
    """Hear keys as they are pressed, where there is a keyboard: q ends."""
    if not sys.stdin.isatty():
        yield
        return
    import os
    import termios
    import tty

    loop, keyboard = asyncio.get_running_loop(), sys.stdin.fileno()
    before = termios.tcgetattr(keyboard)

    def pressed() -> None:
        try:
            key = os.read(keyboard, 64)
        # The terminal has gone.
        except OSError:
            key = b""
        if key in {b"q", b"Q", b"", b"\x1b"}:
            ended.set()

    # Ctrl-C stays a signal.
    tty.setcbreak(keyboard)
    loop.add_reader(keyboard, pressed)
    try:
        yield
    finally:
        loop.remove_reader(keyboard)
        termios.tcsetattr(keyboard, termios.TCSADRAIN, before)
