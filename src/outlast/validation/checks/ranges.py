"""`ranges`: numbers that are neither too small nor too large."""

from collections.abc import Iterator
from decimal import Decimal
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from outlast.validation.checks.check import Check, CheckOptions, place, shown
from outlast.validation.numbers import number_of
from outlast.validation.paths import Path, found_at
from outlast.validation.validator import Reason, ValidationContext, Verdict


class Bounds(BaseModel):
    """Of one field; the bounds of `min` and `max` are in it, those of `above` and `below` are not."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    min: Decimal | None = None
    max: Decimal | None = None
    above: Decimal | None = None
    below: Decimal | None = None
    #: No fraction.
    whole: bool = False

    @model_validator(mode="after")
    def _bounds_something(self) -> Self:
        lower, upper = self._lower(), self._upper()
        if not self.whole and lower is None and upper is None:
            msg = "give min, max, above, below or whole"
            raise ValueError(msg)
        if lower is not None and upper is not None and lower > upper:
            msg = f"nothing is between {lower} and {upper}"
            raise ValueError(msg)
        return self

    def objection(self, value: Decimal) -> str | None:
        """Return what is wrong with a number; None: nothing."""
        checks = (
            (self.min is not None and value < self.min, f"is below {self.min}"),
            (self.above is not None and value <= self.above, f"is not above {self.above}"),
            (self.max is not None and value > self.max, f"is above {self.max}"),
            (self.below is not None and value >= self.below, f"is not below {self.below}"),
            (self.whole and value != value.to_integral_value(), "has a fraction"),
        )
        return next((told for is_wrong, told in checks if is_wrong), None)

    def _lower(self) -> Decimal | None:
        return max((bound for bound in (self.min, self.above) if bound is not None), default=None)

    def _upper(self) -> Decimal | None:
        return min((bound for bound in (self.max, self.below) if bound is not None), default=None)


class RangesOptions(CheckOptions):
    """The table."""

    fields: dict[Path, Bounds] = Field(min_length=1, description="as `{price = {min = 1, max = 5_000_000}}`")


class Ranges(Check[RangesOptions]):
    """Finds numbers out of their range. Texts like `$1,250.00` are numbers; what is not there is not looked at."""

    takes: ClassVar[type[CheckOptions]] = RangesOptions

    def validate(self, output: Any, context: ValidationContext) -> Verdict:  # noqa: ARG002 - looks at the output alone
        """Look at each place."""
        return self.verdict(self._reasons(self.part(output)))

    def _reasons(self, part: Any) -> Iterator[Reason]:
        for field, bounds in self.options.fields.items():
            for found in found_at(part, field):
                if not found.there:
                    continue
                number = number_of(found.value)
                if number is None:
                    yield Reason("not_a_number", f"{place(found)} is {shown(found.value)}, no number", found.path)
                elif told := bounds.objection(number.value):
                    yield Reason("out_of_range", f"{place(found)} is {shown(found.value)}, which {told}", found.path)
