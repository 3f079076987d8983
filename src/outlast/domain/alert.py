"""Something that is not as it should be, from when it is seen until it is over."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, get_args
from uuid import UUID

from outlast.domain.notification import SEVERITIES, Event, Severity

#: pending: seen, not for long enough yet. firing: people are told. resolved: over.
AlertState = Literal["pending", "firing", "resolved"]
ALERT_STATES: Final[tuple[AlertState, ...]] = get_args(AlertState)
#: Which alert it is: its tenant, its rule, its subject.
Key = tuple[str, str, str]
#: Of all rules, in a silence.
ALL_RULES: Final = "*"
#: What `outlast alerts test` makes.
TEST_RULE: Final = "test"


def subject_of(labels: Mapping[str, str]) -> str:
    """Return labels as one name: `agent=support,model=openai:gpt-4o`."""
    return ",".join(f"{name}={labels[name]}" for name in sorted(labels))


def worse(one: Severity, other: Severity) -> Severity:
    """Return the higher one."""
    return one if SEVERITIES.index(one) >= SEVERITIES.index(other) else other


class Figure(NamedTuple):
    """One number of a round: `dead_letters` of `agent` `support` is 12."""

    name: str
    tenant: str
    #: Empty: there is only one.
    label: str
    of: str
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Breach:
    """A rule's condition holds for a subject, now."""

    rule: str
    tenant: str
    labels: Mapping[str, str]
    severity: Severity
    value: float | None
    text: str

    @property
    def key(self) -> Key:
        """Which alert it is."""
        return self.tenant, self.rule, subject_of(self.labels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Alert:
    """An alert as it stands."""

    id: UUID
    tenant: str
    rule: str
    subject: str
    labels: Mapping[str, str]
    severity: Severity
    state: AlertState
    value: float | None
    text: str
    started_at: datetime
    fired_at: datetime | None = None
    #: Since when the condition does not hold any more, although it fires.
    clear_since: datetime | None = None
    resolved_at: datetime | None = None
    notified_at: datetime | None = None
    #: How often people were told that it fires.
    notices: int = 0
    told_severity: Severity | None = None
    #: Under which id: what was told together stays together.
    told_as: UUID | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None

    @property
    def key(self) -> Key:
        """Which alert it is."""
        return self.tenant, self.rule, self.subject


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Nobody is told of a rule until then."""

    id: UUID
    tenant: str
    rule: str
    #: None: of whatever subject.
    subject: str | None
    why: str
    #: None: whoever it was has been forgotten.
    silenced_by: str | None
    began_at: datetime
    until_at: datetime

    def covers(self, alert: Alert) -> bool:
        """Whether nobody is told of this one."""
        return (
            self.tenant == alert.tenant
            and self.rule in {alert.rule, ALL_RULES}
            and self.subject in {None, alert.subject}
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertNotice:
    """What goes into the outbox: alerts of one rule that people are told of together."""

    event: Event
    tenant: str
    #: Once, whatever happens.
    key: str
    rule: str
    agent: str
    severity: Severity
    group: UUID
    alerts: Sequence[UUID]


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What a round begins with, all of one moment of the database's clock."""

    now: datetime
    open: Sequence[Alert]
    silences: Sequence[Silence]
    #: How often each has come and gone lately.
    flaps: Mapping[Key, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What a round ends with."""

    changed: Sequence[Alert] = ()
    #: Pending ones that were never told.
    gone: Sequence[UUID] = ()
    notices: Sequence[AlertNotice] = ()
    #: What has begun and what has ended, for whoever listens.
    fired: Sequence[Alert] = field(default=())
    resolved: Sequence[Alert] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """Whether somebody looks, and what fires."""

    #: None: nobody has ever looked.
    evaluated_at: datetime | None
    firing: Mapping[Severity, int]


def alert_of(row: Sequence[Any]) -> Alert:
    """Return the alert of a row, in the order of the fields."""
    names = Alert.__dataclass_fields__
    return Alert(**dict(zip(names, row, strict=True)))
