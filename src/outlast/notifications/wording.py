"""What a message says, before a channel gives it its form."""

from dataclasses import replace
from typing import Final

from outlast.domain.notification import Message, Notice
from outlast.domain.redaction import redacted

_LONGEST_TITLE: Final = 140
_LONGEST_TEXT: Final = 1500
_LONGEST_REASON: Final = 300
_MOST_REASONS: Final = 10


def title(message: Message) -> str:
    """Return one line that says what it is about."""
    if message.grouped or len(message.notices) != 1:
        if message.notices and all(notice.event == "recovered" for notice in message.notices):
            return f"{message.count} alerts are over"
        return f"{message.count} things need a person"
    return headline(message.notices[0])


def headline(notice: Notice) -> str:
    """Return one line about one thing."""
    match notice.event:
        case "asked":
            told = "a person has to decide"
        case "assigned":
            told = f"a question was given to {notice.assignee or 'nobody in particular'}"
        case "overdue":
            told = "nobody has answered in time"
        case "expired":
            told = "nobody has answered, so it was decided by default" + (
                f": {notice.default}" if notice.default else ""
            )
        case "failed":
            told = "a run failed for good"
        case "alert":
            told = "an alert fires"
        case "recovered":
            told = "an alert is over"
    return cut(" ".join(f"{notice.agent}: {told} ({notice.kind})".split()), _LONGEST_TITLE)


def lines(notice: Notice) -> list[str]:
    """Return what there is to say beyond the headline and where to go."""
    told = [cut(redacted(notice.text).strip(), _LONGEST_TEXT)] if notice.text else []
    told += [f"- {cut(redacted(reason).strip(), _LONGEST_REASON)}" for reason in notice.reasons[:_MOST_REASONS]]
    if notice.due_at is not None and notice.event in {"asked", "assigned"}:
        then = f", then: {notice.default}" if notice.default else ""
        told.append(f"To be answered until {notice.due_at:%Y-%m-%d %H:%M} UTC{then}")
    if notice.assignee and notice.event != "assigned":
        told.append(f"For {notice.assignee}")
    return told


def place(notice: Notice) -> str:
    """Return where it can be looked at: the link, or a command where no address is known."""
    return notice.link or notice.command


def without_content(message: Message) -> Message:
    """Return the message without what was asked, for a channel that is not to know."""
    return replace(message, notices=tuple(replace(notice, text="", reasons=()) for notice in message.notices))


def rest(message: Message) -> str:
    """Return how many things are not told one by one; empty when all are."""
    left = message.count - len(message.notices)
    return f"and {left} more: outlast inbox list, outlast dlq list, outlast alerts list" if left > 0 else ""


def cut(text: str, length: int) -> str:
    """Return a text of at most this length."""
    return text if len(text) <= length else text[: length - 1] + "…"
