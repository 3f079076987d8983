"""What benchmarks share: options, the event loop, and what is printed - machine, command, tables, targets met."""

import argparse
import asyncio
import os
import platform
import shlex
import sys
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import psutil
import uvloop
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

# A file or a pipe has no width of its own; 80 columns would cut names.
console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
# A machine that is busier than this before we start measures its other work, too.
_IDLE_PERCENT = 20
_LOOPS = {"uvloop": uvloop.new_event_loop, "asyncio": asyncio.new_event_loop}

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """A figure that was promised; `unit` is printed right behind it."""

    name: str
    measured: float
    limit: float
    at_least: bool
    unit: str = ""

    @property
    def met(self) -> bool:
        return self.measured >= self.limit if self.at_least else self.measured <= self.limit


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser with the options of every benchmark."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--loop", choices=_LOOPS, default="uvloop", help="event loop (%(default)s)")
    made.add_argument("--assert", dest="strict", action="store_true", help="fail when a target is missed")
    return made


def run(main: Coroutine[Any, Any, T], *, loop: str) -> T:
    """Run a coroutine on the event loop of that name."""
    # A tracer that the environment asks for would send every run to a server.
    os.environ["LANGSMITH_TRACING"] = "false"
    with asyncio.Runner(loop_factory=_LOOPS[loop]) as runner:
        return runner.run(main)


def heading(title: str, facts: Mapping[str, str]) -> None:
    """Print what is measured, on what, and how to repeat it."""
    console.print(f"[bold]{title}[/bold]")
    grid = Table.grid(padding=(0, 2))
    for name, fact in {"machine": machine(), **facts, "command": command()}.items():
        grid.add_row(f"[dim]{name}[/dim]", escape(fact))
    console.print(grid)
    busy = psutil.cpu_percent(interval=0.5)
    if busy > _IDLE_PERCENT:
        console.print(f"[yellow]Other programs use {busy:.0f}% of the CPUs: absolute figures will be too low.[/yellow]")


def machine() -> str:
    memory = psutil.virtual_memory().total / 2**30
    python = f"Python {platform.python_version()}"
    return f"{os.cpu_count()} x {_cpu_model()}, {memory:.0f} GiB, {platform.system()} {platform.release()}, {python}"


def command() -> str:
    return shlex.join(["python", os.path.relpath(sys.argv[0]), *sys.argv[1:]])


def versions(*packages: str) -> str:
    return ", ".join(f"{package} {_version(package)}" for package in packages)


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table: names to the left, figures to the right."""
    printed = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, title_style="bold")
    for index, column in enumerate(columns):
        printed.add_column(column, justify="right" if index else "left", no_wrap=True)
    for row in rows:
        printed.add_row(*row)
    console.print(printed)


def bars(title: str, groups: Mapping[str, Mapping[str, float]], *, unit: str) -> None:
    """Print bars of one scale: a group of them for each place on the axis."""
    console.print(f"[bold]{title}[/bold]")
    largest = max(value for group in groups.values() for value in group.values())
    width = max(10, min(console.width, 100) - 48)
    grid = Table.grid(padding=(0, 1))
    for place, group in groups.items():
        for index, (name, value) in enumerate(group.items()):
            bar = "█" * max(1, round(value / largest * width))
            colour = "cyan" if index == 0 else "magenta"
            label = place if index == 0 else ""
            grid.add_row(label, f"[dim]{name}[/dim]", f"[{colour}]{bar}[/{colour}] {figure(value)} {unit}")
    console.print(grid)


def figure(value: float) -> str:
    """Format with three significant digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def verdict(targets: Sequence[Target], *, strict: bool) -> int:
    """Print how the targets fared and return the exit status: failure only when it was asked for."""
    if not targets:
        console.print("No target is about a measurement with these options.")
        return int(strict)
    table(
        "Targets",
        ["", "measured", "target", ""],
        [
            [
                target.name,
                f"{figure(target.measured)}{target.unit}",
                f"{'at least' if target.at_least else 'at most'} {figure(target.limit)}{target.unit}",
                "[green]met[/green]" if target.met else "[red]missed[/red]",
            ]
            for target in targets
        ],
    )
    return int(strict and not all(target.met for target in targets))


@contextmanager
def progress(total: int) -> Iterator[Callable[[], None]]:
    """Show a progress bar; the function given advances it.

    It draws only then: a bar that draws by itself takes CPU time from what is measured.
    """
    columns = (TextColumn("measuring"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, auto_refresh=False) as bar:
        task = bar.add_task("", total=total)
        yield lambda: bar.update(task, advance=1, refresh=True)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    models = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"
