"""What of a sentence can be looked up: references, names, figures; and the sources, as they are looked up in."""

import re
from collections.abc import Iterable, Iterator
from datetime import date
from decimal import Decimal, InvalidOperation
from itertools import combinations
from typing import Final

from outlast.validation.days import days_in
from outlast.validation.detectors.words import head, listed, stems
from outlast.validation.numbers import numbers_in

_REFERENCE: Final = re.compile(
    r"§+\s?\d+[a-z]?(?:\s?\(\d+\))?"
    r"|\b(?i:section|article|clause|paragraph|rule|chapter|annex|appendix|guideline|directive|regulation|act|instruction|runbook"
    r"|recommendation|incident|standard|page)\s(?:\([A-Z]{2,3}\)\s)?(?:No\.?\s)?[A-Z]{0,4}-?\d[\w./()-]*"
    r"|\b(?i:doi):\S+|\b10\.\d{4,}/\S+"
    r"|\b[A-Z]{1,10}-\d{2,}(?:[-/]\d+)*\b|\b[A-Z]{2,4}\s?\d{3,6}(?:/\d+)?\b"
    r"|\b\d{1,4}/\d{2,4}/[A-Z]{2,4}\b"
    r"|\b[A-Z][a-z]+ v\.? [A-Z][a-z]+|\bet al\.?\s\(\d{4}\)"
)
# Within a sentence: words that begin with a capital. The first word of a sentence has one anyway.
_NAME: Final = re.compile(
    r"(?:[A-Z][\w'\u2019&.-]*[\w])(?:\s(?:(?:of|von|van|de|der|da|the|and)\s)?[A-Z][\w'\u2019&-]*)*"
)
_ORDINARY: Final = listed(
    """i monday tuesday wednesday thursday friday saturday sunday january february march april may june july august
    september october november december eur usd gbp vat kwh gb mb tb kg cm mm utc cet ok yes no conclusion english"""
)
_SMALL: Final = {
    word: number
    for number, word in enumerate(
        (
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
            "twenty-one",
        )
    )
}
# With more figures than these, one step of arithmetic leads everywhere.
_MOST_FIGURES: Final = 40
_PER_CENT: Final = re.compile(r"%|\bper ?cent\b", re.IGNORECASE)
#: Of months, days, hours, minutes, and of units.
_FACTORS: Final = tuple(map(Decimal, (7, 12, 1000)))
_MOST_PER_CENT: Final = 50
_NOT_COUNTED: Final = re.compile(
    r"\b\d{1,2}:\d{2}\b|\b\d{1,2}(?:st|nd|rd|th)? [A-Z][a-z]{2,8}\b|\b[A-Z]+-?\d+\b|\b\d{5,}\b(?![.,]\d)"
    r"|\b(?i:patient|employee|order|claim|invoice|contract|unit|customer)s?\W{1,3}\d+\b"
)
_UNIT: Final = re.compile(r"[A-Z]{2,4}\s\d{3,6}")
_GAP: Final = r"[\s,]*"
_CENT: Final = Decimal("0.01")
_LEAST_TOLD: Final = 2
#: A figure that no source has; the same when arithmetic leads to it.
_INVENTED, _DERIVED = 0.85, 0.3


class Grounds:
    """The texts that claims may rest upon."""

    def __init__(self, texts: Iterable[str]) -> None:
        whole = "\n".join(texts)
        self._whole = whole
        self._plain = _squeezed(whole)
        self._words = frozenset(stems(whole))
        self._heads = frozenset(map(head, self._words))
        self._days = frozenset(days_in(whole))
        self._figures = frozenset(_figures(whole))
        # Numbers of orders, times of day and days of a month are not added up.
        self._countable = frozenset(_figures(_NOT_COUNTED.sub(" ", _REFERENCE.sub(" ", whole))))

    def hold_reference(self, reference: str) -> bool:
        """Whether it is there, in whatever case and with whatever spaces."""
        parts = (re.escape(part) for part in re.split(r"[\s,]+", reference) if part)
        # `section 1` is not `section 17`.
        if _UNIT.fullmatch(reference):
            # `VAT 456` may be an amount of what the source calls so.
            return all(re.search(rf"\b{part}(?!\d)", self._whole.replace(",", "")) for part in reference.split())
        return bool(re.search(rf"(?<![^\W_]){_GAP.join(parts)}(?!\d)", self._whole, re.IGNORECASE))

    def hold_name(self, name: str) -> bool:
        """Whether all words of a name are there."""
        words = [word.strip("'\u2019") for word in re.split(r"[\s.]+", name) if word and word[0].isupper()]
        return all(_squeezed(word.removesuffix("'s")) in self._plain for word in words)

    def hold_word(self, word: str) -> bool:
        """Whether the stem is there, or one like it."""
        return word in self._words or head(word) in self._heads

    def unsupported_figures(self, sentence: str) -> Iterator[tuple[str, float]]:
        """Yield the figures that are not there, and how much that says."""
        for day in days_in(sentence):
            if day not in self._days and not self._follows(day):
                yield day.isoformat(), _INVENTED
        said = list(_figures(_REFERENCE.sub(" ", sentence)))
        shares = bool(_PER_CENT.search(sentence))
        for figure in said:
            if figure not in self._figures:
                others = self._countable.union(said) - {figure}
                yield str(figure), _DERIVED if _leads_to(figure, others, shares=shares) else _INVENTED

    def _follows(self, day: date) -> bool:
        return any(Decimal(abs((day - known).days)) in self._figures for known in self._days)


def references_in(sentence: str) -> Iterator[str]:
    """Yield what points to a text elsewhere: sections, cases, standards, numbers of incidents."""
    for found in _REFERENCE.finditer(sentence):
        if any(character.isdigit() for character in found[0]) or " v" in found[0]:
            reference = found[0].rstrip(".,;:")
            yield reference if "(" in reference else reference.rstrip(".,;:)")


def names_in(sentence: str) -> Iterator[str]:
    """Yield what has a capital though no sentence begins there."""
    text = _REFERENCE.sub(lambda found: " " * len(found[0]), sentence)
    for found in _NAME.finditer(text):
        name = found[0]
        if found.start() == 0 or text[max(0, found.start() - 2) : found.start()] in {": ", '"', "'"}:
            # The first word has its capital from the sentence.
            _, _, name = name.partition(" ")
        if name and name[0].isupper() and name.lower() not in _ORDINARY and not name.isupper():
            yield name


def _figures(text: str) -> Iterator[Decimal]:
    """Yield the figures of a text that are part of no day; small numbers in words, too."""
    without = text
    for form in (
        r"\d{4}-\d{2}-\d{2}",
        r"\b\d{1,2}(?:st|nd|rd|th)? [A-Z][a-z]{2,8} \d{4}",
        r"\b[A-Z][a-z]{2,8} \d{1,2},? \d{4}",
    ):
        without = re.sub(form, " ", without)
    for number in numbers_in(without):
        yield abs(number.value)
    for word in re.findall(r"[a-z]+(?:-[a-z]+)?", text.lower()):
        if _SMALL.get(word, 0) > _LEAST_TOLD:
            yield Decimal(_SMALL[word])


def _leads_to(figure: Decimal, known: Iterable[Decimal], *, shares: bool) -> bool:
    """Whether one step of arithmetic leads there, to as many places as the figure has."""
    places = Decimal(1).scaleb(int(figure.as_tuple().exponent))
    return any(_rounded(other, places) == figure for other in _derived(known, shares=shares))


def _rounded(number: Decimal, places: Decimal) -> Decimal | None:
    try:
        return number.quantize(places)
    except InvalidOperation:
        return None


def _derived(figures: Iterable[Decimal], *, shares: bool) -> Iterator[Decimal]:
    known = [figure for figure in figures if figure][:_MOST_FIGURES]
    for one, other in combinations(known, 2):
        large, small = max(one, other), min(one, other)
        yield from (one + other, large - small, large * small)
        if large / small == (large / small).quantize(_CENT):
            yield large / small
        if shares:
            yield from (small / large * 100, (large - small) / small * 100, (large - small) / large * 100)
        if small <= _MOST_PER_CENT:
            yield from (large * small / 100, large - large * small / 100)
    for factor in _FACTORS:
        for figure in known:
            yield from (figure * factor, figure / factor)


def _squeezed(text: str) -> str:
    return re.sub(r"[\s,]+", "", text).lower()
