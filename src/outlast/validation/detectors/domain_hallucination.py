"""Claims that nothing bears out."""

import re
from collections.abc import Iterator
from typing import ClassVar, Final

from outlast.validation.detectors.certainty import stated_in
from outlast.validation.detectors.claims import Grounds, names_in, references_in
from outlast.validation.detectors.detector import Detector, Sign
from outlast.validation.detectors.trace import Trace
from outlast.validation.detectors.words import sentences, stems

#: A sentence that says what is not there claims nothing.
_DENIED: Final = re.compile(
    r"\b(?:do(?:es)? not (?:say|mention|contain|state|tell)|don't (?:say|mention)|nothing (?:that|in|about)"
    r"|no (?:source|mention|evidence|information)"
    r"|found nothing|not (?:mentioned|stated|known|in the)|cannot (?:be )?(?:confirm|say|tell|told)|unknown whether"
    r"|could not (?:find|confirm))\b",
    re.IGNORECASE,
)
_LEAST_WORDS: Final = 3
# Words alone say little: the same may be said in others.
_WORDS: Final = 0.6


class DomainHallucination(Detector):
    """References, figures and names that are in none of the sources, nor follow from them.

    A claim without any of these is known by its words only, which is a weak sign: without a model, most of such
    inventions are not found.
    """

    mode: ClassVar = "domain_hallucination"
    fitted: ClassVar = 0.725
    decidable: ClassVar = False
    example: ClassVar = {
        "task": "How long is the notice period?",
        "sources": ["Clause 9: the notice period is 60 days."],
        "output": "The notice period is 60 days (clause 9). Clause 22 shortens it to 14 days for students.",
    }

    def signs(self, trace: Trace) -> Iterator[Sign]:
        """Yield each claim without a source."""
        grounds = Grounds(trace.grounds())
        for sentence in sentences(trace.answer):
            # How sure it is has no source either.
            if not _DENIED.search(sentence) and stated_in(sentence) is None:
                yield from _of_sentence(sentence, grounds)


def _of_sentence(sentence: str, grounds: Grounds) -> Iterator[Sign]:
    for reference in references_in(sentence):
        if not grounds.hold_reference(reference):
            yield Sign(1.0, f"no source holds {reference!r}")
    for name in names_in(sentence):
        if not grounds.hold_name(name):
            yield Sign(0.9, f"no source knows {name!r}")
    for figure, score in grounds.unsupported_figures(sentence):
        yield Sign(score, f"{figure} is in no source")
    words = set(stems(sentence))
    if len(words) >= _LEAST_WORDS:
        missing = sum(not grounds.hold_word(word) for word in words) / len(words)
        yield Sign(round(missing * _WORDS, 4), f"few of its words are in the sources: {sentence}")
