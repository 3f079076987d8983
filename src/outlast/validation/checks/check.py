"""What built-in validators have in common."""

from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from outlast.settings_validation import SeverityName
from outlast.validation.paths import Found, Path, looked_up
from outlast.validation.validator import Invalid, Reason, Valid, Validator, Verdict

#: More than these nobody reads, and a model that gets them does not do better.
MOST_REASONS = 20
_LONGEST_SHOWN = 80


class CheckOptions(BaseModel):
    """A table with `use`: closed to unknown names."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str | None = Field(default=None, description="in reasons; not given: that of `use`")
    severity: SeverityName = Field(default="medium", description="of what it finds fault with")
    at: Path | None = Field(
        default=None, description="the part that it looks at, as `structured_response`; a text that is JSON is read"
    )


O = TypeVar("O", bound=CheckOptions)  # noqa: E741 - options, as T is a type


class Check(Validator, Generic[O]):
    """A validator that is made of a table of options."""

    #: The table.
    takes: ClassVar[type[CheckOptions]] = CheckOptions

    def __init__(self, options: O) -> None:
        self.options = options
        if options.name is not None:
            self.name = options.name

    def part(self, output: Any) -> Any:
        """Return what it looks at; None when there is no such part."""
        at = self.options.at
        return output if at is None else looked_up(output, at)

    def verdict(self, reasons: Iterable[Reason]) -> Verdict:
        """Return what the reasons amount to; those of one place and code are told once."""
        told = list(dict.fromkeys(reasons))
        if not told:
            return Valid()
        if len(told) > MOST_REASONS:
            more = len(told) - MOST_REASONS
            told = [*told[:MOST_REASONS], Reason(told[MOST_REASONS].code, f"and {more} more like these")]
        return Invalid(told, self.options.severity)


def shown(value: Any) -> str:
    """Return a value as reasons repeat it: short, and on one line."""
    text = " ".join(str(value).split())
    return repr(text if len(text) <= _LONGEST_SHOWN else f"{text[:_LONGEST_SHOWN]}...")


def place(found: Found) -> str:
    """Return the name of a place in a sentence."""
    return found.path or "the output"
