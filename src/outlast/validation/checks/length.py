"""`length`: answers that are neither too short nor too long."""

import re
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Final, Literal, Self

from pydantic import Field, model_validator

from outlast.validation.answers import answer
from outlast.validation.checks.check import Check, CheckOptions, place
from outlast.validation.paths import Path
from outlast.validation.validator import Reason, ValidationContext, Verdict

Unit = Literal["characters", "words", "sentences", "lines"]
_PATTERNS: Final[dict[Unit, re.Pattern[str]]] = {
    "words": re.compile(r"\w+(?:['\u2019-]\w+)*"),
    "sentences": re.compile(r"[.!?\u2026\u3002\uff01\uff1f]+(?=\s|$)|(?<=[^\s.!?\u2026\u3002\uff01\uff1f])\s*\Z"),
    "lines": re.compile(r"[^\n]*\S[^\n]*"),
}


class LengthOptions(CheckOptions):
    """The table."""

    min: Annotated[int | None, Field(ge=0, description="at least")] = None
    max: Annotated[int | None, Field(ge=0, description="at most")] = None
    unit: Unit = Field(default="characters", description="what is counted")
    fields: tuple[Path, ...] = Field(default=(), description="each of them; none: the answer")

    @model_validator(mode="after")
    def _limits_something(self) -> Self:
        if self.min is None and self.max is None:
            msg = "give min, max, or both"
            raise ValueError(msg)
        if self.min is not None and self.max is not None and self.min > self.max:
            msg = f"nothing is longer than {self.min} and shorter than {self.max}"
            raise ValueError(msg)
        return self


class Length(Check[LengthOptions]):
    """Finds texts that are too short or too long."""

    takes: ClassVar[type[CheckOptions]] = LengthOptions

    def validate(self, output: Any, context: ValidationContext) -> Verdict:  # noqa: ARG002 - looks at the output alone
        """Count."""
        return self.verdict(self._reasons(self.part(output)))

    def _reasons(self, part: Any) -> Iterator[Reason]:
        options = self.options
        for found in answer(part, options.fields):
            count = counted(found.value, options.unit)
            if options.min is not None and count < options.min:
                told = f"{place(found)} has {count} {options.unit}, fewer than {options.min}"
                yield Reason("too_short", told, found.path or None)
            if options.max is not None and count > options.max:
                told = f"{place(found)} has {count} {options.unit}, more than {options.max}"
                yield Reason("too_long", told, found.path or None)


def counted(text: str, unit: Unit) -> int:
    """Return how many there are of what is counted, without the spaces around the text."""
    text = text.strip()
    if unit == "characters" or not text:
        return len(text)
    return sum(1 for _ in _PATTERNS[unit].finditer(text))
