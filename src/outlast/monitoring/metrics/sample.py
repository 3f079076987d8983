"""One value of a figure."""

from collections.abc import Mapping
from typing import NamedTuple


class Sample(NamedTuple):
    """As in `outlast_runs{status="queued"} 3`."""

    name: str
    labels: Mapping[str, str]
    value: float
