"""Effects as text: tables for people, tab-separated lines for pipes, JSON for programs."""

import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from outlast.cli import printing

if TYPE_CHECKING:
    from outlast.domain.effect import EffectView

_COLUMNS: Final = ("key", "name", "state", "calls", "agent", "run", "begun", "error")
_COLOURS: Final = {"intent": "cyan", "done": "green", "failed": "red", "unknown": "yellow"}
_SHORT_KEY: Final = 12


def json(value: "EffectView | Sequence[EffectView]") -> None:
    """Print an effect, or a list of them, as JSON."""
    plain: Any = [_plain(item) for item in value] if isinstance(value, Sequence) else _plain(value)
    text = orjson.dumps(plain, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    sys.stdout.write(text.decode())


def table(effects: "Sequence[EffectView]") -> None:
    """Print a line for each effect."""
    lines = [*map(_cells, effects)]

    def colour(place: int, column: str) -> str | None:
        return _COLOURS[effects[place].state] if column == "state" else None

    # Keys and ids are there to be copied; the beginning of a key is enough.
    whole = ("key", "state", "run")
    printing.rows(_COLUMNS, lines, nothing="no effects", whole=whole, widest={"key": _SHORT_KEY}, colour=colour)


def details(effect: "EffectView") -> str:
    """Return all there is to know, and what can be done."""
    lines = {
        "key": effect.key,
        "effect": effect.name,
        "state": effect.state,
        "own key": effect.business_key or "",
        "agent": effect.agent,
        "thread": effect.thread_id or "",
        "run": f"{effect.run_id} ({effect.run_status or 'deleted'})",
        "calls": str(effect.calls),
        "begun": _time(effect.begun_at),
        "ended": _time(effect.ended_at),
        "key dies": _time(effect.key_expires_at),
        "error": effect.error or "",
        "arguments": effect.arguments.decode(),
        "answer": f"{effect.answer.decode()} ({_time(effect.answered_at)})" if effect.answer else "",
    }
    text = "".join(f"{name:<11}{value}\n" for name, value in lines.items() if value)
    hint = _next_step(effect)
    return f"{text}\n{hint}\n" if hint else text


def _next_step(effect: "EffectView") -> str:
    if effect.state != "unknown":
        return ""
    if effect.run_status == "waiting":
        return (
            "Nobody knows whether it was applied. Look at the receiver with the key, then say it:\n"
            f'  outlast runs answer {effect.run_id} \'{{"applied": true, "result": null}}\'\n'
            f"  outlast runs answer {effect.run_id} '{{\"applied\": false}}'      calls it again, with the same key"
        )
    if effect.run_status in {"queued", "blocked", "running"}:
        return "Its run goes on by itself, and decides by what the effect declares (on_unknown)."
    if effect.run_status == "interrupted":
        return 'Its run asked about it: the answer is another run of its thread, with command.resume {"applied": ...}.'
    if effect.run_status == "failed":
        return f"Its run has failed; it can go on, and ask: outlast runs replay {effect.run_id}"
    return "Its run has ended, so nobody will call it again; look at the receiver with the key."


def _plain(effect: "EffectView") -> dict[str, Any]:
    plain = asdict(effect)
    for name in ("arguments", "answer"):
        plain[name] = None if plain[name] is None else orjson.loads(plain[name])
    return plain


def _cells(effect: "EffectView") -> list[str]:
    cells = [
        effect.key, effect.name, effect.state, str(effect.calls), effect.agent, str(effect.run_id),
        _time(effect.begun_at), effect.error or "",
    ]  # fmt: skip
    return [cell.replace("\t", " ").replace("\n", " ") for cell in cells]


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
