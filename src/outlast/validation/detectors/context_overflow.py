"""Instructions of the beginning that the model no longer sees."""

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import ClassVar, Final

from outlast.validation.detectors.detector import Detector, Sign
from outlast.validation.detectors.trace import Trace, text_of
from outlast.validation.detectors.words import head, sentences_of, stems

# A sentence with fewer words that say something is a greeting.
_LEAST_WORDS: Final = 2
# What instructs an agent is shorter than these; whoever is given more has other troubles.
_MOST_RULES, _MOST_PLACES = 100, 5000


class ContextOverflow(Detector):
    """Trimmed, cut or summarised away: a rule is searched for in what the model was last given, in any words.

    The share of its words that the best sentence there holds; what tools have found is left out, it instructs nobody.
    """

    mode: ClassVar = "context_overflow"
    fitted: ClassVar = 0.775
    example: ClassVar = {
        "task": "And what about the second offer?",
        "instructions": ["You compare offers. Never reveal the prices of one bidder to another."],
        "given": ["You compare offers.", "And what about the second offer?"],
        "output": "The second bidder asks for 40 less than the first.",
    }

    def signs(self, trace: Trace) -> Iterator[Sign]:
        """Yield each instruction, by how much of it is missing."""
        if trace.given is None:
            return
        found = {_squeezed(text_of(step.result)) for step in trace.steps} | {
            _squeezed(str(step.result)) for step in trace.steps
        }
        told = [text for text in trace.given if _squeezed(text) not in found | {_squeezed(trace.task)}]
        places = [_known(stems(sentence)) for sentence in islice(sentences_of(told), _MOST_PLACES)]
        for rule in islice(sentences_of(trace.instructions), _MOST_RULES):
            words = list(dict.fromkeys(stems(rule)))
            if len(words) >= _LEAST_WORDS:
                best = max((_held(words, place) for place in places), default=0.0)
                yield Sign(round(1 - best, 4), f"the model was no longer given: {rule}")


def _held(words: Sequence[str], place: frozenset[str]) -> float:
    return sum(word in place or head(word) in place for word in words) / len(words)


def _known(words: Sequence[str]) -> frozenset[str]:
    return frozenset([*words, *map(head, words)])


def _squeezed(text: str) -> str:
    return "".join(text.split())
