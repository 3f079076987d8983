"""Runs that end with something else than what was asked."""

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import ClassVar, Final

from outlast.validation.detectors.detector import Detector, Sign
from outlast.validation.detectors.trace import Trace
from outlast.validation.detectors.words import stems

#: An output with fewer words that say something has no subject of its own.
_LEAST_WORDS: Final = 4
# How much the ends of the run count: the output, and the nearest of its last two steps.
_OUTPUT, _STEPS = 0.7, 0.3
_LAST: Final = 2


class OffTopicDrift(Detector):
    """The distance of the output, and of the last steps, from the task; by the words that they share.

    Whoever says the same in other words seems far away, and another question of the same field seems near: without a
    model of what words mean, this finds the plain cases only.
    """

    mode: ClassVar = "off_topic_drift"
    fitted: ClassVar = 0.7333
    decidable: ClassVar = False
    example: ClassVar = {
        "task": "Compare the two offers for the roof of the school.",
        "steps": [
            {"thought": "The offers for the roof differ.", "tool": "read_offer", "args": {}, "result": "Roof: 9,400"},
            {"thought": "Football came to Brazil long ago."},
            {"thought": "Its clubs were founded by railway workers."},
        ],
        "output": "Football clubs in Brazil were often founded by workers of the railway.",
    }  # fmt: skip

    def signs(self, trace: Trace) -> Iterator[Sign]:
        """Yield how far the end is from the task."""
        words = stems(trace.answer)
        if len(words) < _LEAST_WORDS:
            return
        anchor = _words("\n".join([trace.task, *trace.instructions]))
        # What was found first belongs to the task: it is in the words of the field.
        anchor.update(_words("\n".join([*trace.sources[:1], *(step.text for step in trace.steps[:1])])))
        last = [_likeness(_words(step.text), anchor) for step in trace.steps[-_LAST:]]
        near = _OUTPUT * _likeness(_words(trace.answer), anchor) + _STEPS * max(last, default=1.0)
        path = ", ".join(f"{distance:.2f}" for distance in distances(trace))
        yield Sign(round(1 - near, 4), f"the output is far from the task; the steps were at {path or 'no distance'}")


def distances(trace: Trace) -> Sequence[float]:
    """Return how far each step is from the task, from 0 to 1."""
    anchor = _words("\n".join([trace.task, *trace.instructions, *trace.sources[:1]]))
    return [1 - _likeness(_words(step.text), anchor) for step in trace.steps]


def _words(text: str) -> Counter[str]:
    return Counter(stems(text))


def _likeness(one: Mapping[str, int], other: Mapping[str, int]) -> float:
    """Return the share of the weight of one that the other holds: a short text may be near a long one."""
    held = sum(math.sqrt(count) for word, count in one.items() if word in other)
    return held / (sum(math.sqrt(count) for count in one.values()) or 1.0)
