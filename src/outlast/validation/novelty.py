"""Fingerprints of inputs that are near to each other where the inputs are.

SimHash (Charikar, 2002): each feature votes on each of 64 bits, so that inputs which share most of their features
differ in few bits, and unrelated ones in about 32. The features are words and pairs of words, each with the key under
which they stand. A fingerprint cannot be turned back into its input.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, cast

_BITS: Final = 64
_WORDS: Final = re.compile(r"\w+")
# A longer input is like its beginning.
_MOST_FEATURES: Final = 20_000
# Votes are counted for all bits at once, in one number with a lane for each; a loop over bits takes 20 times as long.
_LANE: Final = 32
_SPREAD: Final = tuple(sum(1 << bit * _LANE for bit in range(8) if byte >> bit & 1) for byte in range(256))
# Numbers change from run to run and mean nothing about what kind of input it is.
_NUMBER: Final = "0"


def fingerprint(value: Any) -> int:
    """Return 64 bits as PostgreSQL's bigint holds them, with a sign; equal inputs have equal ones in every process."""
    votes, features = 0, 0
    for feature, times in Counter(_features(value)).items():
        votes += times * _votes(feature)
        features += times
    unsigned = sum(1 << bit for bit in range(_BITS) if 2 * (votes >> bit * _LANE & (1 << _LANE) - 1) > features)
    return unsigned - (1 << _BITS) if unsigned >> (_BITS - 1) else unsigned


# What one agent hears and says is made of the same words, and a look-up takes a twentieth of the time.
@lru_cache(maxsize=8192)
def _votes(feature: str) -> int:
    digest = hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=_BITS // 8).digest()
    return sum(_SPREAD[byte] << (place * 8 * _LANE) for place, byte in enumerate(digest))


def bits_apart(one: int, other: int) -> int:
    """Return in how many bits two fingerprints differ; SQL counts in the same way."""
    return ((one ^ other) & ((1 << _BITS) - 1)).bit_count()


def _features(value: Any) -> Iterator[str]:
    count = 0
    for key, text in _texts("", value):
        before = ""
        for word in _WORDS.findall(text.casefold()):
            known = _NUMBER if word.isdigit() else word
            yield f"{key}={known}"
            if before:
                yield f"{key}={before} {known}"
            before = known
            count += 2
            if count > _MOST_FEATURES:
                return


def _texts(key: str, value: Any) -> Iterator[tuple[str, str]]:
    """Yield texts with the names of their places; elements of a list are all in one place."""
    if isinstance(value, Mapping):
        for name, inner in sorted(cast("Mapping[str, Any]", value).items(), key=lambda item: str(item[0])):
            yield from _texts(f"{key}.{name}", inner)
    elif isinstance(value, list | tuple):
        for inner in cast("list[Any]", value):
            yield from _texts(key, inner)
    elif value is not None:
        yield key, str(value)
