"""`required`: what must not be missing or empty."""

from collections.abc import Iterator
from typing import Any, ClassVar

from pydantic import Field

from outlast.validation.answers import last_answer
from outlast.validation.checks.check import Check, CheckOptions, place
from outlast.validation.paths import Found, Path, found_at
from outlast.validation.validator import Reason, ValidationContext, Verdict


class RequiredOptions(CheckOptions):
    """The table."""

    fields: tuple[Path, ...] = Field(
        default=(), description="as `contingency.*.date`: of each one that there is; none: the output itself"
    )
    empty: bool = Field(default=False, description="an empty text, list or table will do")


class Required(Check[RequiredOptions]):
    """Finds what is missing: not there, null, an empty text, list or table. Without fields: the output itself."""

    takes: ClassVar[type[CheckOptions]] = RequiredOptions

    def validate(self, output: Any, context: ValidationContext) -> Verdict:  # noqa: ARG002 - looks at the output alone
        """Look at each place."""
        return self.verdict(self._reasons(self.part(output)))

    def _reasons(self, part: Any) -> Iterator[Reason]:
        if not self.options.fields:
            last = last_answer(part)
            found = last if last is not None else Found("", part)
            if not self._is_there(found):
                yield Reason("missing", "there is no output", found.path or None)
            return
        for field in self.options.fields:
            for found in found_at(part, field):
                if not found.there:
                    yield Reason("missing", f"{place(found)} is missing", found.path or field)
                elif not self._is_there(found):
                    yield Reason("empty", f"{place(found)} is empty", found.path)

    def _is_there(self, found: Found) -> bool:
        value = found.value
        if not found.there:
            return False
        if isinstance(value, str):
            value = value.strip()
        return self.options.empty or value not in ("", [], (), {})
