"""What looks like personal data, or like a secret, in a text.

Each detector is a pattern that finds candidates, in time that grows with the length of the text alone (what repeats is
bounded), and a check of what the pattern cannot say: sums of digits, ranges of numbers.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final

from outlast.settings_policies import PersonalKind


@dataclass(frozen=True, slots=True)
class Finding:
    """A place in a text. The text itself is not repeated."""

    kind: PersonalKind
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class _Detector:
    kind: PersonalKind
    pattern: re.Pattern[str]
    holds: Callable[[str], bool]
    #: A text in which this is not found holds none; looked for first, since most texts hold nothing at all.
    needs: re.Pattern[str]


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others, as in numbers of payment cards."""
    doubled = [int(digit) * (2 if place % 2 else 1) for place, digit in enumerate(reversed(digits))]
    return sum(number - 9 if number > 9 else number for number in doubled) % 10 == 0  # noqa: PLR2004 - digits


def iban_holds(text: str) -> bool:
    """Whether the two check digits of an IBAN fit; it has the length that its country has."""
    compact = re.sub(r"[ \-]", "", text).upper()
    length = _IBAN_LENGTHS.get(compact[:2])
    if length is None or len(compact) != length:
        return False
    turned = compact[4:] + compact[:4]
    return int("".join(str(int(letter, 36)) for letter in turned)) % 97 == 1


def _is_card(text: str) -> bool:
    digits = _digits(text)
    # Thirteen to nineteen digits that begin as those of the big networks; the same digit all along is an example.
    return 13 <= len(digits) <= 19 and digits[0] in "23456" and len(set(digits)) > 1 and luhn(digits)  # noqa: PLR2004


def _is_phone(text: str) -> bool:
    return 7 <= len(_digits(text)) <= 15  # noqa: PLR2004 - E.164


def _is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True


def _always(_text: str) -> bool:
    return True


def _digits(text: str) -> str:
    return "".join(filter(str.isdecimal, text))


# ISO 13616, of the countries that have one.
_IBAN_LENGTHS: Final = {
    "AD": 24, "AE": 23, "AL": 28, "AT": 20, "AZ": 28, "BA": 20, "BE": 16, "BG": 22, "BH": 22, "BR": 29, "BY": 28,
    "CH": 21, "CR": 22, "CY": 28, "CZ": 24, "DE": 22, "DK": 18, "DO": 28, "EE": 20, "EG": 29, "ES": 24, "FI": 18,
    "FO": 18, "FR": 27, "GB": 22, "GE": 22, "GI": 23, "GL": 18, "GR": 27, "GT": 28, "HR": 21, "HU": 28, "IE": 22,
    "IL": 23, "IQ": 23, "IS": 26, "IT": 27, "JO": 30, "KW": 30, "KZ": 20, "LB": 28, "LC": 32, "LI": 21, "LT": 20,
    "LU": 20, "LV": 21, "MC": 27, "MD": 24, "ME": 22, "MK": 19, "MR": 27, "MT": 31, "MU": 30, "NL": 18, "NO": 15,
    "PK": 24, "PL": 28, "PS": 29, "PT": 25, "QA": 29, "RO": 24, "RS": 22, "SA": 24, "SC": 31, "SE": 24, "SI": 19,
    "SK": 24, "SM": 27, "ST": 25, "SV": 28, "TL": 23, "TN": 24, "TR": 26, "UA": 29, "VA": 22, "VG": 24, "XK": 20,
}  # fmt: skip
_SECRET: Final = "|".join(  # noqa: FLY002 - one kind of key per line
    (
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----",
        r"\b(?:sk|pk|rk)[-_](?:live|test|ant|proj|or|svcacct)?[-_A-Za-z0-9]{20,200}",
        r"\bok_[A-Za-z0-9]{4,64}_[-_A-Za-z0-9]{20,200}",
        r"\bgh[pousr]_[A-Za-z0-9]{20,255}",
        r"\bgithub_pat_[A-Za-z0-9_]{20,255}",
        r"\bglpat-[-_A-Za-z0-9]{20,100}",
        r"\bxox[abeoprs]-[-A-Za-z0-9]{10,250}",
        r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b",
        r"\bAIza[-_A-Za-z0-9]{35}",
        r"\blsv2_(?:pt|sk)_[A-Za-z0-9_]{20,100}",
        r"\bhf_[A-Za-z0-9]{30,100}",
        r"\bnpm_[A-Za-z0-9]{36}",
        r"\bpypi-[-_A-Za-z0-9]{50,250}",
        r"\bSG\.[-_A-Za-z0-9]{16,32}\.[-_A-Za-z0-9]{32,64}",
        r"\bwhsec_[A-Za-z0-9+/=]{24,200}",
        r"\beyJ[-_A-Za-z0-9]{10,2000}\.eyJ[-_A-Za-z0-9]{10,4000}\.[-_A-Za-z0-9]{10,2000}",
    )
)
_DIGIT: Final = re.compile(r"\d")
# In the order in which they are believed: what one has found, the next one does not look at.
_DETECTORS: Final = (
    _Detector("secret", re.compile(_SECRET), _always, needs=re.compile(r"[-_A-Za-z0-9.+/=]{15}|-----BEGIN")),
    _Detector(
        "email",
        re.compile(r"[\w.!#$%&'*+/=?^`{|}~-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,8}[A-Za-z]{2,24}\b"),
        _always,
        needs=re.compile("@"),
    ),
    _Detector(
        "iban",
        re.compile(r"\b[A-Za-z]{2}\d{2}(?:[ \-]?[A-Za-z0-9]){11,30}(?![A-Za-z0-9])"),
        iban_holds,
        needs=_DIGIT,
    ),
    _Detector("credit_card", re.compile(r"(?<![\d.])\d(?:[ \-]?\d){12,18}(?!\d)"), _is_card, needs=_DIGIT),
    _Detector(
        "ssn", re.compile(r"(?<![\d-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\d-])"), _always, needs=_DIGIT
    ),
    _Detector(
        "ip",
        re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.]*\d)|(?<![\w:])(?:[0-9A-Fa-f]{0,4}:){2,7}[0-9A-Fa-f]{0,4}(?![\w:])"),
        lambda text: len(text) > len("::1") and _is_address(text),
        needs=re.compile(r"[.:].*[.:]", re.DOTALL),
    ),
    # International, with a leading zero, or as North Americans group them: a bare row of digits may be any number.
    _Detector(
        "phone",
        re.compile(
            r"(?<![\w.+])(?:\+|00)[1-9](?:[ ()./\-]{0,2}\d){6,14}(?!\d)"
            r"|(?<![\w.+\-/])\(?0\d{1,5}\)?[ /\-](?:[ ./\-]?\d){4,10}(?![\d.:\-])"
            r"|(?<![\w.+\-])(?:\(\d{3}\) ?|\d{3}[ .\-])\d{3}[ .\-]\d{4}(?![\d.\-])"
        ),
        _is_phone,
        needs=_DIGIT,
    ),
)  # fmt: skip


def found_in(text: str, kinds: Iterable[PersonalKind]) -> list[Finding]:
    """Return what the text holds of these kinds, in its order, without overlaps."""
    wanted = frozenset(kinds)
    findings: list[Finding] = []
    for detector in _DETECTORS:
        if detector.kind in wanted and detector.needs.search(text):
            findings += [found for found in _candidates(detector, text) if not _overlaps(found, findings)]
    return sorted(findings, key=lambda found: found.start)


def masked(text: str, findings: Iterable[Finding]) -> str:
    """Return the text with the name of the kind in the place of each finding: `<email>`."""
    parts: list[str] = []
    end = 0
    for found in findings:
        parts += (text[end : found.start], f"<{found.kind}>")
        end = found.end
    return "".join((*parts, text[end:]))


def _candidates(detector: _Detector, text: str) -> Iterator[Finding]:
    for match in detector.pattern.finditer(text):
        if detector.holds(match[0]):
            yield Finding(detector.kind, match.start(), match.end())
        elif detector.kind == "iban":
            yield from _shorter_iban(match)


def _shorter_iban(match: re.Match[str]) -> Iterator[Finding]:
    """Yield what is left of it without the word behind it, which looks like a part: the country says how long it is."""
    length, seen = _IBAN_LENGTHS.get(match[0][:2].upper(), 0), 0
    for place, character in enumerate(match[0]):
        seen += character not in " -"
        if seen == length:
            candidate = match[0][: place + 1]
            if iban_holds(candidate) and not match[0][place + 1 : place + 2].isalnum():
                yield Finding("iban", match.start(), match.start() + place + 1)
            return


def _overlaps(found: Finding, others: Iterable[Finding]) -> bool:
    return any(found.start < other.end and other.start < found.end for other in others)
