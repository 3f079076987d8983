r"""Lines as JSON, or for people; in both nothing that was logged can forge a line or drive a terminal.

Control characters, and those that turn the direction of writing, are shown as `\x1b`. A line break ends a line for
people and stands as JSON has it in JSON. Secrets are taken out of every text; see `domain.redaction`.
"""

import json
import logging
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final, cast
from uuid import UUID

import orjson
import structlog

from outlast.domain.redaction import MASK, redacted, secret_name
from outlast.monitoring.logs.line import Line

# C0 but tab and line feed, DEL, C1, line and paragraph separators, marks of direction, the byte order mark.
_CONTROL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff]"
)
_BREAKS: Final = re.compile("[\t\n]")
#: What of the surroundings is shown, and how it is called there.
_WHERE: Final[Mapping[str, str]] = {
    "thread_id": "thread_id", "run_id": "run_id", "tenant": "tenant", "user_id": "user", "agent": "agent",
    "node": "node", "step": "step", "tool": "tool", "epoch": "epoch", "trace_id": "trace_id",
    "request_id": "request_id",
}  # fmt: skip
_WHERE_ITEMS: Final = tuple(_WHERE.items())
_LEVELS: Final[Mapping[int, str]] = {
    logging.DEBUG: "debug", logging.INFO: "info", logging.WARNING: "warning", logging.ERROR: "error",
    logging.CRITICAL: "critical",
}  # fmt: skip
_SHORT: Final = 200
_DEEPEST: Final = 8
_EMPTY: Final = frozenset({"user", "tool", "error_class", "error_message", "model", "provider"})


def as_json(line: Line) -> bytes:
    """Return one object in one line."""
    shown = {"timestamp": _iso(line.at), "level": _level(line.level), "event": _text(line.event), **_fields(line)}
    if line.exception:
        shown["exception"] = _text(line.exception)
    try:
        return orjson.dumps(shown, option=orjson.OPT_APPEND_NEWLINE | orjson.OPT_NON_STR_KEYS)
    except TypeError:
        # Numbers of more than 64 bits, and halves of characters.
        return json.dumps(shown, default=str).encode() + b"\n"


def for_people(*, colors: bool) -> Callable[[Line], bytes]:
    """Return what renders a line for a terminal."""
    renderer: Any = structlog.dev.ConsoleRenderer(colors=colors, pad_event_to=0, pad_level=False, sort_keys=False)

    def render(line: Line) -> bytes:
        clock = datetime.fromtimestamp(line.at).astimezone().strftime("%H:%M:%S")
        shown = {"timestamp": clock, "level": _level(line.level), "event": _one_line(_text(line.event))}
        shown |= {_one_line(name): _in_one_line(value) for name, value in _fields(line).items()}
        text: str = renderer(None, "", shown)
        if line.exception:
            # Indented, so that no line of it can pass for one of ours.
            text += "\n" + "\n".join(f"    {part}" for part in _text(line.exception).split("\n"))
        return text.encode("utf-8", "backslashreplace") + b"\n"

    return render


def _fields(line: Line) -> dict[str, Any]:
    shown: dict[str, Any] = {}
    where = line.where
    for name, called in _WHERE_ITEMS:
        value = where.get(name)
        if value is not None:
            shown[called] = _text(value) if type(value) is str else _shown(value)
    for name, value in line.fields.items():
        called, secret = _name(name)
        if type(value) is str and not secret:
            shown[called] = _text(value)
        elif value is not None:
            shown[called] = MASK if secret and value and not isinstance(value, bool) else _shown(value)
        # What an event does not know, its surroundings may.
        elif name not in _EMPTY:
            shown.setdefault(called, None)
    return shown


def _shown(value: Any, depth: int = 0) -> Any:
    """Return a value as it is written: plain, without secrets and control characters."""
    if value is None or isinstance(value, bool | int | float | UUID):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, Mapping) and depth < _DEEPEST:
        entries = cast("Mapping[Any, Any]", value).items()
        return {
            called: MASK if secret and inner else _shown(inner, depth + 1)
            for (called, secret), inner in _named(entries)
        }
    if isinstance(value, list | tuple | set | frozenset) and depth < _DEEPEST:
        return [_shown(inner, depth + 1) for inner in cast("list[Any]", value)]
    return _text(str(cast("object", value)))


def _named(entries: Iterable[tuple[Any, Any]]) -> Iterator[tuple[tuple[str, bool], Any]]:
    for name, value in entries:
        yield _name(str(name)), value


@lru_cache(maxsize=1024)
def _name(name: str) -> tuple[str, bool]:
    """Return a field's name as it is written, and whether such a field holds a secret."""
    return _text(name), secret_name(name)


def _text(text: str) -> str:
    return _short_text(text) if len(text) <= _SHORT else _clean(text)


def _clean(text: str) -> str:
    return _CONTROL.sub(_escaped, redacted(text))


# Ids, names and messages are the same in line after line.
_short_text: Final = lru_cache(maxsize=4096)(_clean)


def _one_line(text: str) -> str:
    return _BREAKS.sub(_escaped, text)


def _in_one_line(value: Any) -> Any:
    if isinstance(value, UUID):
        return str(value)
    return _one_line(value) if isinstance(value, str) else value


def _escaped(match: "re.Match[str]") -> str:
    return match[0].encode("unicode_escape").decode()


def _level(level: int) -> str:
    return _LEVELS.get(level) or logging.getLevelName(level).lower()


def _iso(at: float) -> str:
    return f"{_second(int(at))}.{int(at % 1 * 1000):03d}Z"


@lru_cache(maxsize=4)
def _second(at: int) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%S")
