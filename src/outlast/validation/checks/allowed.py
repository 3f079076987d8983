"""`allowed`: fields that may have certain values alone."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from outlast.validation.checks.check import Check, CheckOptions, place, shown
from outlast.validation.paths import Path, found_at
from outlast.validation.validator import Reason, ValidationContext, Verdict

#: A model that is told of more values is not helped.
_MOST_TOLD = 20


class AllowedOptions(CheckOptions):
    """The table."""

    fields: dict[Path, tuple[Any, ...]] = Field(min_length=1, description='as `{status = ["open", "closed"]}`')
    ignore_case: bool = Field(default=False, description="upper and lower case are the same")


class Allowed(Check[AllowedOptions]):
    """Finds values that are not among the allowed ones. What is not there is `required`'s business."""

    takes: ClassVar[type[CheckOptions]] = AllowedOptions

    def validate(self, output: Any, context: ValidationContext) -> Verdict:  # noqa: ARG002 - looks at the output alone
        """Look at each place."""
        return self.verdict(self._reasons(self.part(output)))

    def _reasons(self, part: Any) -> Iterator[Reason]:
        for field, allowed in self.options.fields.items():
            known = [self._plain(value) for value in allowed]
            for found in found_at(part, field):
                if found.there and self._plain(found.value) not in known:
                    told = ", ".join(map(shown, allowed[:_MOST_TOLD]))
                    yield Reason("not_allowed", f"{place(found)} is {shown(found.value)}; allowed: {told}", found.path)

    def _plain(self, value: Any) -> tuple[bool, Any]:
        # True is 1 to Python, and neither to whoever reads JSON.
        text = value.strip().casefold() if self.options.ignore_case and isinstance(value, str) else value
        return isinstance(value, bool), text
