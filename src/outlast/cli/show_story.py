"""The story of a thread as text: a table for people, tab-separated lines for pipes, JSON lines for programs."""

import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import orjson

if TYPE_CHECKING:
    from outlast.domain.story import Entry, Story

_COLUMNS: Final = ("at", "run", "attempt", "kind", "text")
_SHORT_ID: Final = 8
_COLOURS: Final[Mapping[str, str]] = {
    "attempt.lost": "red", "attempt.taken": "red", "attempt.failed": "red", "run.cancel_requested": "yellow",
    "question.asked": "yellow", "question.expired": "yellow", "budget.stopped": "yellow", "review": "yellow",
    "effect": "cyan", "call": "dim", "step": "dim", "run.ended": "bold",
}  # fmt: skip


class Printer(Protocol):
    """Prints stories of one thread; told again, only what is new."""

    follows: bool

    def show(self, story: "Story") -> None:
        """Print it."""
        ...


def printer(*, as_json: bool, follow: bool) -> Printer:
    """Return the printer for whoever reads."""
    if as_json:
        return _Lines(_json, (), follows=follow)
    if not sys.stdout.isatty():
        return _Lines(_tabbed, _COLUMNS, follows=follow)
    return _Lines(_aligned, (), follows=True) if follow else _Table()


def plain(entry: "Entry") -> dict[str, Any]:
    """Return an entry as JSON has it."""
    shown: dict[str, Any] = {
        "at": entry.at, "kind": entry.kind, "run_id": entry.run_id, "attempt": entry.attempt, "epoch": entry.epoch,
        "text": entry.text, "facts": dict(entry.facts),
    }  # fmt: skip
    return shown if entry.content is None else {**shown, "content": dict(entry.content)}


class _Lines:
    """A line for each entry; an effect whose call has ended since is told again."""

    def __init__(self, line: Any, header: Sequence[str], *, follows: bool) -> None:
        self.follows = follows
        self._line = line
        self._header = header
        self._told: set[tuple[str, str, str]] = set()

    def show(self, story: "Story") -> None:
        if self._header:
            sys.stdout.write("\t".join(self._header) + "\n")
            self._header = ()
        for entry in story.entries:
            told = (entry.kind, entry.source, entry.text)
            if told not in self._told:
                self._told.add(told)
                sys.stdout.write(self._line(entry))
        if self.follows:
            sys.stdout.flush()


class _Table:
    """All of it at once, for a terminal."""

    follows = False

    def show(self, story: "Story") -> None:
        from rich.console import Console  # noqa: PLC0415 - not needed through a pipe
        from rich.markup import escape  # noqa: PLC0415 - as above
        from rich.table import Table  # noqa: PLC0415 - as above

        console = Console(highlight=False)
        for run in story.runs:
            error = f" ({run.error_code})" if run.error_code else ""
            times = "1 attempt" if run.attempts == 1 else f"{run.attempts} attempts"
            console.print(escape(f"run {run.run_id}  {run.agent}  {run.status}{error}, {times}"))
        grid = Table(box=None, pad_edge=False, header_style="bold")
        for name in _COLUMNS:
            grid.add_column(name, no_wrap=name != "text", overflow="fold")
        for entry in story.entries:
            colour = _COLOURS.get(entry.kind, "default")
            cells = [escape(cell) for cell in (*_cells(entry, short=True), _with_content(entry))]
            grid.add_row(*cells[:3], f"[{colour}]{cells[3]}[/]", cells[4])
        console.print(grid)


def _json(entry: "Entry") -> str:
    return orjson.dumps(plain(entry), option=orjson.OPT_APPEND_NEWLINE, default=str).decode()


def _tabbed(entry: "Entry") -> str:
    return "\t".join((*_cells(entry, short=False), _with_content(entry))) + "\n"


def _aligned(entry: "Entry") -> str:
    at, run, attempt, kind = _cells(entry, short=True)
    return f"{at}  {run:<{_SHORT_ID}}  {attempt:>2}  {kind:<20}  {_with_content(entry)}\n"


def _cells(entry: "Entry", *, short: bool) -> tuple[str, str, str, str]:
    run = "" if entry.run_id is None else str(entry.run_id)
    at = f"{entry.at.astimezone():%Y-%m-%d %H:%M:%S.%f}"[:-3] if short else entry.at.isoformat()
    return at, run[:_SHORT_ID] if short else run, "" if entry.attempt is None else str(entry.attempt), entry.kind


def _with_content(entry: "Entry") -> str:
    """Return the text, and what was said behind it; nothing in it steers a terminal, or ends a line."""
    if not entry.content:
        return entry.text
    said = orjson.dumps(dict(entry.content), default=str).decode("utf-8", "replace")
    return f"{entry.text}  {''.join(c if c.isprintable() else c.encode('unicode_escape').decode() for c in said)}"
