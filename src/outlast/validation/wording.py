"""Texts compared as people compare them: without case, accents, marks and line breaks."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from typing import Final

_WORD: Final = re.compile(r"\w+")
# Of a field; a longer one is compared by its beginning.
_MOST_WORDS: Final = 200
# Beyond, words are compared and not letters: a sentence with a typing error is still the sentence.
_SHORT_WORDS: Final = 24
# Places of a source that are compared; they are the ones that share most words.
_MOST_COMPARED: Final = 30


def words_of(text: str) -> list[str]:
    """Return the words of a text as they are compared."""
    if text.isascii():
        return _WORD.findall(text.lower())
    decomposed = unicodedata.normalize("NFKD", text.casefold())
    return _WORD.findall("".join(c for c in decomposed if not unicodedata.combining(c)))


def holds(words: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether the words stand in the text one behind the other."""
    if not wanted:
        return False
    # Words hold no spaces, so that a part of one is never found.
    return f" {' '.join(wanted)} " in f" {' '.join(words)} "


def likeness(words: Sequence[str], wanted: Sequence[str]) -> float:
    """Return how alike the most alike place of the text is, from 0 to 1, letter by letter; long texts word by word."""
    wanted = wanted[:_MOST_WORDS]
    if not wanted or not words:
        return 0.0
    is_short = len(wanted) <= _SHORT_WORDS
    matcher: SequenceMatcher[str] = SequenceMatcher(autojunk=False, b=" ".join(wanted) if is_short else wanted)
    best = 0.0
    for start, length in _candidates(words, wanted):
        place = words[start : start + length]
        matcher.set_seq1(" ".join(place) if is_short else place)
        if matcher.real_quick_ratio() > best and matcher.quick_ratio() > best:
            best = max(best, matcher.ratio())
    return best


def _candidates(words: Sequence[str], wanted: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Yield the places whose words begin most like those that are wanted, the most alike first."""
    size = min(len(wanted), len(words))
    keys = Counter(word[:3] for word in wanted)
    window = Counter(word[:3] for word in words[:size])
    shared = sum((window & keys).values())
    scores: list[tuple[int, int]] = [(shared, 0)]
    for start in range(1, len(words) - size + 1):
        gone, new = words[start - 1][:3], words[start + size - 1][:3]
        shared -= 0 < window[gone] <= keys[gone]
        window[gone] -= 1
        window[new] += 1
        shared += 0 < window[new] <= keys[new]
        scores.append((shared, start))
    scores.sort(key=lambda score: (-score[0], score[1]))
    for _, start in scores[:_MOST_COMPARED]:
        for length in {size, max(1, size - 1), size + 1}:
            yield start, length
