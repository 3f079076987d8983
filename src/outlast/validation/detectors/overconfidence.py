"""Outputs that are surer than they may be."""

from collections.abc import Iterator
from typing import ClassVar, Final

from outlast.validation.detectors.calibration import Calibration
from outlast.validation.detectors.certainty import stated_in
from outlast.validation.detectors.detector import Detector, Sign
from outlast.validation.detectors.trace import Trace

# A gap of a fifth between what is stated and what came of it weighs as much as four fifths of certainty.
_GAP: Final = 4.0


class Overconfidence(Detector):
    """Sure of what the validators find wrong; or, where they have not looked yet, surer than its record allows."""

    mode: ClassVar = "overconfidence"
    fitted: ClassVar = 0.725
    example: ClassVar = {
        "task": "When does the warranty end?",
        "output": "It ended on 3 May. I am absolutely certain of this.",
        "verdict": {"valid": False, "reasons": ["the date is not that of the contract"]},
    }

    def signs(self, trace: Trace) -> Iterator[Sign]:
        """Yield what was stated, if it was wrong or has been wrong too often."""
        stated = trace.confidence if trace.confidence is not None else stated_in(trace.answer)
        if stated is None or trace.valid is True:
            return
        if trace.valid is False:
            yield Sign(round(stated, 4), f"a confidence of {stated:.2f} was stated, and the validators find it wrong")
            return
        gap = Calibration(trace.record).gap(stated)
        if gap > 0:
            said = f"a confidence of {stated:.2f} was stated; outputs like that were right less often, by {gap:.2f}"
            yield Sign(round(min(1.0, gap * _GAP), 4), said)
