"""All detectors, by the names of their modes."""

from collections.abc import Mapping
from typing import Final

from outlast.validation.detectors.cascading_errors import CascadingErrors
from outlast.validation.detectors.context_overflow import ContextOverflow
from outlast.validation.detectors.detector import Detector
from outlast.validation.detectors.domain_hallucination import DomainHallucination
from outlast.validation.detectors.off_topic_drift import OffTopicDrift
from outlast.validation.detectors.overconfidence import Overconfidence
from outlast.validation.detectors.tool_misuse import ToolMisuse

DETECTORS: Final[Mapping[str, type[Detector]]] = {
    detector.mode: detector
    for detector in (ToolMisuse, ContextOverflow, CascadingErrors, Overconfidence, OffTopicDrift, DomainHallucination)
}
