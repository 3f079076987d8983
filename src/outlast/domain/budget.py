"""What may be spent, by whom, in which time.

A budget is a rule: how much, `per` whom, in which span of time. Whoever spends is a `Spender`; a budget that applies to
one keeps a counter for its subject (the user's name, the run's id...). What is spent and what is reserved for calls
under way never exceeds the limit together.

Money is counted in millionths of a US dollar (micros), as everywhere.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Literal, NamedTuple, Self
from uuid import UUID

Per = Literal["run", "thread", "user", "agent", "tenant"]
#: `total`: for ever.
Span = Literal["day", "month", "total"]
OnLimit = Literal["refuse", "ask"]
Unit = Literal["usd_micros", "tokens"]

#: The type of the question that a run asks at its limit; the answer `{"go_on": false}` ends the run.
QUESTION: Final = "budget_exceeded"
_MICROS: Final = 1_000_000
#: A million million dollars.
_MOST_MICROS: Final = 10**18
_HOW: Final = (
    'Raise the budget (`outlast budget raise`), and the run goes on by itself; or answer {"go_on": true} when there is '
    'room again, {"go_on": false} to end the run.'
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spender:
    """Who spends. `run` is the run that began it, whose questions later runs may answer."""

    tenant: str
    user: str | None
    agent: str
    run: str
    thread: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A rule; at least one of the limits is given. `agent`, `user` and `tenant` narrow whom it applies to."""

    name: str
    per: Per
    span: Span = "total"
    limit_micros: int | None = None
    limit_tokens: int | None = None
    #: Of the limit; spending beyond it is told once.
    soft_percent: int = 80
    on_limit: OnLimit = "refuse"
    agent: str | None = None
    user: str | None = None
    tenant: str | None = None

    def applies_to(self, spender: Spender) -> bool:
        """Whether this one's spending counts."""
        wanted = ((self.tenant, spender.tenant), (self.user, spender.user), (self.agent, spender.agent))
        return all(rule is None or rule == given for rule, given in wanted)

    def subject_of(self, spender: Spender) -> str:
        """Return whose counter it is; all who are nobody in particular share one."""
        return str(getattr(spender, self.per) or "")


class Line(NamedTuple):
    """A budget as it concerns one spender."""

    budget: Budget
    subject: str


class Cost(NamedTuple):
    """What a call takes at most, or took."""

    micros: int
    tokens: int


class Attempt(NamedTuple):
    """The attempt of a run that spends."""

    run_id: UUID
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where a counter stands."""

    name: str
    subject: str
    #: The first day of its day or month; of a `total`, 1970-01-01.
    period: date
    #: What was raised for this period included; None: not limited.
    limit_micros: int | None
    limit_tokens: int | None
    spent_micros: int = 0
    spent_tokens: int = 0
    reserved_micros: int = 0
    reserved_tokens: int = 0
    #: When the next period begins.
    resets_at: datetime | None = None

    @property
    def left(self) -> tuple[int | None, int | None]:
        """Micros and tokens that are not spent; what is reserved may come back. None: no limit."""
        return (
            None if self.limit_micros is None else self.limit_micros - self.spent_micros,
            None if self.limit_tokens is None else self.limit_tokens - self.spent_tokens,
        )

    def lacks(self, cost: Cost, *, reserved: bool) -> Unit | None:
        """Return what there is too little of for this; `reserved`: what calls under way may take counts, too."""
        micros, tokens = self.left
        if micros is not None and cost.micros > micros - (self.reserved_micros if reserved else 0):
            return "usd_micros"
        if tokens is not None and cost.tokens > tokens - (self.reserved_tokens if reserved else 0):
            return "tokens"
        return None

    @property
    def exhausted(self) -> Unit | None:
        """Return what is spent to the end; None: something is left of everything."""
        micros, tokens = self.left
        if micros is not None and micros <= 0:
            return "usd_micros"
        return "tokens" if tokens is not None and tokens <= 0 else None

    def figures(self, unit: Unit) -> tuple[int, int]:
        """Return limit and what is spent or reserved, in this unit."""
        if unit == "tokens":
            return self.limit_tokens or 0, self.spent_tokens + self.reserved_tokens
        return self.limit_micros or 0, self.spent_micros + self.reserved_micros


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a run that has come to its limit asks, as it is kept."""

    budget: str
    subject: str
    unit: Unit
    limit: int
    spent: int
    resets_at: datetime | None = None

    @classmethod
    def of_row(cls, budget: str, rest: Sequence[Any]) -> Self:
        """Read what is stored: subject, unit, limit, spent, resets_at."""
        subject, unit, limit, spent, resets_at = rest
        return cls(budget=budget, subject=subject, unit=unit, limit=limit, spent=spent, resets_at=resets_at)

    def shown(self) -> dict[str, Any]:
        """Return what the person reads, and what clients get as the question of the run."""
        return {
            "type": QUESTION, "budget": self.budget, "subject": self.subject, "limit": amount(self.limit, self.unit),
            "spent": amount(self.spent, self.unit), "how": _HOW,
            "resets_at": None if self.resets_at is None else self.resets_at.isoformat(),
            "reasons": [{"code": "budget_exhausted", "text": f"budget {self.budget!r} of {self.subject!r} is spent"}],
        }  # fmt: skip


class Settled(NamedTuple):
    """What became of a counter when calls were settled."""

    tenant: str
    name: str
    subject: str
    #: The soft limit was crossed by this.
    soft: bool
    #: More than the limit is spent: a call took more than it could have.
    over: bool


def micros_of(text: str) -> int:
    """Read an amount of dollars; raises ValueError when it is none, less than 0, or finer than a millionth."""
    msg = f"{text!r} is no amount of dollars"
    try:
        micros = Decimal(text) * _MICROS
    except InvalidOperation as error:
        raise ValueError(msg) from error
    if not micros.is_finite() or not 0 <= micros <= _MOST_MICROS or micros != micros.to_integral_value():
        raise ValueError(msg)
    return int(micros)


def usd(micros: int) -> str:
    """Return it as dollars, exactly, with at least two decimals."""
    whole, rest = divmod(abs(micros), _MICROS)
    decimals = f"{rest:06d}".rstrip("0").ljust(2, "0")
    return f"{'-' if micros < 0 else ''}{whole}.{decimals}"


def amount(value: int, unit: Unit) -> str:
    """Return it for people."""
    return f"{value:,} tokens" if unit == "tokens" else f"${usd(value)}"
