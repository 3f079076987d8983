"""Questions as text: tables for people, tab-separated lines for pipes, JSON for programs."""

import sys
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

import orjson

from outlast.cli import printing

if TYPE_CHECKING:
    from outlast.domain.question import Question

_COLUMNS: Final = ("id", "status", "kind", "question", "agent", "asked", "due", "assignee")
_COLOURS: Final = {"open": "yellow", "answered": "green", "expired": "red", "withdrawn": "dim"}
_WIDEST: Final = 60


def table(questions: "Sequence[Question]", total: int) -> None:
    """Print a line for each question, and how many there are beyond them."""

    def colour(place: int, column: str) -> str | None:
        question = questions[place]
        if column == "due":
            return "red" if question.overdue else None
        return _COLOURS[question.status] if column == "status" else None

    lines = [*map(_cells, questions)]
    printing.rows(
        _COLUMNS, lines, nothing="no questions", whole=("id", "status"), widest={"question": _WIDEST}, colour=colour
    )
    if total > len(questions) and sys.stdout.isatty():
        sys.stdout.write(f"{total - len(questions):,} more; see --limit and --offset\n")


def details(question: "Question") -> str:
    """Return all that a decision needs, and what can be done."""
    lines = {
        "question": str(question.id),
        "status": question.status,
        "kind": question.kind,
        "agent": question.agent,
        "thread": question.thread_id,
        "run": f"{question.run_id}{f', started by {question.requester}' if question.requester else ''}",
        "asked": _time(question.asked_at),
        "due": _due(question),
        "allowed": ", ".join(question.allowed),
        "by": _who(question),
        "hash": question.hash,
        "links": _links(question.links),
    }
    text = "".join(f"{name:<11}{_safe(value)}\n" for name, value in lines.items() if value)
    return text + "".join(_parts(question)) + _next_step(question)


def _parts(question: "Question") -> list[str]:
    parts = [f"\n{_safe(question.question)}\n"]
    if question.reasons:
        parts.append("\nwhy\n" + "".join(f"  {_safe(why.code)}: {_safe(why.text)}\n" for why in question.reasons))
    parts.append(f"\nwhat is approved\n{_json(question.subject)}\n")
    if question.diff:
        diff = _safe(question.diff) if isinstance(question.diff, str) else _json(question.diff)
        parts.append(f"\ndiff\n{diff}\n")
    votes = [f"  {_safe(vote.author)}: {vote.decision.decision} ({_time(vote.said_at)})\n" for vote in question.votes]
    said = [f"  {_safe(note.author)} ({_time(note.said_at)}): {_safe(note.text)}\n" for note in question.comments]
    parts += ["\nhave decided\n", *votes] if votes else []
    parts += ["\ncomments\n", *said] if said else []
    if question.answer is not None:
        parts.append(f"\nanswer\n{_json(question.answer.to_json())}\n")
    return parts


def _due(question: "Question") -> str:
    default = f"then: {question.default_decision}" if question.default_decision else "then people are told again"
    if question.due_at is None:
        return ""
    told = f", told again {question.reminders} times" if question.reminders else ""
    return f"{_time(question.due_at)}{' (overdue)' if question.overdue else ''}, {default}{told}"


def _who(question: "Question") -> str:
    if question.status != "open":
        who = f"{question.answered_by or 'nobody'}, {_time(question.answered_at)}"
        return f"{question.decision} by {who}" if question.decision else ""
    people = "two people" if question.needs > 1 else "one person"
    named = f", assigned to {question.assignee}" if question.assignee else ""
    other = f", not {question.requester or 'whoever has started the run'}" if question.not_requester else ""
    return f"{people}{named}{other}"


def _links(links: Any) -> str:
    if isinstance(links, str):
        return links
    return orjson.dumps(links).decode() if links else ""


def _next_step(question: "Question") -> str:
    if question.status != "open":
        return ""
    commands = {
        "approve": f"outlast inbox approve {question.id}",
        "edit": f"outlast inbox edit {question.id}",
        "reject": f"outlast inbox reject {question.id} --message 'why'",
        "respond": f"outlast inbox answer {question.id} '\"the response\"'",
    }
    return "\n" + "".join(f"  {commands[word]}\n" for word in question.allowed)


def _json(value: Any) -> str:
    # Two spaces before it, as all that belongs to a heading.
    text = _safe(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode())
    return "\n".join(f"  {line}" for line in text.splitlines())


def _cells(question: "Question") -> list[str]:
    cells = [
        str(question.id), question.status, question.kind, question.question, question.agent, _time(question.asked_at),
        _time(question.due_at), question.assignee or "",
    ]  # fmt: skip
    return [_safe(cell).replace("\t", " ").replace("\n", " ") for cell in cells]


def _safe(text: object) -> str:
    """Return text without what steers a terminal: it may come from a model, or from whoever wrote to it."""
    shown = "nobody" if text is None else str(text)
    return "".join(char if char.isprintable() or char in "\n\t" else "\N{REPLACEMENT CHARACTER}" for char in shown)


def _time(moment: datetime | None) -> str:
    return "" if moment is None else f"{moment.astimezone():%Y-%m-%d %H:%M:%S}"
