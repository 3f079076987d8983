"""Numbers as people write them: `1250`, `$1,250.00`, `1.250,00 EUR`, `1 250`, `2.5 million`, `(500)`."""

import re
from collections.abc import Iterator
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

_CURRENCIES: Final = {
    "$": "USD", "us$": "USD", "usd": "USD", "dollars": "USD", "dollar": "USD", "€": "EUR", "eur": "EUR", "euro": "EUR",
    "euros": "EUR", "£": "GBP", "gbp": "GBP", "pounds": "GBP", "pound": "GBP", "¥": "JPY", "jpy": "JPY", "yen": "JPY",
    "chf": "CHF", "₹": "INR", "inr": "INR", "cny": "CNY", "cad": "CAD", "aud": "AUD", "₽": "RUB", "rub": "RUB",
    "sek": "SEK", "nok": "NOK", "dkk": "DKK", "pln": "PLN",
}  # fmt: skip
_SCALES: Final = {
    "k": 10**3, "thousand": 10**3, "m": 10**6, "mm": 10**6, "mn": 10**6, "mio": 10**6, "million": 10**6,
    "millions": 10**6, "b": 10**9, "bn": 10**9, "billion": 10**9,
}  # fmt: skip
_UNIT: Final = "|".join(re.escape(unit) for unit in sorted(_CURRENCIES, key=len, reverse=True))
_SCALE: Final = "|".join(sorted(_SCALES, key=len, reverse=True))
# Found by its digits, and only then is looked what stands around them: sources are long.
_DIGITS: Final = re.compile(
    r"(?<![\d.,])(?<!\w)(?:\d{1,3}(?:[ \u00a0\u202f'.,]\d{3}){1,6}(?:[.,]\d{1,6})?(?!\d)|\d{1,30}(?:[.,]\d{1,12})?)"
)
_BEFORE: Final = re.compile(
    rf"(?P<open>\()?(?P<sign>[-+\u2212])?\s?(?P<unit>(?<!\w)(?:{_UNIT}))?\s?(?P<sign2>[-\u2212])?\Z", re.IGNORECASE
)
_BEHIND: Final = re.compile(
    rf"(?:\s?(?P<scale>{_SCALE})\b\.?)?(?:\s?(?P<unit>{_UNIT})(?!\w))?(?:\s?(?P<percent>%))?(?P<close>\))?",
    re.IGNORECASE,
)
# The longest that may stand before a number.
_FAR: Final = len("(- dollars -")
_GROUPED: Final = re.compile(r"\d{1,3}(?:(?P<sep>[.,])\d{3})(?:(?P=sep)\d{3})*")


class Number(NamedTuple):
    """A number, and the currency that stands beside it; None: none does."""

    value: Decimal
    currency: str | None = None


def numbers_in(text: str) -> Iterator[Number]:
    """Yield the numbers of a text in their order; one that can be read in two ways (`1,250`) is both, 1250 first."""
    for match in _DIGITS.finditer(text):
        numbers, _, _ = _read(text, match)
        yield from numbers


def number_of(value: Any) -> Number | None:
    """Return the number that a field holds, as a number or as a text that is nothing else; None when it holds none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float | Decimal):
        return _finite(str(value))
    if not isinstance(value, str):
        return None
    text = value.strip()
    match = _DIGITS.search(text)
    if match is None:
        return None
    numbers, start, end = _read(text, match)
    # Or as programs write them: 1e6.
    return numbers[0] if (start, end) == (0, len(text)) else _finite(text)


def _finite(text: str) -> Number | None:
    try:
        number = Decimal(text)
    except InvalidOperation:
        return None
    return Number(number) if number.is_finite() else None


def _read(text: str, match: "re.Match[str]") -> tuple[list[Number], int, int]:
    """Return what the digits may mean with what stands around them, and from where to where that is."""
    first = max(0, match.start() - _FAR)
    before, behind = _BEFORE.search(text[first : match.start()]), _BEHIND.match(text, match.end())
    assert before is not None  # noqa: S101 - both match nothing as well
    assert behind is not None  # noqa: S101 - as above
    unit = before["unit"] or behind["unit"]
    scale = _SCALES[behind["scale"].lower()] if behind["scale"] else 1
    # In books a loss stands in brackets; elsewhere brackets are brackets.
    loss = before["open"] and behind["close"] and unit
    is_negative = before["sign"] in {"-", "\u2212"} or before["sign2"] or loss
    values = [Decimal(digits) * scale for digits in dict.fromkeys(_plain(match[0]))]
    currency = _CURRENCIES[unit.lower()] if unit else None
    numbers = [Number(-value if is_negative else value, currency) for value in values]
    return numbers, first + before.start(), behind.end()


def _plain(digits: str) -> Iterator[str]:
    """Yield what the digits may mean: the last of two kinds of marks is that of the fraction."""
    compact = re.sub(r"[ \u00a0\u202f']", "", digits)
    marks = [character for character in compact if character in ".,"]
    if not marks:
        yield compact
    elif len(set(marks)) > 1:
        last = marks[-1]
        other = "." if last == "," else ","
        yield compact.replace(other, "").replace(last, ".")
    elif _GROUPED.fullmatch(compact):
        yield compact.replace(marks[0], "")
        # One mark with three digits behind it may be either.
        if len(marks) == 1:
            yield compact.replace(",", ".")
    else:
        head, _, tail = compact.rpartition(marks[0])
        yield f"{re.sub('[.,]', '', head)}.{tail}"
