"""Rows as text: a table on a terminal, tab-separated lines through a pipe, JSON for programs."""

import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

import orjson

_UNITS: Final = ("B", "KiB", "MiB", "GiB", "TiB")
_STEP: Final = 1024
_ANY_WIDTH: Final[Mapping[str, int]] = {}


def json(value: Any) -> None:
    """Print a value, dataclasses included, as JSON."""
    text = orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE, default=str)
    sys.stdout.write(text.decode())


def rows(
    columns: Sequence[str],
    found: Sequence[Sequence[str]],
    *,
    nothing: str,
    whole: Iterable[str] = (),
    figures: Iterable[str] = (),
    widest: Mapping[str, int] = _ANY_WIDTH,
    colour: Callable[[int, str], str | None] | None = None,
) -> None:
    """Print a line for each row.

    What follows is for a terminal alone. Columns in `whole` are there to be copied, and are never cut; `figures` stand
    on the right; what is longer than its column's `widest` is shortened, everything else goes on in the next line.
    `colour` says in which one a cell is, by the place of its row and its column.
    """
    cleaned = [[cell.replace("\t", " ").replace("\n", " ") for cell in cells] for cells in found]
    if not sys.stdout.isatty():
        for cells in (columns, *cleaned):
            sys.stdout.write("\t".join(cells) + "\n")
        return
    from rich.console import Console  # noqa: PLC0415 - not needed through a pipe
    from rich.table import Table  # noqa: PLC0415 - as above
    from rich.text import Text  # noqa: PLC0415 - as above

    if not cleaned:
        Console().print(nothing)
        return
    kept, right = frozenset(whole), frozenset(figures)
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        grid.add_column(
            name.replace("_", " "),
            justify="right" if name in right else "left",
            no_wrap=name in kept or name in right,
            overflow="ignore" if name in kept else "fold",
        )
    for place, cells in enumerate(cleaned):
        styles = [(colour(place, name) if colour else None) or "" for name in columns]
        shown = [_shortened(cell, widest.get(name)) for name, cell in zip(columns, cells, strict=True)]
        grid.add_row(*map(Text, shown, styles))
    Console().print(grid)


def _shortened(text: str, width: int | None) -> str:
    return text if width is None or len(text) <= width else f"{text[:width]}..."


def facts(lines: Sequence[tuple[str, object]]) -> None:
    """Print what is known of one thing, a line each; what is empty is left out."""
    width = max((len(name) for name, value in lines if value not in {None, ""}), default=0) + 2
    for name, value in lines:
        if value not in {None, ""}:
            sys.stdout.write(f"{name:<{width}}{value}\n")


def block(title: str, value: Any) -> None:
    """Print a value as JSON under a title."""
    sys.stdout.write(f"{title}\n{orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()}\n")


def moment(at: datetime | None) -> str:
    """Return it in this machine's time."""
    return "" if at is None else f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def size(count: int) -> str:
    """Return bytes as people read them."""
    amount, unit = float(count), 0
    while amount >= _STEP and unit < len(_UNITS) - 1:
        amount /= _STEP
        unit += 1
    return f"{count} B" if unit == 0 else f"{amount:.1f} {_UNITS[unit]}"
