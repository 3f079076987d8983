"""Dates as people write them: ISO 8601, `1 December 2026`, `December 1st, 2026`, `01.12.2026`, `12/1/2026`."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, time, tzinfo
from typing import Any, Final

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        ("jan january januar", "feb february februar", "mar march märz maerz", "apr april", "may mai", "jun june juni",
         "jul july juli", "aug august", "sep sept september", "oct october oktober okt", "nov november",
         "dec december dezember dez"),
        start=1,
    )
    for name in names.split()
}  # fmt: skip
_MONTH: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))
_ISO: Final = re.compile(r"(\d{4})-(\d{2})-(\d{2})(?!\d)")
# Found by its year, and only then is looked what stands before it: sources are long.
_YEAR: Final = re.compile(r"(?<!\d)\d{4}(?!\d)")
_DAY_FIRST: Final = re.compile(
    rf"(?<!\d)(\d{{1,2}})(?:st|nd|rd|th|\.)?\s(?:of\s)?({_MONTH})\.?,?\s(\d{{4}})\Z", re.IGNORECASE
)
_MONTH_FIRST: Final = re.compile(rf"\b({_MONTH})\.?\s(\d{{1,2}})(?:st|nd|rd|th)?,?\s(\d{{4}})\Z", re.IGNORECASE)
_FIGURES: Final = re.compile(r"(?<!\d)(\d{1,2})([./-])(\d{1,2})\2(\d{4})\Z")
# The longest that may stand before a year, and a letter more.
_FAR: Final = len("x01st of september., ")


def days_in(text: str) -> Iterator[date]:
    """Yield the days of a text; one that can be read in two ways is both (`3/4/2026`)."""
    for match in _YEAR.finditer(text):
        if iso := _ISO.match(text, match.start()):
            yield from _day(*map(int, iso.groups()))
        else:
            yield from _before(text[max(0, match.start() - _FAR) : match.end()])


def _before(text: str) -> Iterator[date]:
    """Yield the day that ends with the year at the end of a text."""
    if found := _DAY_FIRST.search(text):
        yield from _day(int(found[3]), _MONTHS[found[2].lower()], int(found[1]))
    elif found := _MONTH_FIRST.search(text):
        yield from _day(int(found[3]), _MONTHS[found[1].lower()], int(found[2]))
    elif found := _FIGURES.search(text):
        first, second, year = int(found[1]), int(found[3]), int(found[4])
        yield from _day(year, second, first)
        # With dots the day is first wherever people write dots.
        if found[2] != ".":
            yield from _day(year, first, second)


def moment_of(value: Any, zone: tzinfo, formats: Sequence[str] = ()) -> date | datetime | None:
    """Return the day, or the aware instant, that a field holds; None when it holds none.

    A time without a zone is in `zone`. `formats` are those of `strptime`, tried first. A day that can be read in two
    ways is none: `3/4/2026` needs a format.
    """
    if isinstance(value, datetime):
        return value if value.tzinfo is not None else value.replace(tzinfo=zone)
    if isinstance(value, date):
        return value
    if not isinstance(value, str):
        return None
    text = value.strip()
    for form in formats:
        found = _by_format(text, form, zone)
        if found is not None:
            return found
    return _iso(text, zone) or _written(text)


def _iso(text: str, zone: tzinfo) -> date | datetime | None:
    if _ISO.fullmatch(text):
        return next(_day(*map(int, text.split("-"))), None)
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        return None
    # Of eight digits in a row, and of weeks: dates, too.
    if len(text) <= len("2026-W48-6"):
        return found.date()
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def _written(text: str) -> date | None:
    if not any(form.fullmatch(text) for form in (_DAY_FIRST, _MONTH_FIRST, _FIGURES)):
        return None
    found = set(days_in(text))
    return found.pop() if len(found) == 1 else None


def _by_format(text: str, form: str, zone: tzinfo) -> date | datetime | None:
    try:
        found = datetime.strptime(text, form)  # noqa: DTZ007 - the zone comes below
    except ValueError:
        return None
    if not any(part in form for part in ("%H", "%I", "%X", "%c", "%s")):
        return found.date()
    return found if found.tzinfo is not None else found.replace(tzinfo=zone)


def as_instant(moment: date | datetime, zone: tzinfo, *, end: bool = False) -> datetime:
    """Return an instant that can be compared: of a day its first moment, or its last one."""
    local = moment
    if not isinstance(local, datetime):
        local = datetime.combine(local, time.max if end else time.min, tzinfo=zone)
    try:
        return local.astimezone(UTC)
    except OverflowError:
        # The first and the last day that there is, seen from elsewhere.
        return local.replace(tzinfo=UTC)


def _day(year: int, month: int, day: int) -> Iterator[date]:
    try:
        yield date(year, month, day)
    except ValueError:
        return
