"""What people are told when somebody has to look, before it is put into the words of a channel."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal, NamedTuple, get_args
from uuid import UUID

#: asked: a question waits for a person. assigned: it was given to somebody. overdue: its time is up and it has no
#: default. expired: its default was taken. failed: a run failed for good. alert: something is not as it should be.
#: recovered: it is again.
Event = Literal["asked", "assigned", "overdue", "expired", "failed", "alert", "recovered"]
EVENTS: Final[tuple[Event, ...]] = get_args(Event)

#: From what may wait to what may not.
Severity = Literal["info", "warning", "error"]
SEVERITIES: Final[tuple[Severity, ...]] = get_args(Severity)

#: pending: it will be sent (again). failed: given up. dropped: nobody had to look any more when it was its turn.
MessageState = Literal["pending", "sent", "failed", "dropped"]
MESSAGE_STATES: Final[tuple[MessageState, ...]] = get_args(MessageState)
#: At a channel that holds incidents open: what is to be, or was, said about it.
Incident = Literal["open", "closing", "closed"]

# Questions about something that has happened, or stands still for want of an answer.
_SERIOUS: Final = frozenset({"escalation", "review", "effect_unknown", "budget", "budget_exceeded"})


def severity_of(event: Event, kind: str) -> Severity:
    """Return how urgent it is that somebody looks; alerts say it themselves."""
    if event in {"overdue", "failed"}:
        return "error"
    if event == "expired":
        return "warning"
    return "warning" if kind in _SERIOUS else "info"


class Unrouted(NamedTuple):
    """A notification before it is decided who is told."""

    id: UUID
    tenant: str
    event: Event
    agent: str
    kind: str
    #: None: about alerts.
    run_id: UUID | None
    question_id: UUID | None
    #: None: as the event and the kind say.
    of_severity: Severity | None = None
    #: Alerts that are told together.
    alert_group: UUID | None = None

    @property
    def severity(self) -> Severity:
        """How urgent it is."""
        return self.of_severity or severity_of(self.event, self.kind)

    @property
    def key(self) -> str:
        """What it is about: the same for all that is told of one question."""
        if self.alert_group is not None:
            return f"alert:{self.alert_group}"
        return f"question:{self.question_id}" if self.question_id else f"run:{self.run_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sending:
    """A message that this process has taken, until its lease is over."""

    #: The same at each attempt: the receiver knows by it what it has seen.
    id: UUID
    tenant: str
    channel: str
    key: str
    grouped: bool
    incident: Incident | None
    #: With this one.
    attempts: int
    age: timedelta


class Item(NamedTuple):
    """What one message is about, or one of many things."""

    event: Event
    #: None: about alerts.
    run_id: UUID | None
    question_id: UUID | None
    agent: str
    kind: str
    #: Of alerts.
    severity: Severity | None = None
    alerts: Sequence[UUID] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """One thing that a person is told, in full."""

    event: Event
    severity: Severity
    agent: str
    kind: str
    #: None: about alerts.
    run_id: UUID | None = None
    question_id: UUID | None = None
    #: What is asked, what the run failed with, or what an alert is about; empty where the channel is not told.
    text: str = ""
    reasons: tuple[str, ...] = ()
    assignee: str | None = None
    due_at: datetime | None = None
    #: The decision that is taken when nobody answers in time, in one word.
    default: str | None = None
    #: Where it can be looked at and answered; None: `[inbox] url` is not set.
    link: str | None = None

    @property
    def command(self) -> str:
        """What shows it on the command line."""
        if self.question_id is not None:
            return f"outlast inbox show {self.question_id}"
        return f"outlast dlq show {self.run_id}" if self.run_id is not None else "outlast alerts list"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a channel sends."""

    id: UUID
    tenant: str
    #: What it is about; several messages may be about one question.
    key: str
    #: The first of them, where there are many.
    notices: tuple[Notice, ...]
    #: How many there are.
    count: int
    grouped: bool = False
    sent_at: datetime

    @property
    def severity(self) -> Severity:
        """The highest of what it tells."""
        return SEVERITIES[max((SEVERITIES.index(notice.severity) for notice in self.notices), default=0)]


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message as people see it in lists."""

    id: UUID
    channel: str
    state: MessageState
    incident: Incident | None
    attempts: int
    created_at: datetime
    due_at: datetime
    ended_at: datetime | None
    last_error: str | None
    #: How many things it tells; of one, which.
    count: int
    event: Event | None
    question_id: str | None
    run_id: str | None
