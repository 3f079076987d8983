"""All figures there are, and who listens to what."""

from collections.abc import Mapping
from typing import Final

from outlast.monitoring.metrics import of_calls, of_people, of_runs, of_service, of_state
from outlast.monitoring.metrics.figure import Figure
from outlast.monitoring.metrics.meter import Handler

_CONCERNS: Final = (of_runs, of_calls, of_state, of_people, of_service)
#: By name.
FIGURES: Final[Mapping[str, Figure]] = {figure.name: figure for concern in _CONCERNS for figure in concern.FIGURES}
#: What is done when something happens, by its point.
HEARD: Final[Mapping[str, Handler]] = {
    point: handler for concern in _CONCERNS for point, handler in concern.HEARD.items()
}
