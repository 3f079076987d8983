"""Words of English texts: cut to their stems, without those that say nothing of the subject."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

_WORD: Final = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)?")
# An end of a sentence is no point of a figure, of an abbreviation of one letter, or within a name.
_SENTENCE: Final = re.compile(r"(?<=[.!?])[\"'\u201d)]?\s+(?=[\"'\u201c(]?[^\W_a-z])|\n+|;\s+")


def listed(words: str) -> frozenset[str]:
    """Return the words of a text."""
    return frozenset(words.split())


_STOP: Final = listed(
    """a about above after again all also always am an and another any anybody anything are as at be because been before
    being below between both but by can cannot could did do does doing done down during each either else enough even
    ever every few for from further get give given gives go got had has have having he her here hers him his how i if
    in into is it its itself just keep know let like made make many may me mine more most much must my need needs
    neither never no nobody none nor not nothing now of off on once one only or other our out over own per please put
    rather same say see shall she should since so some somebody something still such take than that the their them
    then there these they thing things this those through to too under until up upon us very want was we were what
    when where whether which while who whole whom whose why will with within without would yes yet you your yours
    i'm i'd i'll i've it's that's don't doesn't didn't can't couldn't won't isn't aren't wasn't there's let's what's
    hello hi dear thanks thank good morning okay ok"""
)
_SHORTEST: Final = 3
_HEAD: Final = 5
_SUFFIXES: Final = (
    "ations", "ation", "ings", "ing", "ments", "ment", "ies", "ied", "ers", "er", "ed", "es", "ly", "s", "al", "e", "y",
)  # fmt: skip


def stem(word: str) -> str:
    """Return what is left without the usual endings, so that `refunds` and `refunded` are one word."""
    for suffix in _SUFFIXES:
        if word.endswith(suffix) and len(word) - len(suffix) >= _SHORTEST:
            return word[: -len(suffix)]
    return word


def stems(text: str) -> list[str]:
    """Return the words of a text that say what it is about, in their order."""
    words = (word.lower() for word in _WORD.findall(text))
    return [stem(word) for word in words if word not in _STOP]


def head(word: str) -> str:
    """Return how a long stem begins, with a mark: words of one origin begin alike. Of a short one, all of it."""
    return f"{word[:_HEAD]}-" if len(word) >= _HEAD else word


def sentences(text: str) -> list[str]:
    """Return the sentences of a text; each line of it is at least one."""
    return [part.strip() for part in _SENTENCE.split(text) if part.strip()]


def sentences_of(texts: Iterable[str]) -> Iterator[str]:
    """Yield the sentences of several texts."""
    for text in texts:
        yield from sentences(text)
