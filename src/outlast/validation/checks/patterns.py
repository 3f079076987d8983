"""`patterns`: what an output must not contain."""

import re
from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Final

from pydantic import Field, field_validator

from outlast.policies.matching import Matcher, TooSlow
from outlast.validation.answers import spoken
from outlast.validation.checks.check import Check, CheckOptions
from outlast.validation.paths import Found, Path
from outlast.validation.validator import Reason, ValidationContext, Verdict

_SECONDS: Final = 1.0


class PatternsOptions(CheckOptions):
    """The table."""

    forbid: dict[str, Annotated[str, Field(min_length=1, max_length=2000)]] = Field(
        min_length=1, description=r"regular expressions of Python by what they are called: `{codename = 'project\s+x'}`"
    )
    fields: tuple[Path, ...] = Field(default=(), description="where they are looked for; none: in all that is said")
    ignore_case: bool = Field(default=True, description="upper and lower case are the same")

    @field_validator("forbid")
    @classmethod
    def _are_patterns(cls, forbid: dict[str, str]) -> dict[str, str]:
        for name, pattern in forbid.items():
            try:
                re.compile(pattern)
            except re.error as error:
                msg = f"{name}: {error}; it is no regular expression of Python"
                raise ValueError(msg) from error
        return forbid


class Patterns(Check[PatternsOptions]):
    """Finds forbidden patterns, in bounded time; what takes too long is not acceptable. Reasons do not repeat them."""

    takes: ClassVar[type[CheckOptions]] = PatternsOptions

    def __init__(self, options: PatternsOptions) -> None:
        super().__init__(options)
        flags = re.IGNORECASE if options.ignore_case else 0
        self._rules = {name: re.compile(pattern, flags) for name, pattern in options.forbid.items()}

    async def validate(self, output: Any, context: ValidationContext) -> Verdict:  # noqa: ARG002 - looks at the output alone
        """Look at each text for each pattern."""
        texts = spoken(self.part(output), self.options.fields)
        # Of this output alone: what it may have started ends with it.
        matcher = Matcher(self._rules, timeout_seconds=_SECONDS)
        try:
            return self.verdict([reason for name in self._rules for reason in await _found(matcher, name, texts)])
        except TooSlow:
            return self.verdict([Reason("too_slow", "looking for forbidden patterns took too long; say less")])
        finally:
            await matcher.aclose()


async def _found(matcher: Matcher, name: str, texts: Sequence[Found]) -> list[Reason]:
    # Together first: hardly ever is there anything.
    if await matcher.first([name], [found.value for found in texts]) is None:
        return []
    places = [found.path for found in texts if await matcher.first([name], [found.value]) is not None]
    return [
        Reason("forbidden", f"{place or 'the output'} holds {name}, which is forbidden", place or None)
        for place in places
    ]
