"""Named SQL: each statement lives in `sql/<concept>.sql` under `-- name: <statement>`.

The comment above a statement says why it is written that way. `Queries("runs").claim` is
the text of statement `claim` in `sql/runs.sql`; an unknown name fails when it is asked for,
and a test asks for all of them and prepares each one against the migrated schema.
What several statements of a file have in common stands once, under `-- part: <part>`, and
takes the place of the lines `--include <part>`, also in other parts.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from itertools import count
from typing import TypeVar

T = TypeVar("T")

_NAMELESS = re.compile(r"%s")
_PARAMETER = re.compile(r"%\((\w+)\)[sb]")
# Comments that choose parts of a statement; see `numbered`.
_MARKERS = ("--if ", "--end", "--include ")
_NAME = re.compile(r"^-- (name|part): (\w+)\s*$", re.MULTILINE)
_INCLUDE = re.compile(r"^--include (\w+)$", re.MULTILINE)


class Queries:
    """The statements of one concept, as attributes."""

    def __init__(self, concept: str) -> None:
        self.concept = concept
        self._statements = statements(concept)

    def __getattr__(self, name: str) -> bytes:
        try:
            return self._statements[name]
        except KeyError:
            msg = f"sql/{self.concept}.sql has no statement named {name!r}"
            raise AttributeError(msg) from None


@cache
def statements(concept: str) -> dict[str, bytes]:
    """Return the statements of `sql/<concept>.sql` by name, comments stripped."""
    text = files("outlast.storage.postgres").joinpath("sql", f"{concept}.sql").read_text(encoding="utf-8")
    _, *found = _NAME.split(text)
    sections = list(zip(found[::3], found[1::3], map(_without_comments, found[2::3]), strict=True))
    parts = {name: body for kind, name, body in sections if kind == "part"}
    return {name: _with_parts(body, parts).rstrip(";").encode() for kind, name, body in sections if kind == "name"}


def _with_parts(body: str, parts: Mapping[str, str]) -> str:
    return _INCLUDE.sub(lambda include: _with_parts(parts[include[1]], parts), body)


def _without_comments(statement: str) -> str:
    lines = (line for line in statement.splitlines() if not line.lstrip().startswith("--") or line.startswith(_MARKERS))
    return "\n".join(lines).strip().rstrip(";")


@dataclass(frozen=True, slots=True)
class Numbered:
    """A statement with `$1` parameters, for psycopg's raw cursors.

    psycopg parses named parameters anew at each execution of a statement above 4 KB (0.3 ms for the group commit).
    """

    text: bytes
    names: tuple[str, ...]

    def arguments(self, parameters: Mapping[str, T]) -> list[T]:
        """Return the parameters in the statement's order."""
        return [parameters[name] for name in self.names]


@cache
def numbered_text(text: bytes | str) -> Numbered:
    """Return a text with its named parameters numbered in order of appearance; nameless ones are named 0, 1, ..."""
    given = text.decode() if isinstance(text, bytes) else text
    places = count()
    given = _NAMELESS.sub(lambda _: f"%({next(places)})s", given)
    names = tuple(dict.fromkeys(_PARAMETER.findall(given)))
    return Numbered(_PARAMETER.sub(lambda match: f"${names.index(match[1]) + 1}", given).encode(), names)


@cache
def numbered(concept: str, name: str, *flags: str) -> Numbered:
    """Return a statement with its named parameters numbered in order of appearance.

    Lines between `--if FLAG` (or `--if not FLAG`) and `--end` are kept when the flag is given (or is not).
    """
    return numbered_text(_selected(statements(concept)[name].decode(), frozenset(flags)))


def _selected(text: str, flags: frozenset[str]) -> str:
    open_parts: list[bool] = []
    lines: list[str] = []
    for line in text.splitlines():
        if line.startswith("--if not "):
            open_parts.append(line.removeprefix("--if not ") not in flags)
        elif line.startswith("--if "):
            open_parts.append(line.removeprefix("--if ") in flags)
        elif line.startswith("--end"):
            open_parts.pop()
        elif all(open_parts):
            lines.append(line)
    return "\n".join(lines)
