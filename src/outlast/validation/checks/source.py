"""`source`: fields that have to be in the documents that the output rests upon."""

from collections.abc import Callable, Iterator, Mapping
from datetime import date, datetime
from decimal import Decimal
from functools import cached_property
from typing import Annotated, Any, ClassVar, Final, Literal, cast
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator

from outlast.validation.checks.check import Check, CheckOptions, place, shown
from outlast.validation.days import days_in, moment_of
from outlast.validation.numbers import Number, number_of, numbers_in
from outlast.validation.paths import Found, Path, found_at
from outlast.validation.validator import Reason, ValidationContext, Verdict
from outlast.validation.wording import holds, likeness, words_of

How = Literal["exact", "text", "number", "date", "fuzzy"]
_UTC: Final = ZoneInfo("UTC")


class SourceOptions(CheckOptions):
    """The table."""

    fields: dict[Path, How] = Field(
        min_length=1,
        description='how each is compared, as `{price = "number", "buyer.name" = "fuzzy"}`; a list: each as `text`',
    )
    sources: tuple[str, ...] = Field(default=(), description="names of sources that count; none: all")
    threshold: Annotated[float, Field(gt=0, le=1, description="of `fuzzy`: how alike, letter by letter")] = 0.85
    tolerance: Annotated[float, Field(ge=0, lt=1, description="of `number`: share by which it may differ")] = 0.0

    @field_validator("fields", mode="before")
    @classmethod
    def _of_list(cls, fields: Any) -> Any:
        return dict.fromkeys(cast("list[Any]", fields), "text") if isinstance(fields, list | tuple) else fields


class Source(Check[SourceOptions]):
    """Finds fields that no source holds. Without any source nothing can be compared, and that is told.

    `exact`: letter by letter; `text`: without case, accents, marks and line breaks; `number`: as a number, whatever
    marks and currency signs stand around it (a currency of both sides has to be the same); `date`: as a day, however it
    is written; `fuzzy`: as `text`, and about `threshold` alike.
    """

    takes: ClassVar[type[CheckOptions]] = SourceOptions

    def validate(self, output: Any, context: ValidationContext) -> Verdict:
        """Look for each field in each source."""
        wanted = self.options.sources
        sources = {name: text for name, text in context.sources.items() if not wanted or name in wanted}
        if not any(text.strip() for text in sources.values()):
            told = f"there is no source {' or '.join(wanted)}".rstrip() + " to compare with"
            return self.verdict([Reason("no_source", told)])
        return self.verdict(self._reasons(self.part(output), _Sources(sources, self.options)))

    def _reasons(self, part: Any, sources: "_Sources") -> Iterator[Reason]:
        for field, how in self.options.fields.items():
            for found in found_at(part, field):
                if found.there and (told := sources.objection(found, how)):
                    yield Reason("not_in_source", f"{place(found)} is {shown(found.value)}, {told}", found.path)


class _Sources:
    """The sources of one output; what is read out of them is read once."""

    def __init__(self, texts: Mapping[str, str], options: SourceOptions) -> None:
        self._texts = texts
        self._options = options
        self._names = ", ".join(list(texts)[:5])

    def objection(self, found: Found, how: How) -> str | None:
        """Return why it is not acceptable; None: a source holds it."""
        ways: Mapping[How, Callable[[Any], str | None]] = {
            "exact": self._exact, "text": self._text, "number": self._number, "date": self._date, "fuzzy": self._fuzzy,
        }  # fmt: skip
        return ways[how](found.value)

    def _exact(self, value: Any) -> str | None:
        return None if any(str(value) in text for text in self._texts.values()) else self._nowhere("")

    def _text(self, value: Any) -> str | None:
        wanted = words_of(str(value))
        return None if any(holds(words, wanted) for words in self._words) else self._nowhere("")

    def _number(self, value: Any) -> str | None:
        number = number_of(value)
        if number is None:
            return "which is no number"
        margin = abs(number.value) * _decimal(self._options.tolerance)
        others: set[str] = set()
        for other in self._numbers:
            if abs(other.value - number.value) > margin:
                continue
            if not (number.currency and other.currency) or number.currency == other.currency:
                return None
            others.add(other.currency)
        return self._nowhere(f"; as an amount in {', '.join(sorted(others))} it is" if others else "")

    def _date(self, value: Any) -> str | None:
        moment = moment_of(value, _UTC)
        if moment is None:
            return "which is no date"
        day = moment.date() if isinstance(moment, datetime) else moment
        return None if day in self._days else self._nowhere("")

    def _fuzzy(self, value: Any) -> str | None:
        wanted = words_of(str(value))
        # Cheap first: most of what is there is there word by word.
        if any(holds(words, wanted) for words in self._words):
            return None
        best = max((likeness(words, wanted) for words in self._words), default=0.0)
        return None if best >= self._options.threshold else self._nowhere(f"; the nearest is {best:.0%} alike")

    @cached_property
    def _words(self) -> list[list[str]]:
        return [words_of(text) for text in self._texts.values()]

    @cached_property
    def _numbers(self) -> list[Number]:
        return [number for text in self._texts.values() for number in dict.fromkeys(numbers_in(text))]

    @cached_property
    def _days(self) -> frozenset[date]:
        return frozenset(day for text in self._texts.values() for day in days_in(text))

    def _nowhere(self, more: str) -> str:
        return f"which is not in {self._names}{more}"


def _decimal(share: float) -> Decimal:
    return Decimal(str(share))
