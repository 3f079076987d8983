"""`outlast.Validator`: one look at what an agent says, before anybody believes it.

class Refund(outlast.Validator):
    def validate(self, output, context):
        if output["amount"] > 500:
            return outlast.Invalid(["more than 500 is not ours to give"], fields=["amount"])
        return outlast.Valid()

# outlast.toml
[validation.agents.support]
validators = ["./validators.py:Refund"]
"""

from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, ClassVar, Final, Literal, Protocol, TypeAlias
from uuid import UUID

from outlast.domain.acting import DEFAULT_TENANT

Severity = Literal["low", "medium", "high"]
#: From the least to the gravest.
SEVERITIES: Final[tuple[Severity, ...]] = ("low", "medium", "high")
#: Of reasons that were given as a text alone.
UNNAMED: Final = "invalid"


@dataclass(frozen=True, slots=True)
class Reason:
    """Why something is not acceptable."""

    #: For programs; it never changes.
    code: str
    #: For people, and for the agent that is to do better. It may repeat a part of the output.
    text: str
    #: Where it is, as `contingency.1.date`.
    field: str | None = None
    #: The validator that says so; the engine fills it in.
    by: str | None = None

    def as_json(self) -> dict[str, str]:
        """Return it as it is stored and sent; what is not known is left out."""
        parts = {"code": self.code, "text": self.text, "field": self.field, "by": self.by}
        return {name: part for name, part in parts.items() if part is not None}


@dataclass(frozen=True, slots=True)
class Valid:
    """Nothing speaks against it."""


@dataclass(frozen=True, slots=True, init=False)
class Invalid:
    """It is not acceptable, and why; `fields` are those of the reasons, and those that were given."""

    reasons: tuple[Reason, ...]
    severity: Severity
    fields: tuple[str, ...]

    def __init__(
        self, reasons: str | Reason | Iterable[str | Reason], severity: Severity = "medium", fields: Sequence[str] = ()
    ) -> None:
        # A text is a sequence of texts, too, and nobody means that.
        given = [reasons] if isinstance(reasons, str | Reason) else list(reasons)
        if not given:
            msg = "Invalid needs at least one reason; return Valid() when nothing is wrong"
            raise ValueError(msg)
        if severity not in SEVERITIES:
            msg = f"severity is {severity!r}; it is one of {', '.join(SEVERITIES)}"
            raise ValueError(msg)
        named = tuple(reason if isinstance(reason, Reason) else Reason(UNNAMED, reason) for reason in given)
        of_reasons = [reason.field for reason in named if reason.field is not None]
        object.__setattr__(self, "reasons", named)
        object.__setattr__(self, "severity", severity)
        object.__setattr__(self, "fields", tuple(dict.fromkeys([*fields, *of_reasons])))

    def told_by(self, name: str) -> "Invalid":
        """Return the same, with the validator's name on each reason that has none."""
        signed = [reason if reason.by is not None else replace(reason, by=name) for reason in self.reasons]
        return Invalid(signed, self.severity, self.fields)


Verdict: TypeAlias = Valid | Invalid


class Ask(Protocol):
    """Asks a model for JSON of a schema; raises what the calls of a run raise."""

    async def __call__(self, model: str, *, system: str, text: str, schema: Mapping[str, Any], name: str) -> Any:
        """Return what the model says; `name` tells one question of a review from another."""
        ...


def utc_now() -> datetime:
    """Return the time of this machine: a rule about dates looks at days, and owns nothing that could be lost."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class ValidationContext:
    """What a validator knows of the output besides the output itself. Everything has a default, for tests."""

    #: What the run was started with.
    input: Any = None
    #: The conversation, oldest first, as JSON (`{"type": "ai", "content": ...}`).
    messages: Sequence[Any] = ()
    #: What the output has to rest upon: texts by their names.
    sources: Mapping[str, str] = field(default_factory=dict[str, str])
    agent: str = ""
    thread_id: str = ""
    run_id: UUID | None = None
    tenant: str = DEFAULT_TENANT
    user: str | None = None
    #: The node whose output it is; None: the agent's own.
    node: str | None = None
    #: The tool that is about to be called; the output is its arguments.
    tool: str | None = None
    #: 1 for the first output of a run; each repair counts on.
    attempt: int = 1
    #: What `today` is; aware, in UTC.
    now: datetime = field(default_factory=utc_now)
    #: How the model is asked that judges; None where nobody can be asked.
    ask: Ask | None = field(default=None, repr=False, compare=False)


#: As it is called beside its validator.
Context = ValidationContext


class Validator(ABC):
    """One look at an output. Made once per process; one object is asked about many runs at the same time.

    All validators of an agent are asked, and everything that they say is told together. One that raises, answers
    anything else, or takes longer than `validation.timeout` makes the output invalid: a check that cannot be made must
    not let pass. A sync `validate` is called in a thread of its own pool, an async one on the event loop.
    """

    #: In reasons; None: the name of the class.
    name: str | None = None
    #: Costs money, so it is asked last, and only about what the others have not found fault with.
    asks_model: ClassVar[bool] = False

    @abstractmethod
    def validate(self, output: Any, context: ValidationContext) -> "Verdict | Awaitable[Verdict]":
        """Return `outlast.Valid()` or `outlast.Invalid(reasons)`; the output must be left as it is."""

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or type(self).__name__


#: Returns what stands at a place of the project, as `./validators.py:Refund`; raises ConfigurationError.
Load = Callable[[str], object]
