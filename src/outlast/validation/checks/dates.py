"""`dates`: days in the future or in the past, in an order, not too old."""

from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Self, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import Field, model_validator

from outlast.setting_zones import ZoneName
from outlast.validation.checks.check import Check, CheckOptions, place, shown
from outlast.validation.days import as_instant, moment_of
from outlast.validation.paths import Found, Path, found_at
from outlast.validation.validator import Reason, ValidationContext, Verdict

Moment: TypeAlias = date | datetime
#: A hundred years; more is a mistake.
_MOST_DAYS = 36_500


class DatesOptions(CheckOptions):
    """The table."""

    future: tuple[Path, ...] = Field(default=(), description="days that are not over, times that are not past")
    past: tuple[Path, ...] = Field(default=(), description="days that have begun, times that are past")
    ordered: tuple[Annotated[tuple[Path, ...], Field(min_length=2)], ...] = Field(
        default=(), description='each not before the one in front of it: `[["signed", "closing"]]`'
    )
    not_older_than: dict[Path, Annotated[int, Field(ge=0, le=_MOST_DAYS)]] = Field(
        default_factory=dict[Path, int], description="days since then, at most"
    )
    within: dict[Path, Annotated[int, Field(ge=0, le=_MOST_DAYS)]] = Field(
        default_factory=dict[Path, int], description="days until then, at most"
    )
    formats: tuple[str, ...] = Field(default=(), description="of strptime, tried before ISO 8601 and written months")
    zone: ZoneName = Field(default="UTC", description="of `today`, and of times that say none, as Europe/Berlin")

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if not (self.future or self.past or self.ordered or self.not_older_than or self.within):
            msg = "give future, past, ordered, not_older_than or within"
            raise ValueError(msg)
        return self


class Dates(Check[DatesOptions]):
    """Finds days that cannot be. What is not there is `required`'s business; what is no date is told."""

    takes: ClassVar[type[CheckOptions]] = DatesOptions

    def __init__(self, options: DatesOptions) -> None:
        super().__init__(options)
        self._zone = ZoneInfo(options.zone)

    def validate(self, output: Any, context: ValidationContext) -> Verdict:
        """Compare with the context's now, and with each other."""
        part, now = self.part(output), context.now.astimezone(self._zone)
        return self.verdict([*self._against(part, now), *self._in_order(part)])

    def _against(self, part: Any, now: datetime) -> Iterator[Reason]:
        options, today = self.options, now.date()
        for field in options.future:
            yield from self._each(
                part,
                field,
                "in_the_past",
                f"is in the past (today is {today})",
                lambda moment: as_instant(moment, self._zone, end=True) < now,
            )
        for field in options.past:
            yield from self._each(
                part,
                field,
                "in_the_future",
                f"is in the future (today is {today})",
                lambda moment: as_instant(moment, self._zone) > now,
            )
        for field, days in options.not_older_than.items():
            first = today - timedelta(days=days)
            yield from self._each(
                part,
                field,
                "too_old",
                f"is more than {days} days ago (today is {today})",
                partial(self._is_day_before, first),
            )
        for field, days in options.within.items():
            last = today + timedelta(days=days)
            yield from self._each(
                part,
                field,
                "too_late",
                f"is more than {days} days away (today is {today})",
                partial(self._is_day_behind, last),
            )

    def _each(
        self, part: Any, field: str, code: str, told: str, is_wrong: "Callable[[Moment], bool]"
    ) -> Iterator[Reason]:
        for found, moment in self._moments(part, field):
            if moment is None:
                yield _no_date(found)
            elif is_wrong(moment):
                yield _told(code, found, told)

    def _is_day_before(self, first: date, moment: Moment) -> bool:
        return self._day(moment) < first

    def _is_day_behind(self, last: date, moment: Moment) -> bool:
        return self._day(moment) > last

    def _in_order(self, part: Any) -> Iterator[Reason]:
        for chain in self.options.ordered:
            for first, second in pairwise(chain):
                yield from self._pairs(part, first, second)

    def _pairs(self, part: Any, first: str, second: str) -> Iterator[Reason]:
        """Compare those whose stars stand for the same: `items.*.from` and `items.*.to` of each item."""
        earlier = list(self._moments(part, first))
        for found, moment in self._moments(part, second):
            for before, start in earlier:
                shared = min(len(before.stars), len(found.stars))
                if before.stars[:shared] != found.stars[:shared]:
                    continue
                if moment is None or start is None:
                    yield _no_date(found if moment is None else before)
                elif self._is_before(moment, start):
                    yield _told("out_of_order", found, f"is before {place(before)}, {shown(before.value)}")

    def _is_before(self, moment: Moment, other: Moment) -> bool:
        """Whether it is certainly before: a day is not before a time of the same day."""
        return as_instant(moment, self._zone, end=True) < as_instant(other, self._zone)

    def _day(self, moment: Moment) -> date:
        return moment.astimezone(self._zone).date() if isinstance(moment, datetime) else moment

    def _moments(self, part: Any, field: str) -> Iterator[tuple[Found, Moment | None]]:
        for found in found_at(part, field):
            if found.there:
                yield found, moment_of(found.value, self._zone, self.options.formats)


def _no_date(found: Found) -> Reason:
    return _told("not_a_date", found, "is no date; write it as 2026-12-31")


def _told(code: str, found: Found, told: str) -> Reason:
    return Reason(code, f"{place(found)} is {shown(found.value)}, which {told}", found.path)
