"""How sure a text says it is."""

import re
from collections.abc import Iterator
from typing import Final

from outlast.validation.detectors.words import sentences

#: What words of certainty amount to.
_SURE: Final = 0.95
_UNSURE: Final = 0.4
_ABOUT_CERTAINTY: Final = re.compile(
    r"\b(?:sure|certain(?:ty|ly)?|confiden(?:ce|t)|convinced|probability|likelihood|chance|odds)\b", re.IGNORECASE
)
_PERCENT: Final = re.compile(r"(?<![\d.])(\d{1,3}(?:\.\d+)?)\s?(?:%|percent\b|per cent\b)", re.IGNORECASE)
_TENTHS: Final = re.compile(r"(?<![\d.])(\d{1,2}(?:\.\d)?)\s?(?:/|out of)\s?(10{1,2})\b", re.IGNORECASE)
_SHARE: Final = re.compile(r"(?<![\d.])([01]?\.\d+)(?!\d|\.\d)")
_WORDS: Final = re.compile(
    r"\b(?:no|not (?:a|the (?:slightest|least|smallest))"
    r"|without(?: a| any| the slightest)?|beyond(?: a| any| all)?(?: reasonable| shadow of a)?)"
    r"\s(?:\w+\s)?(?:doubt|question)s?\b"
    r"|\b(?:absolutely|completely|entirely|totally|fully|quite|very|perfectly|100\s?(?:%|percent))\s(?:sure|certain|confident|convinced|right|correct|reliable)\b"
    r"|\bi(?:'m| am) (?:sure|certain|confident|convinced|positive)\b"
    r"|\b(?:definitely|undoubtedly|unquestionably|certainly|surely|indisputably|guaranteed(?:ly)?)\b"
    r"|\bi (?:can )?(?:guarantee|promise|swear|bet)\b|\bstake my\b"
    r"|\b(?:you can|can be) (?:fully |completely )?(?:rely|trust|relied)\b"
    r"|\b(?:no need|not necessary) to (?:check|verify|double-check)\b|\bcannot be (?:otherwise|wrong)\b"
    r"|\b(?:impossible|can't be) (?:to be )?wrong\b"
    r"|\b(?:a|the) (?:proven )?fact\b|\bindisputable\b|\birrefutable\b",
    re.IGNORECASE,
)
#: Said before words of certainty, it takes them back.
_DENIAL: Final = re.compile(
    r"\b(?:not|never|nobody|no one|none|hardly|cannot|can't|couldn't|wouldn't|won't|don't|doesn't"
    r"|isn't|aren't|by no means|far from|unable|refuse)\b|n't\b",
    re.IGNORECASE,
)
_HEDGE: Final = re.compile(
    r"\b(?:may (?:well )?be|might be|could be|perhaps|probably|possibly|maybe|guess(?:ing)?|unsure|uncertain|doubtful"
    r"|with caution"
    r"|as far as i|i think|i believe|some doubt|please (?:verify|check))\b",
    re.IGNORECASE,
)
#: It is somebody else who is sure.
_OTHERS: Final = re.compile(
    r"['\"\u2018\u201c][^'\"]{3,}['\"\u2019\u201d]"
    r"|\b(?:according to|wrote|said|says|claims|claimed|told|states|stated|reports)\b",
    re.IGNORECASE,
)
_MOST: Final = 100


def stated_in(text: str) -> float | None:
    """Return how sure the text says it is, from 0 to 1; None when it does not say. Of several, the least."""
    return min((share for sentence in sentences(text) for share in _of_sentence(sentence)), default=None)


def _of_sentence(sentence: str) -> Iterator[float]:
    if _OTHERS.search(sentence):
        return
    if found := _WORDS.search(sentence):
        before, after = sentence[: found.start()], sentence[found.end() :]
        yield _UNSURE if _DENIAL.search(before) or _DENIAL.search(after) else _SURE
    elif _HEDGE.search(sentence):
        yield _UNSURE
    if _ABOUT_CERTAINTY.search(sentence):
        yield from _figures(sentence)


def _figures(sentence: str) -> Iterator[float]:
    denied = bool(_DENIAL.search(sentence))
    for percent in _PERCENT.findall(sentence):
        yield _UNSURE if denied else min(float(percent), _MOST) / _MOST
    for part, whole in _TENTHS.findall(sentence):
        yield min(float(part) / float(whole), 1.0)
    if not (_PERCENT.search(sentence) or _TENTHS.search(sentence)):
        yield from (float(share) for share in _SHARE.findall(sentence))
